"""Limits of an Excel workbook, checked before openpyxl reads it: it is a zip archive, which may fill memory."""

import re
import zipfile
from pathlib import Path
from typing import IO

from tickets.errors import InputError

_CHUNK = 1 << 20
_UNSUSPICIOUS, _MOST_GROWTH = 1 << 26, 100  # bytes; factor by which a workbook hardly ever grows: ten is usual
_MOST_ROWS, _MOST_STRINGS = 1 << 20, 1 << 23  # of a sheet, which has no more in Excel; of the table of all texts
_MOST_TAGS, _LONGEST_ROW = 1 << 20, 1 << 26  # of a row, or of a part that has none; bytes. Excel has 16,384 columns
_IN_ROWS = re.compile(r"xl/(worksheets/.*|sharedStrings\.xml)", re.IGNORECASE)  # parts that are read row by row
_ROW_END = re.compile(rb"</(?:[\w.-]+:)?(?:row|si)\s*>")


def check_workbook(path: Path) -> None:
    """Read the parts of a workbook once, and refuse what would take the machine's memory.

    Raises:
        InputError: too much of something.
        Exception: whatever a damaged archive raises.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
        packed_size = path.stat().st_size
        if sum(part.file_size for part in parts) > max(_UNSUSPICIOUS, _MOST_GROWTH * packed_size):
            raise _too_much(path, f"unpacks to over {_MOST_GROWTH} times its size ({packed_size:,} bytes)")
        for part in parts:
            with archive.open(part) as file:  # which ends with an error where the stated size or sum is wrong
                _check_part(path, part.filename, file)


def _check_part(path: Path, name: str, file: IO[bytes]) -> None:
    in_rows = bool(_IN_ROWS.fullmatch(name))
    most_rows = _MOST_ROWS if name.lower().startswith("xl/worksheets/") else _MOST_STRINGS
    rows = tags = length = 0  # the latter two since the last end of a row
    while chunk := file.read(_CHUNK):
        pieces = _ROW_END.split(chunk.replace(b"\0", b"")) if in_rows else [chunk]
        for place, piece in enumerate(pieces):
            tags, length = (0, 0) if place else (tags, length)
            tags, length = tags + piece.count(b"<"), length + len(piece)
            if tags > _MOST_TAGS or (in_rows and length > _LONGEST_ROW):
                raise _too_much(path, f"a row or part with over {_MOST_TAGS:,} elements or {_LONGEST_ROW >> 20} MB")
        rows += len(pieces) - 1
        if rows > most_rows:
            raise _too_much(path, f"a part with over {most_rows:,} rows or texts")


def _too_much(path: Path, fault: str) -> InputError:
    return InputError(f"{path}: not a usable Excel workbook ({fault}); save it as CSV if that is right")
