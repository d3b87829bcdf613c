"""Rows of the sheets of an Excel workbook."""

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tickets.columns.choose import choose_columns, plain_name
from tickets.errors import InputError
from tickets.formats.delimited import TOTALS, column_names, is_totals, named_values, note_titles, title_rows
from tickets.formats.workbook_limits import check_workbook
from tickets.plain_reason import plain_reason
from tickets.raw import RawRow, ReadLog

_PEEK = 13  # rows looked at to find the column names
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")
_INSTALL = "pip install 'ticket-duet[xlsx]'"


def read_workbook(path: Path, log: ReadLog) -> Iterator[RawRow]:
    """Return the rows of every sheet with the columns of the tickets; the log names others that are not empty.

    Raises:
        InputError: openpyxl is missing, or the file is damaged or holds no rows.
    """
    try:
        import openpyxl
    except ImportError:
        raise InputError(f"{path}: found an Excel workbook, which needs openpyxl; run {_INSTALL}") from None
    try:
        check_workbook(path)
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    except InputError:
        raise
    except Exception as error:  # openpyxl raises KeyError, ValueError, BadZipFile, XML errors and its own
        raise _damaged(path, error) from None
    found = [table for sheet in book.worksheets if (table := _table(path, sheet))]
    log.holds("sheets", [f"{table.sheet.title!r} ({', '.join(table.header[:5])})" for table in found])
    if not found:
        names = ", ".join(repr(name) for name in book.sheetnames[:5])
        raise InputError(f"{path}: no sheet has cells ({names}); expected tickets below a line of column names")
    main = max(found, key=lambda table: table.parts)  # of several the first
    tables = []
    _note_formulas(path, book, log)
    for table in found:
        if table is main or _is_like(table, main):
            tables.append(table)
            note_titles(table.titles, f"sheet {table.sheet.title!r}", log)
        else:
            names = ", ".join(table.header[:5])
            log.note(f"Sheet {table.sheet.title!r} is not read: its columns ({names}) are not those of the tickets.")
    return _rows(path, tables, main)


def _note_formulas(path: Path, book: Any, log: ReadLog) -> None:
    """Name the sheets with formulas that no program has computed, whose cells are therefore empty."""
    import openpyxl

    with_formulas = openpyxl.load_workbook(path, read_only=True)
    for sheets in zip(book.worksheets, with_formulas.worksheets, strict=True):
        for sheet in sheets:
            sheet.reset_dimensions()
        pairs = zip(*(islice(sheet.iter_rows(), _PEEK) for sheet in sheets), strict=False)
        cells = (pair for rows in pairs for pair in zip(*rows, strict=False))
        if any(value.value is None and formula.data_type == "f" for value, formula in cells):
            log.note(
                f"Sheet {sheets[0].title!r} has formulas without a value, which are read as empty cells; open the "
                "workbook in Excel or LibreOffice and save it."
            )


@dataclass(frozen=True)
class _Table:
    """A sheet: the text above its column names, the names, and how many of them are parts of a ticket."""

    sheet: Any
    titles: list[str]
    header: list[str]
    parts: tuple[bool, int]


def _table(path: Path, sheet: Any) -> _Table | None:
    """Return the table of a sheet; None where it is empty."""
    rows = [values for _, values in islice(_records(path, sheet), _PEEK)]
    if not rows:
        return None
    place = title_rows(rows)
    header = column_names(rows[place])
    titles = [" ".join(str(value) for value in row if value != "") for row in rows[:place]]
    try:
        columns = choose_columns(header)
    except InputError:
        return _Table(sheet, titles, header, (False, 0))
    return _Table(sheet, titles, header, (True, len(columns.used)))


def _is_like(table: _Table, main: _Table) -> bool:
    """Return whether a sheet has columns of the tickets, in any order and case, with more or fewer beside them.

    The columns that are parts of a ticket must be there, or three quarters of all.
    """
    names, wanted = set(map(plain_name, table.header)), set(map(plain_name, main.header))
    if not main.parts[0]:
        return names == wanted
    columns = choose_columns(main.header)
    missable = {columns.id, columns.created, columns.language}  # a ticket may lack them
    used = {plain_name(name) for name in columns.used - missable}
    return used <= names or (table.parts[0] and len(names & wanted) >= 0.75 * len(wanted))


def _rows(path: Path, tables: list[_Table], main: _Table) -> Iterator[RawRow]:
    """Yield the rows of the sheets, under the column names of the main one."""
    names = {plain_name(name): name for name in reversed(main.header)}
    for table in tables:
        header = table.header if table is main else [names.get(plain_name(name), name) for name in table.header]
        header = header if len(set(header)) == len(header) else table.header
        for number, values in islice(_records(path, table.sheet), len(table.titles) + 1, None):
            padded = values + [""] * (len(header) - len(values))
            fields, ragged = named_values(header, padded)
            fault = ragged or (TOTALS if is_totals(values) else None)
            yield RawRow(number, fields, fault, table.sheet.title if len(tables) > 1 else "")


def _records(path: Path, sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Yield the number and cells of every row that is not empty.

    The size a sheet states is often wrong, so it is forgotten.
    """
    try:
        sheet.reset_dimensions()
        for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
            values = [_cell(value) for value in row]
            while values and values[-1] == "":
                values.pop()
            if values:
                yield number, values
    except Exception as error:  # as above
        raise _damaged(path, error) from None


def _cell(value: object) -> Any:
    if value is None:
        return ""
    if isinstance(value, str) and "_x" in value:
        return _ESCAPE.sub(_character, value).replace("\r\n", "\n").replace("\r", "\n")
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else value


def _character(match: re.Match[str]) -> str:
    """Return the character that a cell writes as `_x000D_`; nothing for one that is no text."""
    character = chr(int(match[1], 16))
    return character if character.isprintable() or character in "\t\n\r" else ""


def _damaged(path: Path, error: Exception) -> InputError:
    reason = plain_reason(error)[:200]
    return InputError(f"{path}: not a readable Excel workbook ({reason}); save it again, or as CSV")
