"""Reading a rating sheet that a person filled in, as spreadsheets save it."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tickets.errors import InputError
from tickets.plain_reason import plain_reason
from tickets.sources import check_regular

DIMENSIONS = ("relevance", "professionalism", "completeness", "tone", "overall")
SHEET, ROW = "human_eval.csv", "row"
_SCORES = ("1", "2", "3", "4", "5")


def read_sheet(path: Path, key: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Return scores by row and dimension; rows without any score are left out."""
    try:
        check_regular(path)
        lines = _rows(path.read_bytes())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: not readable ({plain_reason(error)}); expected a filled copy of {SHEET}, saved as CSV UTF-8"
        ) from None
    missing = [name for name in (ROW, *DIMENSIONS) if name not in (lines[0] if lines else ())]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r}, expected those of {SHEET}, saved as CSV UTF-8")
    ratings = {}
    for line in (dict(zip(lines[0], cells, strict=False)) for cells in lines[1:]):
        row = line.get(ROW, "").strip()
        given = {name: line.get(name, "").strip() for name in DIMENSIONS}
        if not any(given.values()):
            continue
        if row not in key:
            raise InputError(f"{path}: row {row!r} is not of this comparison, expected rows of its {SHEET}")
        if row in ratings:
            raise InputError(f"{path}: row {row!r} is there twice, expected once")
        ratings[row] = {name: _rating(path, row, name, text) for name, text in given.items() if text}
    if not ratings:
        raise InputError(f"{path}: holds no score, expected whole numbers from {_SCORES[0]} to {_SCORES[-1]}")
    return ratings


def _rows(data: bytes) -> list[list[str]]:
    """Return the cells of a sheet in any separator, and in UTF-8, UTF-16 or a code page, which can only spoil
    comments. The head is in lower case."""
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    text = data.decode("utf-16") if wide else data.decode("utf-8-sig", errors="replace")
    if text.startswith("sep="):  # a line that Excel obeys
        text = text.partition("\n")[2]
    head = text.partition("\n")[0]
    csv.field_size_limit(len(text) + 1)
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count)))
    return [[name.strip().lower() for name in rows[0]], *rows[1:]] if rows else []


def _rating(path: Path, row: str, dimension: str, text: str) -> int:
    number = text.removesuffix(".0").removesuffix(",0")
    if number not in _SCORES:
        raise InputError(
            f"{path}: row {row}, {dimension}: found {text[:20]!r}, expected a whole number from {_SCORES[0]} to "
            f"{_SCORES[-1]}"
        )
    return int(number)
