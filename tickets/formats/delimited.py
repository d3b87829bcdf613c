"""CSV and TSV rows: delimiter and header found by looking; ragged rows reported, not swallowed."""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tickets.columns.choose import LONGEST_NAME, choose_columns
from tickets.encodings.detect import TextEncoding, is_broken, text_lines
from tickets.errors import InputError
from tickets.formats.csv_records import (
    LONGEST_FIELD,
    Records,
    doubled_quotes,
    escapes_quotes,
    spaces_before_quotes,
)
from tickets.formats.short_rows import first_shape, shapes_of_short_rows
from tickets.raw import ReadLog

DELIMITERS = (",", ";", "\t", "|")
EXTRA = "(extra)"  # key of the surplus values of a row that is too long
TOTALS = "a row of totals"
_TOTAL = re.compile(
    r"(?:grand |sub[- ]?)?(?:totals?|sums?|counts?|average)(?: count| rows| tickets| records)?|summe|gesamt"
    r"|gesamtsumme|gesamtzahl|anzahl|insgesamt|durchschnitt|somme|total général|totale|totaal|aantal|suma|razem|łącznie"
    r"|итого|всего",
    re.I,
)
_FIGURE = re.compile(r"[\d.,:%\s]*\d[\d.,:%\s]*")
REPEATED = "repeated header: the column names once more"
_SAMPLE_LINES = 400
_MOST_TITLES = 12  # lines above the column names

Row = tuple[int, dict[str, Any], str | None]


def delimited_rows(path: Path, encoding: TextEncoding, log: ReadLog) -> Iterator[Row]:
    """Yield line, fields by column name and fault (or None) of every record below the header; blank lines do not count.

    Raises:
        InputError: no header, or so many unclosed quotes that the file is not CSV.
    """
    lines = list(islice(text_lines(path, encoding), _SAMPLE_LINES))
    separator, skip = find_delimiter(lines)
    escaped = escapes_quotes(lines, separator)
    spaced = spaces_before_quotes(lines, separator)
    sample = _parsed([doubled_quotes(line) for line in lines] if escaped else lines, separator, spaced)[skip:]
    titles = title_rows(sample)
    records = Records(path, encoding, separator, escaped, spaced)
    rows = ((line, values, fault) for line, values, fault in records if line > skip and values)
    passed = [" ".join(filter(None, values)) for _, values, _ in islice(rows, titles)]
    note_titles(passed, path.name, log)
    first = next(rows, None)
    if first is None:
        raise InputError(f"{path}: found no header line; expected column names in the first line")
    header = column_names(first[1])
    records.width = len(header)
    shapes = shapes_of_short_rows(sample[titles + 1 :], len(header))
    yield from _checked(rows, header, shapes, encoding)


def find_delimiter(lines: Sequence[str]) -> tuple[str, int]:
    """Return the delimiter under which most of the first rows are as wide as the header, and leading lines to skip.

    Excel's own first line `sep=;` is obeyed. Lines above the column names are no header.
    """
    first = lines[0].strip().lower().lstrip("\ufeff") if lines else ""
    if first.startswith("sep=") and len(first) == 5:
        return first[4], 1
    best = max(DELIMITERS, key=lambda candidate: _fit(lines, candidate))
    if _fit(lines, best)[0]:
        return best, 0
    below = max(DELIMITERS, key=lambda candidate: title_rows(_parsed(lines, candidate)))
    return (below if title_rows(_parsed(lines, below)) else best), 0


def title_rows(rows: Sequence[Sequence[Any]]) -> int:
    """Return how many rows lie above the column names; none if no row, or the first, has columns of tickets."""
    for place, row in enumerate(rows[: _MOST_TITLES + 1]):
        if _is_header(row):
            return place
    return 0


def note_titles(titles: Sequence[str], name: str, log: ReadLog) -> None:
    """Say what stands above the column names."""
    if titles:
        log.note(f"Not read, because it stands above the column names of {name}: {' / '.join(titles)[:120]}.")


def column_names(values: Sequence[Any]) -> list[str]:
    """Return unique column names: a second `a` becomes `a.2`, an empty one `column 3`."""
    names: dict[str, None] = {}
    last: dict[str, int] = {}
    for place, value in enumerate(values, start=1):
        base = name = " ".join(str(value).split()) or f"column {place}"
        while name in names:
            last[base] = last.get(base, 1) + 1
            name = f"{base}.{last[base]}"
        names[name] = None
    return list(names)


def named_values(header: Sequence[str], values: Sequence[Any]) -> tuple[dict[str, Any], str | None]:
    """Return fields by column name, and the fault of a row that is not as wide as the header."""
    fields: dict[str, Any] = dict(zip(header, [*values, *[""] * (len(header) - len(values))], strict=False))
    extra = list(values[len(header) :])
    if len(values) < len(header) or any(value != "" for value in extra):
        if extra:
            fields[EXTRA] = extra
        return fields, f"ragged row: {len(values)} fields, expected {len(header)}"
    return fields, None


def _checked(
    rows: Iterator[tuple[int, list[str], str | None]], header: list[str], shapes: frozenset[str], encoding: TextEncoding
) -> Iterator[Row]:
    """Yield the rows with their faults. A row without its last cells is whole, unless the next line is its rest."""
    waiting: tuple[Row, Row] | None = None  # a short row, as it is if whole, and if not
    for line, values, fault in rows:
        fields, ragged = named_values(header, values)
        if any(is_broken(value) for value in values):
            fault = fault or f"undecodable bytes: not valid {encoding.name}"
        if not fault and len(values) >= len(header) and _is_repeated(values, header):
            fault, ragged = REPEATED, None
        if not fault and not ragged and is_totals(values):
            fault = TOTALS
        is_short = not fault and ragged is not None and len(values) < len(header)
        is_whole = not ragged or (is_short and first_shape(values) in shapes)
        if waiting:
            yield waiting[0] if is_whole else waiting[1]
            waiting = None
        if is_short and is_whole:
            waiting = (line, fields, None), (line, fields, ragged)
        else:
            yield line, fields, fault or ragged
    if waiting:
        yield waiting[0]


def is_totals(values: Sequence[Any]) -> bool:
    """Return whether a row holds the word for a sum and figures, and nothing else, as reports end."""
    cells = [text for value in values if (text := str(value).strip())]
    words = [cell for cell in cells if not _FIGURE.fullmatch(cell)]
    return len(cells) > len(words) and bool(words) and all(_TOTAL.fullmatch(word.rstrip(":")) for word in words)


def _is_repeated(values: Sequence[str], header: Sequence[str]) -> bool:
    """Return whether a row is the header once more, as where files were joined."""
    first = values[0].lstrip("\ufeff").strip()
    if first and first[:1] != header[0][:1]:  # nearly every row
        return False
    return column_names([value.lstrip("\ufeff") for value in values[: len(header)]]) == header


def _is_header(row: Sequence[Any]) -> bool:
    """Return whether a row has the names of a ticket's columns, and a second column of a ticket at least."""
    cells = [str(cell).strip() for cell in row]
    names = [cell for cell in cells if cell]
    if len(names) < 2 or len(names) < len(cells) / 2 or any(len(name) > LONGEST_NAME for name in names):
        return False
    try:
        columns = choose_columns(column_names(cells))
    except InputError:
        return False
    return len(columns.used) >= 2


def _fit(lines: Sequence[str], separator: str) -> tuple[bool, float, int]:
    """Return how well a delimiter explains the lines: more than one column, share of rows of that width, width."""
    rows = _parsed(lines, separator)
    width = len(rows[0]) if rows else 0
    whole = rows[1:-1] or rows[1:]  # the sample may end inside the last record
    share = sum(len(row) == width for row in whole) / len(whole) if whole else 1.0
    return width > 1, round(share, 1), width


def _parsed(lines: Sequence[str], separator: str, spaced: bool = False) -> list[list[str]]:
    """Return the rows of the first lines that are not blank; none where the delimiter does not fit."""
    csv.field_size_limit(LONGEST_FIELD)
    try:
        return [row for row in csv.reader(lines, delimiter=separator, skipinitialspace=spaced) if row]
    except csv.Error:
        return []
