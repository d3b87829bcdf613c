"""Sheets of a workbook: those with the columns of the tickets are read, in any order and case; the others are named."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tickets.formats.readers import read_rows
from tickets.raw import RawRow, ReadLog

HEADER = ["id", "subject", "body", "queue"]


def rows(start: int, end: int) -> list[list[Any]]:
    return [[n, f"s{n}", f"text {n}", "AB"[n % 2]] for n in range(start, end)]


def read(tmp_path: Path, *sheets: tuple[str, Sequence[Sequence[Any]]]) -> tuple[list[RawRow], str]:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for title, cells in sheets:
        sheet = book.create_sheet(title)
        for row in cells:
            sheet.append(row)
    book.save(tmp_path / "t.xlsx")
    log = ReadLog()
    found = list(read_rows(str(tmp_path / "t.xlsx"), log=log))
    return found, " ".join(log.all_notes())


@pytest.mark.parametrize(
    ("header", "order"),
    [
        (HEADER, (0, 1, 2, 3)),
        (["queue", "body", "id", "subject"], (3, 2, 0, 1)),
        (["ID", "Subject", "BODY", "Queue"], (0, 1, 2, 3)),
        (["id", "subject", "body", "queue", "note"], (0, 1, 2, 3, 1)),
        (["id", "subject", "body"], (0, 1, 2)),
    ],
)
def test_a_sheet_with_the_columns_of_the_tickets_is_read(tmp_path: Path, header: list[str], order: tuple[int]) -> None:
    second = [[row[place] for place in order] for row in rows(3, 6)]
    found, notes = read(tmp_path, ("Jan", [HEADER, *rows(0, 3)]), ("Feb", [header, *second]))
    assert [row.fields["body"] for row in found] == [f"text {n}" for n in range(6)]
    assert [row.fields["id"] for row in found] == list(range(6))
    assert [row.file for row in found] == ["Jan"] * 3 + ["Feb"] * 3
    assert not notes


def test_a_sheet_of_comments_in_front_is_not_the_tickets(tmp_path: Path) -> None:
    comments = [["ticket_id", "body", "author"], *([n, "answer", "bo"] for n in range(3))]
    pivot = [["queue", "count"], ["A", 2]]
    found, notes = read(tmp_path, ("Comments", comments), ("Tickets", [HEADER, *rows(0, 3)]), ("Pivot", pivot))
    assert [row.fields["body"] for row in found] == ["text 0", "text 1", "text 2"]
    assert "Sheet 'Comments' is not read" in notes and "Sheet 'Pivot' is not read" in notes


def test_rows_above_the_column_names_are_named(tmp_path: Path) -> None:
    found, notes = read(tmp_path, ("T", [["Export of March"], [], ["by", "Ida"], HEADER, *rows(0, 3)]))
    assert [row.fields["body"] for row in found] == ["text 0", "text 1", "text 2"]
    assert found[0].line == 5
    assert "Export of March / by Ida" in notes


def test_escaped_characters_are_themselves(tmp_path: Path) -> None:
    cells = [[1, "s", "one_x000D_\ntwo_x000D_\nthree", "A"], [2, "s", "snake_x0041_case _xyz_ file_x1.txt", "B"]]
    found, _ = read(tmp_path, ("T", [HEADER, *cells]))
    assert found[0].fields["body"] == "one\ntwo\nthree"
    assert found[1].fields["body"] == "snakeAcase _xyz_ file_x1.txt"


def test_empty_last_cells_are_no_fault_and_cells_beyond_are(tmp_path: Path) -> None:
    found, _ = read(tmp_path, ("T", [HEADER, [1, "s", "one"], [2, "s", "two", "A", "beyond"]]))
    assert [row.fault for row in found] == [None, "ragged row: 5 fields, expected 4"]


def test_formulas_without_a_value_are_named(tmp_path: Path) -> None:
    formulas = [[n, f"s{n}", f"text {n}", "=A1"] for n in range(3)]
    found, notes = read(tmp_path, ("Jan", [HEADER, *formulas]), ("Feb", [HEADER, *rows(3, 6)]))
    assert [row.fields["queue"] for row in found] == ["", "", "", "B", "A", "B"]
    assert "Sheet 'Jan' has formulas without a value" in notes and "'Feb'" not in notes


def test_a_sheet_may_lack_dates(tmp_path: Path) -> None:
    dated = [[*row, "2024-03-01"] for row in rows(0, 3)]
    found, notes = read(
        tmp_path, ("Jan", [[*HEADER, "created"], *dated]), ("Feb", [HEADER[1:], *(r[1:] for r in rows(3, 6))])
    )
    assert [row.fields["body"] for row in found] == [f"text {n}" for n in range(6)]
    assert not notes
