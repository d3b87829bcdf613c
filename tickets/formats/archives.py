"""Ticket files inside `.gz` and `.zip`, unpacked to a temporary folder one after another."""

import gzip
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

from tickets.errors import InputError

GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
_DOCUMENTS = {
    "word/document.xml": "a Word document",
    "ppt/presentation.xml": "a PowerPoint presentation",
    "content.xml": "an OpenDocument file",
    "xl/workbook.bin": "a binary Excel workbook (.xlsb)",
    "Index/Document.iwa": "a document of Numbers, Pages or Keynote",
}
_CHUNK = 1 << 20
_UNSUSPICIOUS, _MOST_GROWTH = 1 << 28, 300  # bytes; factor by which text hardly ever grows: ten is usual
_SYSTEM_FOLDER = "__MACOSX/"
_SYSTEM_FILES = frozenset((".DS_Store", "Thumbs.db", "desktop.ini"))


@contextmanager
def unpacked_gzip(path: Path, packed_size: int) -> Iterator[Path]:
    """Yield the content of a gzip file as a temporary file, named without `.gz`.

    Args:
        packed_size: bytes that it takes in the file that was given, which may hold it.

    Raises:
        InputError: a damaged file.
    """
    name = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    with tempfile.TemporaryDirectory(prefix="duet-") as folder:
        inner = Path(folder) / (name or "tickets")
        try:
            with gzip.open(path) as packed, inner.open("wb") as out:
                _unpack(packed, out, packed_size, str(path))
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path}: not a whole gzip file ({error}); expected tickets; fetch or pack it again"
            ) from None
        yield inner


@contextmanager
def named_as(inner: str | Path, name: str) -> Iterator[None]:
    """Name the archive, and not the temporary file, in errors about what is inside."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(inner), name)) from None


def is_workbook(path: Path) -> bool:
    """Return whether a zip archive is an Excel workbook."""
    return "xl/workbook.xml" in _names(path)


def ticket_members(path: Path, endings: tuple[str, ...]) -> list[str]:
    """Return the names of the files inside a zip archive, all of which have one of `endings`.

    Raises:
        InputError: not a zip archive, another kind of document, or files that would be left out.
    """
    names = _names(path)
    document = next((kind for mark, kind in _DOCUMENTS.items() if mark in names), None)
    if document:
        raise InputError(
            f"{path}: found {document}, expected tickets as CSV, TSV, .xlsx, JSONL, JSON, Parquet or mails; export them"
        )
    members = [
        name
        for name in names
        if not name.endswith("/")
        and not name.startswith(_SYSTEM_FOLDER)
        and PurePosixPath(name).name not in _SYSTEM_FILES
    ]
    strange = [name for name in members if not name.lower().removesuffix(".gz").endswith(endings)]
    if strange or not members:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise InputError(
            f"{path}: found {', '.join(strange[:3]) or 'no file'}{more} inside, expected ticket files alone "
            f"({', '.join(endings)}); unpack it and give the file with the tickets"
        )
    return sorted(members)


def unpacked_members(path: Path, members: Sequence[str]) -> Iterator[tuple[str, int, Path]]:
    """Yield files of a zip archive as name, packed size and temporary file, one at a time; each is gone with the next.

    Raises:
        InputError: a damaged or encrypted file.
    """
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="duet-") as folder:
        for member in members:
            inner = Path(folder) / PurePosixPath(member).name
            try:
                with archive.open(member) as packed, inner.open("wb") as out:
                    _unpack(packed, out, archive.getinfo(member).compress_size, f"{path}: {member}")
            except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
                raise InputError(
                    f"{path}: {member} cannot be unpacked ({error}); expected a whole archive without a password; "
                    "unpack it and give the file"
                ) from None
            yield member, archive.getinfo(member).compress_size, inner
            inner.unlink()


def _unpack(packed: IO[bytes] | gzip.GzipFile, out: IO[bytes], packed_size: int, name: str) -> None:
    """Copy what is unpacked; what grows as no text does would fill the disk."""
    size = 0
    while chunk := packed.read(_CHUNK):
        size += len(chunk)
        if size > max(_UNSUSPICIOUS, _MOST_GROWTH * packed_size):
            raise InputError(
                f"{name}: unpacks to over {_MOST_GROWTH} times its size ({packed_size:,} bytes), expected tickets, "
                "which do not; if that is right, unpack it and give the file"
            )
        out.write(chunk)


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except zipfile.BadZipFile as error:
        raise InputError(
            f"{path}: not a whole zip archive or Excel workbook ({error}); fetch or save it again"
        ) from None
