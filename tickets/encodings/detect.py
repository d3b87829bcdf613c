"""The text encoding of a file, found by looking at its bytes, and its lines decoded with it."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tickets.encodings.charsets import CONTROLS, codec_of, error_handler, is_shifted
from tickets.encodings.code_pages import detect_code_page, telling_lines
from tickets.encodings.utf16 import unmarked_utf16
from tickets.errors import InputError

LONGEST_LINE = 1 << 26  # characters; a field of a table may have a quarter of that
_CHUNK = 1 << 20
_SAMPLE = 1 << 16
_BOMS = (  # those of UTF-32 first: that of UTF-16 begins one of them
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BINARY = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"PK\x05\x06": "a zip archive without files",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"!BDN": "an Outlook data file",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Office document, or one with a password",
    b"GGUF": "a GGUF model",
    b"ARROW1": "an Arrow file",
}
_TEXT_CONTROLS = frozenset(b"\x00\t\n\x0b\x0c\r\x1a\x1b")
_BROKEN = re.compile("[\udc80-\udcff]")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MOST_NULS = 0.1  # share of NUL bytes, likewise
_MOST_CONTROLS = 0.02  # share of control bytes beyond which a file is no text in any encoding


@dataclass(frozen=True)
class TextEncoding:
    """The codec of a file, its name for messages, and what is unsure about it, with the option that corrects it."""

    codec: str
    name: str
    doubt: str = ""
    handler: str = ""

    @property
    def errors(self) -> str:
        """Decoding error handler: undecodable bytes stay visible as lone surrogates, where the codec allows it."""
        return self.handler or error_handler(self.codec)


def detect_encoding(path: Path, asked: str | None = None) -> TextEncoding:
    """Return the encoding of a text file: `asked`, byte order mark, UTF-16 without one, UTF-8, and last a code page.

    A file with more valid UTF-8 sequences than broken bytes counts as UTF-8, so one bad byte does not turn every
    umlaut of the file into two letters.

    Raises:
        InputError: an empty, unreadable or binary file, a Git LFS pointer, or an encoding that Python does not know.
    """
    sample = _first_bytes(path)
    if sample.startswith(_LFS_POINTER):
        raise InputError(f"{path}: found a Git LFS pointer, not the file it stands for; fetch it with `git lfs pull`")
    if asked:
        return _asked_encoding(path, asked, sample)
    for bom, codec in _BOMS:
        if sample.startswith(bom):
            return TextEncoding(codec, codec.removesuffix("-sig").upper())
    if not _magic(sample) and (unmarked := unmarked_utf16(sample)):
        return TextEncoding(unmarked, "UTF-16")
    _refuse_binary(path, sample)
    valid, broken = _utf8_census(path)
    if broken == valid == 0 and is_shifted(sample):
        return TextEncoding("iso2022_jp_ext", "ISO-2022-JP (Japanese)")
    if broken == 0 or valid > broken:
        return TextEncoding("utf-8", "UTF-8")
    with path.open("rb") as lines:
        codec, name, doubt = detect_code_page(telling_lines(lines))
    return TextEncoding(codec, name, doubt and f"{doubt}; name another with --encoding")


def _asked_encoding(path: Path, name: str, sample: bytes) -> TextEncoding:
    """Return the encoding of a name that the user gave; its byte order mark tells the rest."""
    codec = codec_of(name)
    if codec is None:
        raise InputError(f"found --encoding {name!r}, expected a name such as utf-8, cp1252 or gb18030")
    wide = codec[:6] if codec.startswith(("utf-16", "utf-32")) else ""
    if any(sample.startswith(bom) and wide == marked for bom, marked in _BOMS):
        codec = wide
    elif wide:
        codec = _unmarked(codec, sample)
    elif codec == "utf-8" and sample.startswith(codecs.BOM_UTF8):
        codec = "utf-8-sig"
    try:
        codecs.getincrementaldecoder(codec)("strict" if wide == "utf-32" else error_handler(codec)).decode(sample)
    except (ValueError, LookupError):
        raise InputError(
            f"{path}: found --encoding {name!r}, which this file is not in; expected its own; leave it out to have "
            "it found"
        ) from None
    latin_1 = codec == "cp1252" and "1252" not in name  # in Latin-1, every byte has a meaning
    return TextEncoding(codec, name, handler=CONTROLS if latin_1 else "")


def _unmarked(codec: str, sample: bytes) -> str:
    """Return the codec of UTF-16 or UTF-32 without a byte order mark, with its byte order; empty for another."""
    if codec.startswith("utf-32"):
        found = "utf-32-be" if sample.startswith(b"\x00\x00") else "utf-32-le"
    else:
        found = unmarked_utf16(sample) or ("utf-16-le" if codec == "utf-16" else codec)
    return found if codec in (found[:6], found) and 0 in sample else ""


def text_lines(path: Path, encoding: TextEncoding, longest: int = LONGEST_LINE) -> Iterator[str]:
    """Yield the physical lines with their endings, NUL characters removed; undecodable bytes are lone surrogates.

    Raises:
        InputError: a line of more than `longest` characters, which would take the machine's memory.
    """
    with path.open(encoding=encoding.codec, errors=encoding.errors, newline="") as lines:
        for number in count(1):
            line = lines.readline(longest + 1)
            if not line:
                return
            if len(line) > longest:
                raise InputError(
                    f"{path}: line {number:,} has over {longest:,} characters; expected a table, or JSON Lines with "
                    "one ticket a line; export the tickets again"
                )
            line = line.removeprefix("\ufeff") if number == 1 else line
            yield line.replace("\x00", "") if "\x00" in line else line


def is_broken(text: str) -> bool:
    """Return whether `text` holds bytes that its encoding could not decode."""
    return not text.isascii() and _BROKEN.search(text) is not None


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            sample = file.read(_SAMPLE)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a file you may read") from None
    if not sample.strip(b"\x00\r\n\t \xef\xbb\xbf\xff\xfe"):
        raise InputError(f"{path}: the file is empty; expected tickets as CSV, TSV, JSONL, JSON or Parquet")
    return sample


def _magic(sample: bytes) -> str | None:
    return next((name for magic, name in _BINARY.items() if sample.startswith(magic)), None)


def _refuse_binary(path: Path, sample: bytes) -> None:
    found = _magic(sample)
    controls = sum(sample.count(byte) for byte in range(32) if byte not in _TEXT_CONTROLS)
    noise = sample.count(0) > _MOST_NULS * len(sample) or controls > _MOST_CONTROLS * len(sample)
    if found is None and noise:
        found = "binary data"
    if found:
        raise InputError(
            f"{path}: found {found}, expected tickets as CSV, TSV, JSONL, JSON or Parquet; unpack it or export it as "
            "CSV first"
        )


def _utf8_census(path: Path) -> tuple[int, int]:
    """Return the number of non-ASCII letters that are valid UTF-8, and of bytes that are not."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    valid = broken = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            text = decoder.decode(chunk)
            if not text.isascii():
                here = len(_BROKEN.findall(text))
                broken += here
                valid += len(text) - len(text.encode("ascii", "ignore")) - here
    broken += len(decoder.decode(b"", final=True))
    return valid, broken
