"""Tables as programs damage them: quotes, short rows, title rows, joined files. No row swallows another."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tests.test_readers import rows_of
from tickets.errors import InputError
from tickets.formats.readers import read_rows
from tickets.raw import RawRow, ReadLog

HEADER = "id,subject,body,queue\n"


def bodies(rows: list[RawRow]) -> list[str | None]:
    return [None if row.fault else row.fields["body"] for row in rows]


@pytest.mark.parametrize(
    "broken",
    [
        '2,s2,"Every invoice, that I print,A\n3,s3,"My badge, opens",B\n',
        '2,s2,"Every invoice that I print,A\n3,s3,"My badge opens",B\n',
        '2,s2,"Every invoice\nthat I print,A\n3,s3,"My badge opens",B\n',
    ],
)
def test_a_quote_that_never_closes_swallows_no_row(tmp_path: Path, broken: str) -> None:
    rows = rows_of(tmp_path / "t.csv", HEADER + "1,s1,one,A\n" + broken + "4,s4,four,A\n")
    read = [row for row in rows if not row.fault]
    assert [row.fields["id"] for row in read] == ["1", "3", "4"]
    assert "My badge" in read[1].fields["body"] and "invoice" not in read[1].fields["body"]
    assert any(row.fault and row.fault.startswith("unclosed quote") for row in rows)


def test_quotes_inside_a_field_that_are_not_doubled_cost_no_other_row(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "t.csv", HEADER + '1,s1,"say "hi" now",A\n2,s2,"two\nsay "hi",A\n3,s3,three,B\n')
    assert bodies(rows) == ['say "hi" now', 'two\nsay "hi', "three"]


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ('"The 24" monitor, on the left, is dark"', 'The 24" monitor, on the left, is dark'),
        ('"He said "yes""', 'He said "yes"'),
        ('"Line "one" here\nand line, two"', 'Line "one" here\nand line, two'),
        ('"It shows ""E1"" and "E2" now"', 'It shows "E1" and "E2" now'),
        ('"closed" too early', "closed too early"),
    ],
)
def test_quotes_that_are_not_doubled_stay_where_they_are(tmp_path: Path, field: str, text: str) -> None:
    lines = "".join(f'{n},s{n},{field},"A"\n' for n in range(3))
    assert bodies(rows_of(tmp_path / "t.csv", HEADER + lines)) == [text] * 3


def test_a_space_before_quotes_is_no_part_of_a_field(tmp_path: Path) -> None:
    spaced = 'id, subject, body, queue\n1, "a, b", "Hello, it ""fails""", A\n2, c, "d, e", B\n'
    rows = rows_of(tmp_path / "t.csv", spaced)
    assert [(row.fields["subject"], row.fields["body"]) for row in rows] == [
        ("a, b", 'Hello, it "fails"'),
        ("c", "d, e"),
    ]
    rows = rows_of(tmp_path / "t.csv", HEADER + '1,s, "quoted" word,A\n2,s,"x",B\n')
    assert bodies(rows) == [' "quoted" word', "x"]


@pytest.mark.parametrize("first", ["plain", r"He said \"no\" and left", r"He said \"no\", and left"])
def test_quotes_escaped_by_a_backslash(tmp_path: Path, first: str) -> None:
    texts = [first, r"I said \"yes\", thanks", r"a \"b\" c"]
    rows = rows_of(tmp_path / "t.csv", HEADER + "".join(f'"{n}","s","{text}","A"\n' for n, text in enumerate(texts)))
    assert bodies(rows) == [text.replace('\\"', '"') for text in texts]


def test_a_backslash_at_the_end_of_a_field_is_itself(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "t.csv", HEADER + '"1","s","C:\\temp\\","A"\n"2","s","D:\\","B"\n')
    assert bodies(rows) == ["C:\\temp\\", "D:\\"]


@pytest.mark.parametrize("line_break", ["", "\n"])
def test_a_picture_inside_a_text_is_no_unclosed_quote(tmp_path: Path, line_break: str) -> None:
    picture = ("A" * 76 + line_break) * 20_000
    rows = rows_of(tmp_path / "t.csv", HEADER + f'1,s,"see {picture} here",A\n2,s,two,B\n')
    assert [row.fault for row in rows] == [None, None]
    assert rows[1].fields["body"] == "two"


@pytest.mark.parametrize("bom", ["", "\ufeff"])
def test_a_header_in_the_middle_is_no_ticket(tmp_path: Path, bom: str) -> None:
    rows = rows_of(tmp_path / "t.csv", f"{bom}{HEADER}1,s,one,A\n{bom}{HEADER}2,s,two,B\n")
    assert bodies(rows) == ["one", None, "two"]
    assert rows[1].fault == "repeated header: the column names once more"


def test_rows_without_their_empty_last_cells_are_whole(tmp_path: Path) -> None:
    lines = ["1;s;one;A;x;y", "2;s;two;A", "3;s;three;B;x", "4;s;four", "5;s;five;A;x;y"]
    rows = rows_of(tmp_path / "t.csv", "id;subject;body;queue;note;more\n" + "\n".join(lines))
    assert bodies(rows) == ["one", "two", "three", "four", "five"]
    assert rows[3].fields["queue"] == ""


def test_a_row_that_is_broken_in_two_is_not_taken_for_a_short_one(tmp_path: Path) -> None:
    lines = ["1;s;one;A;x", "2;s;two", "3;s;first line", "second line;A;x", "4;s;four;B;x", "5;s;five"]
    rows = rows_of(tmp_path / "t.csv", "id;subject;body;queue;note\n" + "\n".join(lines))
    assert bodies(rows) == ["one", "two", None, None, "four", "five"]


def test_a_single_short_row_is_a_fault(tmp_path: Path) -> None:
    lines = [f"{n};s;text {n};A" for n in range(60)]
    lines[30] = "30;s"
    assert bodies(rows_of(tmp_path / "t.csv", "id;subject;body;queue\n" + "\n".join(lines))).count(None) == 1


@pytest.mark.parametrize(
    "titles",
    [
        "Ticket export\n",
        "Ticket export of March, all queues\n\n",
        '"Ticket export",,,\n"Created by",Ida,,\n',
        ",,,\nx,,,\n",
    ],
)
def test_lines_above_the_column_names_are_named(tmp_path: Path, titles: str) -> None:
    (tmp_path / "t.csv").write_text(titles + HEADER + "".join(f"{n},s,text {n},A\n" for n in range(5)))
    log = ReadLog()
    rows = list(read_rows(str(tmp_path / "t.csv"), log=log))
    assert bodies(rows) == [f"text {n}" for n in range(5)]
    assert "above the column names" in " ".join(log.notes)


def test_a_header_of_other_names_is_the_header(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "t.csv", "Kennung,Vorfall\n1,es druckt nicht\n2,id und text\n")
    assert list(rows[0].fields) == ["Kennung", "Vorfall"]


def test_errors_inside_a_packed_file_name_that_file(tmp_path: Path) -> None:
    path = tmp_path / "tickets.json.gz"
    path.write_bytes(gzip.compress(b'[{"body": "a"}, {"bo'))
    with pytest.raises(InputError, match=r"tickets\.json\.gz: not valid JSON"):
        list(read_rows(str(path)))


@pytest.mark.parametrize("packed", [True, False])
def test_a_tar_archive_is_refused(tmp_path: Path, packed: bool) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz" if packed else "w") as archive:
        entry = tarfile.TarInfo("t.csv")
        data = (HEADER + "1,s,one,A\n").encode()
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    path = tmp_path / ("t.tar.gz" if packed else "t.tar")
    path.write_bytes(content.getvalue())
    with pytest.raises(InputError, match="found a tar archive"):
        list(read_rows(str(path)))


@pytest.mark.parametrize(
    "content",
    [
        b"<html><body><table><tr><th>id</th></tr></table></body></html>",
        b'<?xml version="1.0"?>\n<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet"></Workbook>',
        b"<rss><channel/></rss>",
    ],
)
def test_web_pages_and_xml_say_what_helps(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match="save it as"):
        rows_of(tmp_path / "t.xls", content)


def test_a_web_page_without_a_table_is_a_failed_request(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"web page without a table of tickets.*log in and export again"):
        rows_of(tmp_path / "t.xls", b"<!DOCTYPE html>\n<html></html>")


def test_a_header_that_is_too_wide_moves_no_cell(tmp_path: Path) -> None:
    rows = rows_of(
        tmp_path / "t.csv", "id,subject,body, as text,queue\n" + "".join(f"{n},s,t {n},A\n" for n in range(9))
    )
    assert bodies(rows) == [None] * 9


def test_escaped_quotes_in_a_later_line_of_a_field(tmp_path: Path) -> None:
    rows = rows_of(tmp_path / "t.csv", HEADER + '"1","s","first line\nHe said \\"hi\\" twice","A"\n"2","s","two","B"\n')
    assert bodies(rows) == ['first line\nHe said "hi" twice', "two"]


@pytest.mark.parametrize("last", ["Grand Total,10,,", ",,Summe:,8", "Count,,,3", "total,1.234,5 %,"])
def test_a_row_of_totals_is_no_ticket(tmp_path: Path, last: str) -> None:
    rows = rows_of(tmp_path / "t.csv", HEADER + f"1,s1,text,A\n{last}\n")
    assert [row.fault for row in rows] == [None, "a row of totals"]


@pytest.mark.parametrize("row", ["2,Total,It is wrong,A", "2,Sum is wrong,,A", "Total cost,,,", "2,3,,"])
def test_a_ticket_about_a_total_is_one(tmp_path: Path, row: str) -> None:
    assert [row.fault for row in rows_of(tmp_path / "t.csv", HEADER + f"1,s1,text,A\n{row}\n")] == [None, None]
