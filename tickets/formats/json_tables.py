"""Tables written as JSON: rows below a list of names, columns of values, and tickets under their numbers.

Spreadsheets, databases and pandas write them (`to_json` with `orient` split, columns, index or list, Google's
`values`, answers of SQL servers).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeGuard

from tickets.formats.failed_requests import failure_of
from tickets.formats.json_pages import has_messages, is_ticket, ticket_score, unwrap

_NAMES = ("columns", "cols", "fields", "header", "headers")
_ROWS = ("data", "rows", "values", "records")
_DEPTH = 3
_FEWEST_NAMED = 3  # tickets under keys without digits; fewer may be any object

Record = Mapping[str, Any] | Sequence[Any]


def header_names(value: object) -> list[str] | None:
    """Return `value` if it is a list of two or more strings that name at least two parts of a ticket; else None."""
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(name, str) for name in value):
        return None
    return value if ticket_score(dict.fromkeys(value)) >= 2 else None


def named_row(names: Sequence[str], row: Sequence[Any]) -> Record:
    """Return a row by the names of its columns, empty where it ends early; the row itself where it is too long."""
    if len(row) > len(names):
        return row
    return dict(zip(names, [*row, *[None] * (len(names) - len(row))], strict=True))


@dataclass(frozen=True)
class Table:
    """The tickets of a table, and how many other objects lie beside them, by name."""

    records: Sequence[Any]
    beside: Mapping[str, int] = field(default_factory=dict)


def table_records(value: Mapping[str, Any], depth: int = 0) -> Table | None:
    """Return the tickets of an object that is a table; None where it is a ticket, a page of them, or anything else."""
    if is_ticket(unwrap(value)):
        return None
    if records := _named_rows(value) or _columns(value):
        return Table(records)
    numbered = _numbered(value)
    if numbered or depth == _DEPTH:
        return numbered
    inner = [(name, nested, table_records(nested, depth + 1)) for name, nested in _objects(value)]
    tables = [table for _, _, table in inner if table]
    if not tables:
        return None
    beside = Counter({name: _size(nested) for name, nested, table in inner if not table})
    beside.update(
        {name: len(nested) for name, nested in value.items() if _is_objects(nested) and not _are_sheets(nested)}
    )
    for table in tables:
        beside.update(table.beside)
    return Table(list(chain.from_iterable(table.records for table in tables)), +beside)


def _objects(value: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the nested objects with their names; of a list only the sheets that it is made of."""
    for name, nested in value.items():
        if isinstance(nested, Mapping):
            yield str(name), nested
        elif _are_sheets(nested):
            yield from ((str(sheet.get("range") or name), sheet) for sheet in nested)


def _are_sheets(value: object) -> TypeGuard[list[Mapping[str, Any]]]:
    """Return whether a value is a list of sheets, which are objects with `values`."""
    return _is_objects(value) and all("values" in item for item in value)


def _is_objects(value: object) -> TypeGuard[list[Mapping[str, Any]]]:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _size(value: Mapping[str, Any]) -> int:
    """Return how many objects an object holds if it holds nothing else, else 1; none if it is empty."""
    return len(value) if all(isinstance(inner, Mapping) for inner in value.values()) else 1


def _named_rows(value: Mapping[str, Any]) -> list[Record] | None:
    """Return the records of lists of cells: below a list of names, or with the names as the first of them."""
    rows = next((value[name] for name in _ROWS if _is_matrix(value.get(name))), None)
    if rows is None:
        return None
    if value.get("majorDimension") == "COLUMNS":
        rows = [list(cells) for cells in zip(*rows, strict=False)]
    for name in _NAMES:
        names = header_names(_plain_names(value.get(name)))
        if names:
            return _with_index(value, [named_row(names, row) for row in rows])
    names = header_names(rows[0])
    return [named_row(names, row) for row in rows[1:]] if names else None


def _plain_names(value: object) -> object:
    """Return the names of columns, which databases write as objects with a type beside the name."""
    if isinstance(value, list) and all(isinstance(item, Mapping) and "name" in item for item in value):
        return [item["name"] for item in value]
    return value


def _with_index(value: Mapping[str, Any], records: list[Record]) -> list[Record]:
    """Return the records with the pandas index as `id`, unless it only counts the rows from 0."""
    index = value.get("index")
    if not isinstance(index, list) or len(index) != len(records) or index == list(range(len(records))):
        return records
    return [_with_id(key, record) for key, record in zip(index, records, strict=True)]


def _columns(value: Mapping[str, Any]) -> list[Record] | None:
    """Return one record per ticket from values stored by column: a list, or an object of values by row, per column."""
    if ticket_score(value) < 2:
        return None
    columns = list(value.values())
    if all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        if any(isinstance(cell, Mapping | list) for column in columns for cell in column):
            return None
        return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    if not all(isinstance(column, Mapping) and column.keys() == columns[0].keys() for column in columns):
        return None
    keys = list(columns[0])
    if not keys or not all(_has_digit(key) for key in keys):  # `{"rendered": ...}` is a text in an envelope
        return None
    is_range = keys == [str(place) for place in range(len(keys))]
    records: list[Record] = [{name: column[key] for name, column in value.items()} for key in keys]
    return records if is_range else [_with_id(key, record) for key, record in zip(keys, records, strict=True)]


def _numbered(value: Mapping[str, Any]) -> Table | None:
    """Return tickets under their numbers or keys, `{"4711": {"subject": ...}}`, and name what lies beside them.

    What is no ticket and has a number too is a record all the same, so that it is set aside.
    """
    keys = [key for key, ticket in value.items() if _is_record(key, ticket)]
    others = {key: nested for key, nested in value.items() if key not in keys}
    if not all(map(_has_digit, keys)):
        if len(keys) < _FEWEST_NAMED or len(others) >= len(keys):
            return None
    elif any(_is_objects(nested) and any(map(_is_wrapped_ticket, nested)) for nested in others.values()):
        return None  # a page with a list of tickets
    else:
        keys = [key for key in value if key in keys or _has_digit(key)] if keys else []
    is_range = keys == [str(place) for place in range(len(keys))]
    records = [value[key] if is_range or failure_of(value[key]) else _with_id(key, value[key]) for key in keys]
    beside = {key: nested for key, nested in others.items() if key not in keys}
    named = {key: _size(nested) for key, nested in beside.items() if isinstance(nested, Mapping) and nested}
    named.update({key: len(nested) for key, nested in beside.items() if _is_objects(nested)})
    return Table(records, named) if records else None


def _is_record(key: str, value: Any) -> bool:
    """Return whether a value under a key is a ticket, or under a number the messages of one, as in Bugzilla."""
    if not isinstance(value, Mapping):
        return False
    return is_ticket(unwrap(value)) or (key.isdigit() and any(has_messages(name, value[name]) for name in value))


def _is_wrapped_ticket(item: Mapping[str, Any]) -> bool:
    return is_ticket(unwrap(item))


def _with_id(key: Any, record: Record) -> Record:
    return {"id": key, **record} if isinstance(record, Mapping) else record


def _is_matrix(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, list) for row in value)


def _has_digit(key: str) -> bool:
    return any(character.isdigit() for character in key)
