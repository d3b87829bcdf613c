"""Objects of a JSON text with their lines: a list, one object, values in a row, pages, lists inside objects."""

import json
import re
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from tickets.errors import InputError
from tickets.formats.failed_requests import failure_of
from tickets.formats.json_api import Included, with_list
from tickets.formats.json_pages import ListPath, ticket_lists, unwrap
from tickets.formats.json_tables import header_names, named_row, table_records
from tickets.formats.side_loads import SideLoads, listed
from tickets.raw import ReadLog

_SPACE = re.compile(r"[\s\x1e\ufeff]*")  # \x1e starts every value of a JSON text sequence
_DEEPEST = 3  # lists of lists


def _constant(name: str) -> str | None:
    """Return None for NaN, which is no value; Infinity stays as text."""
    return None if name == "NaN" else name


_DECODER = json.JSONDecoder(parse_constant=_constant)


def decode_json(text: str) -> Any:
    """Return the value of a JSON text, with NaN as None."""
    return json.loads(text, parse_constant=_constant)


def values_in_row(line: str) -> Iterator[Any]:
    """Yield the values of a line, nearly always one; what cannot be decoded raises behind those that can."""
    at = _skip(line, 0)
    while at < len(line):
        value, at = _DECODER.raw_decode(line, at)
        yield value
        at = _skip(line, at)


def json_items(text: str, name: str, log: ReadLog) -> Iterator[tuple[int, Any]]:
    """Yield line and value of every ticket in a text; `name` is the file's, for errors.

    Raises:
        InputError: no JSON, JSON that breaks off, or text behind a value.
    """
    reader, at, values = _Values(text, log), _skip(text, 0), 0
    try:
        while at < len(text):
            if values and text[at] not in "[{":
                raise InputError(
                    f"{name}: line {reader.line(at)}: found text behind the JSON value "
                    f"({text[at : at + 40].strip()!r}); expected nothing, or another list or object; remove it or "
                    "export the file again"
                )
            at = _skip(text, (yield from reader.items(at)))
            values += 1
            if text[at : at + 1] == "," and text[(behind := _skip(text, at + 1)) : behind + 1] in ("{", "["):
                at = _skip(text, at + 1)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{name}: not valid JSON at line {error.lineno}, column {error.colno} ({error.msg}); expected a list of "
            "tickets or one object per line; export the file again"
        ) from None
    except (ValueError, RecursionError):
        raise InputError(f"{name}: JSON nested too deeply or a number too long; expected a list of tickets") from None


def expand(value: Any, log: ReadLog) -> Iterator[Any]:
    """Yield tickets of one decoded value: of a list, a page, or the value itself."""
    if isinstance(value, list):
        names = header_names(value[0]) if value else None
        if names:
            yield from (named_row(names, row) if isinstance(row, list) else row for row in value[1:])
            return
        for item in value:
            yield from expand(item, log)
        return
    if failure_of(value):
        yield value
        return
    value = with_list(listed(value))
    table = table_records(value) if isinstance(value, Mapping) else None
    if table is not None:
        log.other_lists.update(table.beside)
        yield from table.records
        return
    pages, beside = _pages(value, log)
    if not pages:
        yield unwrap(value) if isinstance(value, Mapping) else value
    for path in pages:
        inner = value
        for name in path:
            inner = inner[name]
        for item in inner:
            yield from map(beside.joined, expand(item, log))
    beside.tell(log)


def _pages(value: Any, log: ReadLog, whole: bool = False) -> tuple[list[ListPath], SideLoads | Included]:
    """Return the paths of the lists of tickets in a page, and what lies beside them; no paths for a ticket."""
    if not isinstance(value, Mapping):
        return [], SideLoads({}, {})
    pages, others = ticket_lists(value, whole)
    included = Included.of_page(value) if pages else None
    beside = included or SideLoads.of_page(value if pages else {}, [path[0] for path in pages])
    rest = {name: count for name, count in others.items() if name not in beside.names}
    (log.other_lists if pages else log.inner_lists).update(rest)
    return pages, beside


class _Values:
    """Reads values of a text item by item, so that a long list is never decoded as a whole."""

    def __init__(self, text: str, log: ReadLog) -> None:
        self.text, self.log = text, log
        self.counted, self.lines = 0, 1

    def line(self, at: int) -> int:
        """Return the line of a position; positions mostly grow, so that little is counted twice."""
        if at < self.counted:
            self.counted, self.lines = 0, 1
        self.lines += self.text.count("\n", self.counted, at)
        self.counted = at
        return self.lines

    def items(self, at: int, depth: int = 0) -> Generator[tuple[int, Any], None, int]:
        """Yield the tickets of the value at a position; returns where the value ends."""
        text = self.text
        if text[at : at + 1] == "[" and depth < _DEEPEST:
            return (yield from self._list_items(at, depth, self._names(at) if depth == 0 else None))
        if depth == 0 and text[at : at + 1] != "{":
            raise json.JSONDecodeError("Expecting a list or an object", text, at)
        value, end = _DECODER.raw_decode(text, at)
        if failure_of(value):
            yield self.line(at), value
            return int(end)
        if (page := with_list(listed(value))) is not value:
            yield from ((self.line(at), ticket) for ticket in expand(page, self.log))
            return int(end)
        table = table_records(value) if isinstance(value, Mapping) else None
        if table is not None:
            self.log.other_lists.update(table.beside)
            yield from ((self.line(at), record) for record in table.records)
            return int(end)
        pages, beside = _pages(value, self.log, depth == 0)
        if not pages:
            yield self.line(at), unwrap(value) if isinstance(value, Mapping) else value
        value = None  # a page may be large; its tickets are decoded again one by one
        for path in pages:
            for line, item in self._list_items(_descend(text, at, path), depth):
                yield line, beside.joined(item)
        beside.tell(self.log)
        return int(end)

    def _names(self, at: int) -> list[str] | None:
        """Return the names in the first row of a list of rows; None of another list."""
        inner = _skip(self.text, at + 1)
        return header_names(_DECODER.raw_decode(self.text, inner)[0]) if self.text[inner : inner + 1] == "[" else None

    def _row(self, at: int, names: list[str]) -> Generator[tuple[int, Any], None, int]:
        """Yield a row below the names, which stand above as a row too."""
        row, end = _DECODER.raw_decode(self.text, at)
        if row != names:
            yield self.line(at), named_row(names, row) if isinstance(row, list) else row
        return int(end)

    def _list_items(self, at: int, depth: int, names: list[str] | None = None) -> Generator[tuple[int, Any], None, int]:
        text = self.text
        at = _skip(text, at + 1)
        while text[at : at + 1] != "]":
            at = _skip(text, (yield from self._row(at, names) if names else self.items(at, depth + 1)))
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
            elif text[at : at + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        return at + 1


def _descend(text: str, at: int, path: ListPath) -> int:
    """Return where the value at `path` begins, inside the valid object that begins at `at`."""
    for wanted in path:
        place, at = at, _skip(text, at + 1)
        while text[at : at + 1] == '"':
            name, at = _DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # behind the colon
            if name == wanted:
                place = at  # of a repeated name the last counts, as for the decoder
            at = _skip(text, _DECODER.raw_decode(text, at)[1])
            if text[at : at + 1] == ",":
                at = _skip(text, at + 1)
        at = place
    return at


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
