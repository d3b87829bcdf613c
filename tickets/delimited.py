"""CSV and TSV rows: delimiter found by looking, quotes that never close and ragged rows reported, not swallowed."""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tickets.encoding import TextEncoding, is_broken, text_lines
from tickets.errors import InputError

DELIMITERS = (",", ";", "\t", "|")
EXTRA = "(extra)"  # key of the surplus values of a row that is too long
_SAMPLE_LINES = 400
_LONGEST_FIELD = 1 << 20  # characters; a longer field is taken for a quote that never closes
_MOST_OPEN_QUOTES = 200  # each costs up to _LONGEST_FIELD of reading again, so hostile files must stop somewhere


def delimited_rows(path: Path, encoding: TextEncoding) -> Iterator[tuple[int, dict[str, Any], str | None]]:
    """Line, fields by column name and fault (or None) of every record below the header; blank lines do not count.

    Raises:
        InputError: no header, or so many unclosed quotes that the file is not CSV.
    """
    separator, skip = find_delimiter(path, encoding)
    records = _Records(path, encoding, separator)
    header: list[str] | None = None
    for line, values, fault in records:
        if line <= skip or not values:
            continue
        if header is None:
            header = column_names(values)
            continue
        fields, ragged = named_values(header, values)
        if any(is_broken(value) for value in values):
            fault = fault or f"undecodable bytes: not valid {encoding.name}"
        yield line, fields, fault or ragged
    if header is None:
        raise InputError(f"{path}: found no header line; expected column names in the first line")


def find_delimiter(path: Path, encoding: TextEncoding) -> tuple[str, int]:
    """The delimiter under which most of the first rows are as wide as the header, and leading lines to skip.

    Excel's own first line `sep=;` is obeyed.
    """
    lines = list(islice(text_lines(path, encoding), _SAMPLE_LINES))
    first = lines[0].strip().lower() if lines else ""
    if first.startswith("sep=") and len(first) == 5:
        return first[4], 1
    csv.field_size_limit(_LONGEST_FIELD)
    return max(DELIMITERS, key=lambda candidate: _fit(lines, candidate)), 0


def _fit(lines: Sequence[str], separator: str) -> tuple[bool, float, int]:
    """How well a delimiter explains the lines: more than one column, share of rows of that width, width."""
    try:
        rows = [row for row in csv.reader(lines, delimiter=separator) if row]
    except csv.Error:
        return False, 0.0, 0
    width = len(rows[0]) if rows else 0
    whole = rows[1:-1] or rows[1:]  # the sample may end inside the last record
    share = sum(len(row) == width for row in whole) / len(whole) if whole else 1.0
    return width > 1, round(share, 1), width


def column_names(values: Sequence[Any]) -> list[str]:
    """Unique column names: a second `a` becomes `a.2`, an empty one `column 3`."""
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
    """Fields by column name, and the fault of a row that is not as wide as the header."""
    fields: dict[str, Any] = dict(zip(header, [*values, *[""] * (len(header) - len(values))], strict=False))
    extra = list(values[len(header) :])
    if len(values) < len(header) or any(value != "" for value in extra):
        if extra:
            fields[EXTRA] = extra
        return fields, f"ragged row: {len(values)} fields, expected {len(header)}"
    return fields, None


class _Records:
    """Records of a CSV file as (first line, values, fault), reading on behind a quote that never closes."""

    def __init__(self, path: Path, encoding: TextEncoding, separator: str) -> None:
        self.path, self.separator = path, separator
        self.source = text_lines(path, encoding)
        self.again: list[str] = []  # lines to read once more, last first
        self.taken: list[str] = []  # lines of the record being read
        self.line = 1  # physical line where that record starts
        self.open_quotes = 0
        self.ended = False

    def __iter__(self) -> Iterator[tuple[int, list[str], str | None]]:
        csv.field_size_limit(_LONGEST_FIELD)
        while not self.ended:
            reader = csv.reader(self._feed(), delimiter=self.separator)
            while True:
                try:
                    values = next(reader, None)
                except csv.Error:
                    yield self._unclosed()
                    break
                if values is None:
                    self.ended = True
                    break
                if self.ended:  # the reader asked for more lines than there are: it is inside a quoted field
                    self.ended = False
                    yield self._unclosed()
                    break
                yield self.line, values, None
                self.line += len(self.taken)
                self.taken = []

    def _feed(self) -> Iterator[str]:
        while self.again:
            self.taken.append(self.again.pop())
            yield self.taken[-1]
        for line in self.source:
            self.taken.append(line)
            yield line
        self.ended = True

    def _unclosed(self) -> tuple[int, list[str], str]:
        """Set the first line of the unfinished record aside and read the following ones again."""
        self.open_quotes += 1
        if self.open_quotes > _MOST_OPEN_QUOTES:
            raise InputError(
                f"{self.path}:{self.line}: found more than {_MOST_OPEN_QUOTES} quotes that never close, expected CSV "
                "with quotes inside fields doubled; export the file again, or as JSONL"
            )
        line, first = self.line, self.taken[0]
        self.again.extend(reversed(self.taken[1:]))
        self.taken = []
        self.line += 1
        values = first.replace('"', "").rstrip("\r\n").split(self.separator)
        return line, values, "unclosed quote: a field opened on this line never ends"
