"""What a charset label means in practice, and the text of bytes with a label, a wrong one or none.

A label stands for the wider code page that programs write under it, as in the encoding standard of the WHATWG:
`iso-8859-1` is Windows-1252, `gb2312` is GB 18030 and `shift_jis` is Windows-31J.
"""

import codecs
import re

from tickets.encodings.code_pages import detect_code_page, telling_lines

# labels that Python does not know, by what it calls them
_LABELS = {
    **dict.fromkeys(("ascii", "us-ascii", "ansi", "ansi_x3.4-1968", "x-ansi", "windows-latin1"), "cp1252"),
    **dict.fromkeys(("windows-874", "dos-874", "x-windows-874"), "cp874"),
    **dict.fromkeys(("iso-8859-8-i", "iso-8859-8-e", "logical", "visual"), "iso8859_8"),
    **dict.fromkeys(("iso-8859-6-i", "iso-8859-6-e"), "iso8859_6"),
    **dict.fromkeys(("x-sjis", "windows-31j", "x-ms-cp932"), "cp932"),
    **dict.fromkeys(("cp50220", "cp50221", "csiso2022jp", "x-cp50221"), "iso2022_jp_ext"),
    **dict.fromkeys(("unicode-1-1-utf-8", "x-unicode20utf8", "utf8mb4", "utf-8n"), "utf-8"),
    **dict.fromkeys(("unicode-1-1-utf-7", "x-unicode-2-0-utf-7"), "utf-7"),
    **dict.fromkeys(("unicode", "ucs-2", "iso-10646-ucs-2"), "utf-16"),
    **dict.fromkeys(("korean", "windows-949", "x-windows-949"), "cp949"),
    **dict.fromkeys(("x-gbk", "x-euc-cn", "chinese"), "gb18030"),
    **dict.fromkeys(("x-x-big5", "x-big5", "cn-big5"), "cp950"),
    "x-euc-jp": "euc_jp",
    "x-mac-roman": "mac_roman",
    "macintosh": "mac_roman",
    "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-ukrainian": "mac_cyrillic",
    "sun_eu_greek": "iso8859_7",
}
# the wider code page behind a narrow one, both as Python names them
_WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
    "iso2022_jp": "iso2022_jp_ext",
    "iso2022_jp_1": "iso2022_jp_ext",
    "big5": "cp950",
}
# tried where the first does not fit: later additions to the same code page
_ALSO = {"cp950": "big5hkscs", "euc_jp": "euc_jis_2004", "iso8859-8": "cp1255", "iso8859-6": "cp1256"}
# codecs of Python that are no encoding of a text
_NO_ENCODINGS = frozenset(("idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "mbcs", "oem"))
_LOST = "\N{REPLACEMENT CHARACTER}"
CONTROLS, VISIBLE = "duet-controls", "duet-visible"  # error handlers, as `codecs` names them
_MOST_LOST = 0.1  # share of the letters beyond ASCII
_META = re.compile(rb"<meta[^>]{0,300}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.I)
_META_WITHIN = 4096  # bytes
_SHIFTED = re.compile(rb"\x1b(\$[@B]|\$\(D|\([BJIH]|\$\(B)")  # escape sequences of ISO-2022-JP


def _as_controls(error: UnicodeError) -> tuple[str, int]:
    """Decode the five bytes that Windows-1252 leaves open as the encoding standard does."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(map(chr, error.object[error.start : error.end])), error.end


def _as_visible(error: UnicodeError) -> tuple[str, int]:
    """Decode undecodable bytes as lone surrogates, which no text has; those of ASCII too, unlike `surrogateescape`."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + max(byte, 0x80)) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(CONTROLS, _as_controls)
codecs.register_error(VISIBLE, _as_visible)


def codec_of(label: str) -> str | None:
    """Return Python's name of the code page that a label means; None where it means none."""
    name = label.strip().strip("\"'").lower()
    for candidate in (name, name.removeprefix("x-"), name.removeprefix("cs")):
        try:
            codec = codecs.lookup(_LABELS.get(candidate, candidate))
            "".encode(codec.name)  # refuses codecs from bytes to bytes
        except (LookupError, ValueError, TypeError):
            continue
        return None if codec.name.replace("_", "-") in _NO_ENCODINGS else _WIDER.get(codec.name, codec.name)
    return None


def error_handler(codec: str) -> str:
    """Return the error handler of a file in a codec: bad bytes stay visible, where its decoder allows that."""
    return "replace" if codec.startswith(("utf-16", "utf-32")) else VISIBLE


def decode_content(content: bytes, label: str | None = None) -> tuple[str, str]:
    """Return the text of some bytes, and what is unsure about it.

    The label goes first. Where it is missing or does not fit, the text is UTF-8 if most of it is, with single bad bytes
    replaced; else in what its letters show.
    """
    codec = codec_of(label) if label else None
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF8)):
        codec = "utf-8" if content.startswith(codecs.BOM_UTF8) else "utf-16"
    if codec in (None, "utf-8", "cp1252"):  # programs write UTF-8 under the label of Latin-1, too
        if content.isascii():
            return (_japanese(content) if codec != "utf-8" and is_shifted(content) else content.decode("ascii")), ""
        text = content.decode("utf-8", "replace").removeprefix("\ufeff")
        lost = text.count(_LOST)
        worth = 3 if codec == "cp1252" else 1
        if lost == 0 or worth * lost < _beyond_ascii(text) - lost:
            return text, ""
    if codec is None or codec == "utf-8":
        return _of_unknown(content)
    text = _decoded_as(content, codec)
    lost = text.count(_LOST)
    return (text, "") if lost <= _MOST_LOST * _beyond_ascii(text) or lost <= 1 else _of_unknown(content)


def html_charset(content: bytes) -> str | None:
    """Return the charset that an HTML page names in itself."""
    match = _META.search(content[:_META_WITHIN])
    return match[1].decode("ascii", "replace") if match else None


def is_shifted(content: bytes) -> bool:
    """Tell whether ASCII bytes hold the escape sequences of Japanese in ISO-2022-JP."""
    return _SHIFTED.search(content) is not None


def _beyond_ascii(text: str) -> int:
    return len(text) - len(text.encode("ascii", "ignore"))


def _of_unknown(content: bytes) -> tuple[str, str]:
    codec, _, doubt = detect_code_page(telling_lines(content.splitlines(keepends=True)))
    return content.decode(codec, CONTROLS if codec == "cp1252" else "replace"), doubt


def _decoded_as(content: bytes, codec: str) -> str:
    if codec == "iso2022_jp_ext":
        return _japanese(content)
    if codec == "cp1252":
        return content.decode(codec, CONTROLS)
    if codec == "utf-16" and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        codec = "utf-16-le"
    for candidate in (codec, _ALSO.get(codec)):
        try:
            return content.decode(candidate or codec)
        except ValueError:
            continue
    return content.decode(codec, "replace")


def _japanese(content: bytes) -> str:
    """Decode ISO-2022-JP as Windows does: with the characters of NEC and IBM, which Python's codecs lack."""
    for codec in ("iso2022_jp_ext", "iso2022_jp_2"):
        try:
            return content.decode(codec)
        except ValueError:
            continue
    pieces, mode, at = [], b"(B", 0
    for match in [*_SHIFTED.finditer(content), None]:
        pieces.append(_shifted(content[at : match.start() if match else len(content)], mode))
        if match:
            mode, at = match[1], match.end()
    return "".join(pieces)


def _shifted(piece: bytes, mode: bytes) -> str:
    """Decode what stands behind an escape sequence of ISO-2022-JP."""
    if mode in (b"$@", b"$B", b"$(B"):
        pairs = zip(piece[::2], piece[1::2], strict=False)
        shifted = bytes(byte for first, second in pairs for byte in _as_shift_jis(first, second))
        return shifted.decode("cp932", "replace")
    if mode == b"$(D":
        pairs = zip(piece[::2], piece[1::2], strict=False)
        return b"".join(bytes((0x8F, a | 0x80, b | 0x80)) for a, b in pairs).decode("euc_jp", "replace")
    if mode == b"(I":
        return bytes(byte | 0x80 for byte in piece).decode("cp932", "replace")
    return piece.decode("cp932", "replace")


def _as_shift_jis(first: int, second: int) -> tuple[int, int]:
    """Return the bytes of a Japanese character in Shift JIS, given those of its row and cell in JIS X 0208."""
    lead = (first + 1) // 2 + (0x70 if first <= 0x5E else 0xB0)
    trail = second + 0x7E if first % 2 == 0 else second + (0x20 if second >= 0x60 else 0x1F)
    return min(lead, 0xFF), min(trail, 0xFF)
