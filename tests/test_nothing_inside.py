"""Archives and workbooks without tickets: the error says what is in them and what was expected."""

import gzip
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tickets.errors import InputError
from tickets.preparation.rows import Source

TICKETS = "subject,body\nprinter,It does not print\n"
PEOPLE = "name,email\nIda,ida@example.org\n"


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def workbook(sheets: Mapping[str, Sequence[Sequence[object]]]) -> bytes:
    import openpyxl

    book, packed = openpyxl.Workbook(), io.BytesIO()
    book.remove(book.active)
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(row)
    book.save(packed)
    return packed.getvalue()


def opened(tmp_path: Path, content: bytes, name: str) -> Source:
    (tmp_path / name).write_bytes(content)
    return Source.open(str(tmp_path / name))


def refusal(tmp_path: Path, content: bytes, name: str = "t.zip") -> str:
    with pytest.raises(InputError) as refused:
        opened(tmp_path, content, name)
    text = str(refused.value)
    assert "\n" not in text and ("expected" in text or "--map" in text)
    return text


@pytest.mark.parametrize(
    ("files", "named"),
    [
        ({}, "found a zip archive without files"),
        ({"folder/": ""}, "found no file inside"),
        ({"photo.png": "x", "readme.pdf": "y"}, "found photo.png, readme.pdf inside"),
        ({"inner.zip": zipped({"t.csv": TICKETS})}, "found inner.zip inside"),
        ({"a.csv": "", "b.csv": "\ufeff\r\n"}, "found nothing in the files a.csv, b.csv"),
        ({"a.csv": "subject,body\n"}, "found no rows below the header in the file a.csv"),
        ({"a.json": "[]", "b.json": "[]"}, "found no ticket in its JSON, only empty lists in the files a.json, b.json"),
        ({"a.csv": PEOPLE, "b.csv": PEOPLE}, "found the columns name, email; .*; inside: files a.csv, b.csv"),
        ({f"{n}.csv": PEOPLE for n in range(8)}, "files 0.csv, 1.csv, 2.csv, 3.csv, 4.csv and 3 more"),
        ({"xl/workbook.bin": "x"}, "found a binary Excel workbook"),
        ({"Index/Document.iwa": "x"}, "found a document of Numbers"),
    ],
)
def test_what_is_in_an_archive_is_said(tmp_path: Path, files: dict[str, str | bytes], named: str) -> None:
    assert re.search(named, refusal(tmp_path, zipped(files)))


@pytest.mark.parametrize(
    ("sheets", "named"),
    [
        ({"Users": [], "Groups": []}, "no sheet has cells ('Users', 'Groups')"),
        (
            {"Users": [["name", "email"], ["Ida", "x"]], "Groups": [["gid", "title of group"], [1, "x"]]},
            "sheets 'Users' (name, email), 'Groups' (gid, title of group)",
        ),
        ({"T": [["subject", "description"]]}, "found no rows below the header in the sheet 'T' (subject, description)"),
        ({"T": [["only a note"]]}, "in the sheet 'T' (only a note)"),
    ],
)
def test_what_is_in_a_workbook_is_said(tmp_path: Path, sheets: dict[str, list[list[object]]], named: str) -> None:
    assert named in refusal(tmp_path, workbook(sheets), "t.xlsx")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7-Zip archive"),
        (b"Rar!\x1a\x07\x01" + bytes(99), "a RAR archive"),
        (b"!BDN" + bytes(99), "an Outlook data file"),
        (b"\xd0\xcf\x11\xe0" + bytes(99), "an old Office document, or one with a password"),
        (gzip.compress(b"", mtime=0), "the file is empty"),
        (gzip.compress(zipped({"t.csv": TICKETS})), "an archive in an archive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # archives hold the time
)
def test_other_containers_are_named(tmp_path: Path, content: bytes, found: str) -> None:
    assert found in refusal(tmp_path, content, "t.gz")


def test_empty_files_beside_tickets_are_named_and_lose_nothing(tmp_path: Path) -> None:
    source = opened(tmp_path, zipped({"monday.csv": "", "tuesday.csv": TICKETS, "wednesday.csv": "\n"}), "t.zip")
    assert [row.fields["body"] for row in source.rows] == ["It does not print"]
    assert source.notes() == ("monday.csv is empty.", "wednesday.csv is empty.")
