"""Rows of the sheets of an Excel workbook."""

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tickets.columns import choose_columns
from tickets.delimited import column_names, named_values
from tickets.errors import InputError
from tickets.raw import RawRow, ReadLog

_INSTALL = "pip install 'ticket-duet[xlsx]'"


def read_workbook(path: Path, log: ReadLog) -> Iterator[RawRow]:
    """Rows of every sheet with the columns of the tickets; other sheets that are not empty are named in the log.

    Raises:
        InputError: openpyxl is missing, or the file is damaged or holds no rows.
    """
    try:
        import openpyxl
    except ImportError:
        raise InputError(f"{path}: found an Excel workbook, which needs openpyxl; run {_INSTALL}") from None
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # openpyxl raises KeyError, ValueError, BadZipFile, XML errors and its own
        raise _damaged(path, error) from None
    headers = {}
    for sheet in book.worksheets:
        first = next(_records(path, sheet), None)
        if first:
            headers[sheet.title] = column_names(first[1])
    if not headers:
        raise InputError(f"{path}: every sheet is empty; expected tickets below a line of column names")
    columns = _ticket_columns(list(headers.values()))
    for title, header in headers.items():
        if header != columns:
            names = ", ".join(header[:5])
            log.note(f"Sheet {title!r} is not read: its columns ({names}) are not those of the tickets.")
    return _rows(path, [sheet for sheet in book.worksheets if headers.get(sheet.title) == columns])


def _rows(path: Path, sheets: list[Any]) -> Iterator[RawRow]:
    for sheet in sheets:
        records = _records(path, sheet)
        header = column_names(next(records)[1])
        for number, values in records:
            fields, ragged = named_values(header, values)
            yield RawRow(number, fields, ragged, sheet.title if len(sheets) > 1 else "")


def _ticket_columns(headers: list[list[str]]) -> list[str]:
    """The first header with a column for the body, else the widest."""
    for header in headers:
        try:
            choose_columns(header)
        except InputError:
            continue
        return header
    return max(headers, key=len)


def _records(path: Path, sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Number and cells of every row that is not empty. The size a sheet states is often wrong, so it is forgotten."""
    width = 0
    try:
        sheet.reset_dimensions()
        for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
            values = [_cell(value) for value in row]
            while values and values[-1] == "":
                values.pop()
            if values:
                width = width or len(values)
                yield number, values + [""] * (width - len(values))
    except Exception as error:  # as above
        raise _damaged(path, error) from None


def _cell(value: object) -> Any:
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value


def _damaged(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(f"{path}: not a readable Excel workbook ({reason}); save it again, or as CSV")
