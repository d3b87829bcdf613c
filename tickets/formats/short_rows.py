"""Rows without their empty last cells, which some programs leave out, told from rows that are broken in two."""

import re
from collections.abc import Sequence

_LONGEST = 60  # characters of a first cell
_LEAST_SHARE = 0.05  # of short rows, below which they are no habit


def shapes_of_short_rows(rows: Sequence[Sequence[str]], width: int) -> frozenset[str]:
    """Return how the first cells of a source look that leaves empty last cells out; nothing for other sources.

    Such a source has many short rows, some of the full width, and none of those with an empty last cell. A row broken
    in two has a second half that begins otherwise, because a first cell with digits is a number or a date.
    """
    whole = [row for row in rows if len(row) >= width]
    short = len(rows) - len(whole)
    if not whole or short < max(2, _LEAST_SHARE * len(rows)) or any(row[width - 1] == "" for row in whole):
        return frozenset()
    return frozenset(shape for row in whole if "0" in (shape := first_shape(row)))


def first_shape(row: Sequence[str]) -> str:
    """Return how the first cell looks: `a-0` for SUP-12; nothing for a long text."""
    first = row[0].strip() if row else ""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", first)) if len(first) <= _LONGEST else ""
