"""The text encoding of a file, found by looking at its bytes, and its lines decoded with it."""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tickets.code_pages import detect_code_page
from tickets.errors import InputError

_CHUNK = 1 << 20
_SAMPLE = 1 << 16
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_BINARY = {
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF8": "a GIF picture",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"SQLite format 3": "an SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Office document",
    b"GGUF": "a GGUF model",
    b"ARROW1": "an Arrow file",
}
_TEXT_CONTROLS = frozenset(b"\x00\t\n\x0b\x0c\r\x1a\x1b")
_BROKEN = re.compile("[\udc80-\udcff]")
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MOST_CONTROLS = 0.02  # share of control bytes beyond which a file is no text in any encoding


@dataclass(frozen=True)
class TextEncoding:
    """The codec of a file, its name for messages, and what is unsure about it."""

    codec: str
    name: str
    doubt: str = ""

    @property
    def errors(self) -> str:
        """Decoding error handler: undecodable bytes stay visible as lone surrogates, where the codec allows it."""
        return "replace" if self.codec.startswith(("utf-16", "utf-32")) else "surrogateescape"


def detect_encoding(path: Path, asked: str | None = None) -> TextEncoding:
    """The encoding of a text file: `asked`, byte order mark, UTF-16 by its NUL pattern, UTF-8, and last a code page.

    A file with more valid UTF-8 sequences than broken bytes counts as UTF-8, so one bad byte does not turn every
    umlaut of the file into two letters.

    Raises:
        InputError: an empty, unreadable or binary file, a Git LFS pointer, or an encoding that Python does not know.
    """
    sample = _first_bytes(path)
    if sample.startswith(_LFS_POINTER):
        raise InputError(f"{path}: found a Git LFS pointer, not the file it stands for; fetch it with `git lfs pull`")
    if asked:
        return _asked_encoding(asked, sample)
    for bom, codec in _BOMS:
        if sample.startswith(bom):
            return TextEncoding(codec, codec.removesuffix("-sig").upper())
    _refuse_binary(path, sample)
    if unmarked := _utf16_by_nul(sample):
        return TextEncoding(unmarked, "UTF-16")
    valid, broken = _utf8_census(path)
    if broken == 0 or valid > broken:
        return TextEncoding("utf-8", "UTF-8")
    return TextEncoding(*detect_code_page(path))


def _asked_encoding(name: str, sample: bytes) -> TextEncoding:
    try:
        codec = codecs.lookup(name).name
        "".encode(codec)
    except LookupError:
        raise InputError(f"found --encoding {name!r}, expected a name such as utf-8, cp1252 or gb18030") from None
    marked = codec == "utf-8" and sample.startswith(codecs.BOM_UTF8)
    return TextEncoding("utf-8-sig" if marked else codec, name)


def text_lines(path: Path, encoding: TextEncoding) -> Iterator[str]:
    """Physical lines with their endings, NUL characters removed; undecodable bytes are lone surrogates."""
    with path.open(encoding=encoding.codec, errors=encoding.errors, newline="") as lines:
        for line in lines:
            yield line.replace("\x00", "") if "\x00" in line else line


def is_broken(text: str) -> bool:
    """Whether `text` holds bytes that its encoding could not decode."""
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


def _refuse_binary(path: Path, sample: bytes) -> None:
    found = next((name for magic, name in _BINARY.items() if sample.startswith(magic)), None)
    controls = sum(count for byte, count in enumerate(_histogram(sample)) if byte < 32 and byte not in _TEXT_CONTROLS)
    nul_noise = sample.count(0) > 0.1 * len(sample) and _utf16_by_nul(sample) is None
    if found is None and (nul_noise or controls > _MOST_CONTROLS * len(sample)):
        found = "binary data"
    if found:
        raise InputError(
            f"{path}: found {found}, expected tickets as CSV, TSV, JSONL, JSON or Parquet; unpack it or export it as "
            "CSV first"
        )


def _histogram(sample: bytes) -> list[int]:
    return [sample.count(byte) for byte in range(32)]


def _utf16_by_nul(sample: bytes) -> str | None:
    """`utf-16-le` or `utf-16-be` when every second byte tends to be NUL and its neighbours are not."""
    half = max(len(sample) // 2, 1)
    even, odd = sample[::2].count(0) / half, sample[1::2].count(0) / half
    if odd > 0.4 and even < 0.05:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 and odd < 0.05 else None


def _utf8_census(path: Path) -> tuple[int, int]:
    """Number of non-ASCII letters that are valid UTF-8, and of bytes that are not."""
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
