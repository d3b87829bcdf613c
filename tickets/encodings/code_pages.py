"""Which code page a text that is not Unicode is written in.

Code pages of one byte per letter are told by the alphabets of languages, those of several bytes by charset-normalizer.
"""

from collections.abc import Iterable

from tickets.encodings.alphabets import LetterFit, read_as

# Python's codec, and the name people know it by; the first of those that fit alike is taken.
_ONE_BYTE = {
    "cp1252": "Windows-1252 (Western European)",
    "cp1250": "Windows-1250 (Central European)",
    "cp1254": "Windows-1254 (Turkish)",
    "cp1257": "Windows-1257 (Baltic)",
    "iso8859_2": "ISO 8859-2 (Central European)",
    "cp850": "IBM 850 (Western European, DOS)",
    "cp852": "IBM 852 (Central European, DOS)",
    "cp857": "IBM 857 (Turkish, DOS)",
    "mac_roman": "Mac Roman (Western European)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "koi8_r": "KOI8-R (Cyrillic)",
    "koi8_u": "KOI8-U (Cyrillic)",
    "cp866": "IBM 866 (Cyrillic)",
    "iso8859_5": "ISO 8859-5 (Cyrillic)",
    "mac_cyrillic": "Mac Cyrillic",
    "cp1253": "Windows-1253 (Greek)",
    "iso8859_7": "ISO 8859-7 (Greek)",
    "cp1255": "Windows-1255 (Hebrew)",
    "cp1256": "Windows-1256 (Arabic)",
    "cp874": "Windows-874 (Thai)",
}
_MORE_BYTES = {
    "gb18030": "GB 18030 (Chinese)",
    "big5": "Big5 (Chinese)",
    "cp932": "Shift JIS (Japanese)",
    "euc_jp": "EUC-JP (Japanese)",
    "euc_kr": "EUC-KR (Korean)",
}
_RARE = frozenset(("cp850", "cp852", "cp857", "mac_roman", "mac_cyrillic", "cp866"))  # of DOS and old Macs: say so
_WESTERN = "cp1252"
_SAMPLE, _READ = 1 << 16, 1 << 14
_FEWEST_BYTES = 30  # beyond ASCII; fewer say too little about a language
_FEWEST_LETTERS = 3  # that speak against Windows-1252, unless most of the text does
_SURE, _BETTER, _ALIKE = 0.95, 0.05, 0.005  # shares of characters that are in place
_CLOSE = 0.03


def detect_code_page(sample: bytes) -> tuple[str, str, str]:
    """Return codec, name, and what is unsure about it, without advice; Windows-1252 where there is too little text.

    Args:
        sample: lines of the text, best those that `telling_lines` finds.
    """
    telling = sum(byte > 127 for byte in sample)
    readings = {codec: read_as(sample[:_READ].decode(codec, "replace")) for codec in _ONE_BYTE}
    western = readings[_WESTERN].share
    codec = _best_of(readings)
    if readings[codec].share < _SURE:
        codec = _of_more_bytes(sample, readings, codec)
    if codec in _ONE_BYTE and codec != _WESTERN:
        enough = readings[codec].letters >= _FEWEST_LETTERS or western <= 1 / 2
        codec = codec if enough and readings[codec].share >= western + _BETTER else _WESTERN
    return codec, (_ONE_BYTE | _MORE_BYTES)[codec], _doubt(sample, codec, readings, telling)


def _best_of(readings: dict[str, LetterFit]) -> str:
    """Return the first code page under which as much is in place as under any."""
    most = max(reading.share for reading in readings.values())
    return next(codec for codec, reading in readings.items() if reading.share >= most - _ALIKE)


def _of_more_bytes(sample: bytes, readings: dict[str, LetterFit], codec: str) -> str:
    """Return the code page of several bytes per letter that fits better than any of one byte, else `codec`."""
    from charset_normalizer import from_bytes

    names = [*_MORE_BYTES, *(name for name in readings if readings[name].share >= _SURE / 2)]
    match = from_bytes(sample, cp_isolation=names, preemptive_behaviour=False).best()
    return match.encoding if match is not None and match.encoding in _MORE_BYTES else codec


def _doubt(sample: bytes, codec: str, readings: dict[str, LetterFit], telling: int) -> str:
    name = (_ONE_BYTE | _MORE_BYTES)[codec]
    if telling < _FEWEST_BYTES:
        return f"not Unicode, and only {telling} bytes are beyond ASCII; read as {name}"
    if codec in _MORE_BYTES:
        return ""
    text = sample.decode(codec, "replace")
    for rival, reading in readings.items():
        close = 0 if rival in _RARE else _CLOSE  # their letters are much like those of Windows
        if reading.share >= readings[codec].share - close and sample.decode(rival, "replace") != text:
            return f"read as {name}; {_ONE_BYTE[rival]} fits about as well"
    unsure = codec == _WESTERN or codec in _RARE or readings[codec].share < _SURE
    return f"not Unicode; read as {name}" if unsure else ""


def telling_lines(lines: Iterable[bytes]) -> bytes:
    """Return the first lines with bytes beyond ASCII."""
    kept, size = [], 0
    for line in lines:
        if not line.isascii():
            kept.append(line[:_SAMPLE])
            size += len(kept[-1])
            if size >= _SAMPLE:
                break
    return b"".join(kept)
