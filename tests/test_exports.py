"""Exports of helpdesks through `prepare`: columns, tags, replies, ids, encodings, archives, sheets, and failures."""

import gzip
import hashlib
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

from tests.test_prepare import REAL, table, write_csv
from tickets.columns.tag_text import split_tags
from tickets.errors import InputError
from tickets.preparation.describe import Report
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.preparation.prepared_folder import kept_quarantine
from tickets.schema import Ticket, read_tickets
from tickets.sources import source_fingerprint

TEXTS = [row[2] for row in table(16)]
# of ids, subjects, bodies, labels, tags and replies, before presets, conversations and code pages were known
REAL_DIGEST = "47c5b06a72f748a658bdf6b6988aaa0bd1e87f4c197a5891b5bbb24538e3d392"


def prepared(source: Path | str, **options: object) -> tuple[Report, list[Ticket]]:
    out = Path(str(source)).parent / "out"
    report = prepare(PrepareOptions(str(source), out, **options), progress=False)  # type: ignore[arg-type]
    tickets = [ticket for part in report.parts for ticket in read_tickets(out / f"{part}.jsonl")]
    return report, sorted(tickets, key=lambda ticket: ticket.id)


def csv_of(tmp_path: Path, header: list[str], *cells: str) -> str:
    """A file with a body and the same further cells in every row; `{n}` is the row."""
    rows = [[text, *(cell.format(n=n) for cell in cells)] for n, text in enumerate(TEXTS)]
    return write_csv(tmp_path / "t.csv", rows, ["Description", *header])


@pytest.mark.skipif(not REAL.exists(), reason="shared data not here")
def test_the_real_tickets_come_out_as_before(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = prepare(PrepareOptions(str(REAL), out), progress=False)
    digest = hashlib.sha256()
    for t in sorted((t for part in report.parts for t in read_tickets(out / f"{part}.jsonl")), key=lambda t: t.id):
        record = [t.id, t.subject, t.body, dict(t.labels), list(t.tags), t.reply]
        digest.update(json.dumps(record, ensure_ascii=False).encode() + b"\n")
    assert digest.hexdigest() == REAL_DIGEST


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("vpn printer urgent", ("vpn", "printer", "urgent")),
        ("vpn|printer", ("vpn", "printer")),
        ("vpn; printer", ("vpn", "printer")),
        ("vpn, printer", ("vpn", "printer")),
        ("<vpn><printer>", ("vpn", "printer")),
        ("['vpn', 'printer']", ("vpn", "printer")),
        ("['vpn' 'printer']", ("vpn", "printer")),
        ('["vpn", "printer"]', ("vpn", "printer")),
        ("Password Reset", ("Password Reset",)),
        ("Printer, A3|VPN", ("Printer, A3", "VPN")),
        ("[vpn][printer]", ("vpn", "printer")),
        ("#vpn #printer", ("vpn", "printer")),
        ('"vpn, old","printer"', ("vpn, old", "printer")),
        ("vpn • printer", ("vpn", "printer")),
        ("#1 priority", ("#1 priority",)),
        ("col·lecció", ("col·lecció",)),
    ],
)
def test_tags_as_text(tmp_path: Path, cell: str, tags: tuple[str, ...]) -> None:
    path = Path(csv_of(tmp_path, ["Tags"], cell))
    assert prepared(path)[1][0].tags == tags


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ('{vpn,"remote access"}', ["vpn", "remote access"]),  # PostgreSQL
        (r'{"a \"b\"",c}', ['a "b"', "c"]),
        ("{'b', 'a'}", ["b", "a"]),  # a set of Python
        ('{"a": 1}', ['{"a": 1}']),
    ],
)
def test_tags_in_braces_keep_their_order(cell: str, tags: list[str]) -> None:
    assert split_tags(cell) == tags


def test_jira_columns_repeat_and_a_resolution_is_no_reply(tmp_path: Path) -> None:
    rows = [
        [f"s{n}", f"SUP-{n}", "Bug", ["Done", "Won't Do"][n % 2], "vpn", "printing", t] for n, t in enumerate(TEXTS)
    ]
    header = ["Summary", "Issue key", "Issue Type", "Resolution", "Labels", "Labels", "Description"]
    report, tickets = prepared(write_csv(tmp_path / "t.csv", rows, header))
    assert (tickets[0].id, tickets[0].tags, tickets[0].reply) == ("SUP-0", ("vpn", "printing"), "")
    assert any("'Resolution' is not taken for the reply" in note for note in report.notes)
    with pytest.raises(InputError, match="handful of short values"):
        prepared(tmp_path / "t.csv", maps=("reply=Resolution",))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            ["Ticket ID", "Ticket Type", "Ticket Subject", "Ticket Description", "Resolution", "Ticket Priority"],
            {"id", "type", "subject", "body", "reply", "priority"},
        ),
        (
            ["number", "short_description", "description", "category", "assignment_group", "close_notes"],
            {"id", "subject", "body", "category", "queue", "reply"},
        ),
        (["category", "text"], {"category", "body"}),
    ],
)
def test_common_headers_are_known(tmp_path: Path, header: list[str], expected: set[str]) -> None:
    few = {"category", "assignment_group", "Ticket Type", "Ticket Priority"}
    rows = [[f"v{n % 2}" if h in few else f"{TEXTS[n]}." for h in header] for n in range(16)]
    assert set(prepared(write_csv(tmp_path / "t.csv", rows, header))[0].columns) == expected


def test_columns_that_could_be_labels_are_offered(tmp_path: Path) -> None:
    report, _ = prepared(csv_of(tmp_path, ["Channel", "Customer"], "Chat", "person {n}"))
    assert not any("Could be labels" in note for note in report.notes)
    rows = [[text, ["Chat", "Mail"][n % 2]] for n, text in enumerate(TEXTS)]
    report, _ = prepared(write_csv(tmp_path / "t.csv", rows, ["Description", "Channel"]))
    assert any("Channel (2 values)" in note for note in report.notes)


@pytest.mark.parametrize("header", ["Requester", "Reporter", "customer", "Ticket Author", "Firma", "Kunde"])
def test_a_person_is_not_offered_as_a_label(tmp_path: Path, header: str) -> None:
    rows = [[text, ["Anna Koch", "Bo Lee"][n % 2]] for n, text in enumerate(TEXTS)]
    report, _ = prepared(write_csv(tmp_path / "t.csv", rows, ["Description", header]))
    assert not any("Could be labels" in note for note in report.notes)


def test_an_id_column_is_used_and_repeated_ids_are_numbered(tmp_path: Path) -> None:
    rows = [[str(n // 2), text] for n, text in enumerate(TEXTS)]
    tickets = prepared(write_csv(tmp_path / "t.csv", rows, ["id", "body"]))[1]
    assert {ticket.id for ticket in tickets} == {f"{n}{end}" for n in range(8) for end in ("", "#2")}


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1251", "Здравствуйте, принтер на третьем этаже не печатает с утра, пришлите техника"),
        ("koi8_r", "Здравствуйте, принтер на третьем этаже не печатает с утра, пришлите техника"),
        ("cp1250", "Dzień dobry, drukarka na trzecim piętrze nie działa, proszę o pomoc, żółty ekran i błąd"),
        ("cp1252", "Guten Tag, der Drucker im dritten Stock läuft nicht, bitte Größe und Schlüssel prüfen"),
        ("gb18030", "您好,三楼的打印机从早上起就不能打印了,请派技术人员来,无法登录邮箱"),
        ("big5", "您好,三樓的印表機從早上起就不能列印了,請派技術人員來,無法登入信箱"),
        ("cp932", "お世話になっております。三階のプリンターが今朝から印刷できません。ログインできません"),
        ("euc_jp", "お世話になっております。三階のプリンターが今朝から印刷できません。ログインできません"),
    ],
)
def test_code_pages_of_twenty_tickets(tmp_path: Path, codec: str, text: str) -> None:
    path = tmp_path / "t.csv"
    body = "body\n" + "".join(f'"{text} {TEXTS[n % 16]} z{n}"\n' for n in range(20))
    path.write_bytes(body.encode(codec))
    report, tickets = prepared(path, split="random")
    assert tickets[0].body.startswith(text)
    assert report.encodings["t.csv"] not in ("", "UTF-8")
    assert prepared(path, encoding=codec, split="random")[1] == tickets
    warned = any("--encoding" in note for note in report.notes)
    assert warned or codec != "cp1252"


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found --encoding 'cp9999'"):
        prepared(csv_of(tmp_path, []), encoding="cp9999")


def test_gzip_zip_and_workbook_give_the_same_tickets(tmp_path: Path) -> None:
    import openpyxl

    source = Path(csv_of(tmp_path, ["Id", "Priority"], "T{n}", "{n}"))
    _, expected = prepared(source)
    with gzip.open(tmp_path / "t.csv.gz", "wb") as packed:
        packed.write(source.read_bytes())
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(source, "export/t.csv")
        archive.writestr("__MACOSX/._t.csv", b"\x00")
    book = openpyxl.Workbook()
    book.active.title = "Legend"
    book.active.append(["Colour", "Meaning"])
    sheet = book.create_sheet("Tickets")
    for row in [["Description", "Id", "Priority"], *([text, f"T{n}", n] for n, text in enumerate(TEXTS))]:
        sheet.append(row)
    book.save(tmp_path / "t.xlsx")
    for name in ("t.csv.gz", "t.zip", "t.xlsx"):
        report, tickets = prepared(tmp_path / name)
        assert tickets == expected, name
    assert any("Sheet 'Legend' is not read" in note for note in report.notes)


def test_what_a_zip_leaves_out_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("t.csv", "body\na\n")
        archive.writestr("photo.png", b"x")
    with pytest.raises(InputError, match=r"photo\.png"):
        prepared(tmp_path / "t.zip")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"body\n" + b"a\n" * 999)[:-9])
    with pytest.raises(InputError, match="not a whole gzip file"):
        prepared(tmp_path / "cut.csv.gz")


def test_a_workbook_without_openpyxl_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import openpyxl

    openpyxl.Workbook().save(tmp_path / "t.xlsx")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"pip install 'ticket-duet\[xlsx\]'"):
        prepared(tmp_path / "t.xlsx")


def test_a_failure_keeps_the_rows_set_aside_and_names_the_commonest_reason(tmp_path: Path) -> None:
    rows = [["", "A"]] * 13 + [[text, "B"] for text in TEXTS[:1]]
    source = write_csv(tmp_path / "t.csv", rows, ["body", "queue"])
    with pytest.raises(InputError, match="13 of 14 rows are set aside: no text"):
        prepared(source)
    kept = kept_quarantine(tmp_path / "out")
    assert len(kept.read_text().splitlines()) == 13
    prepared(csv_of(tmp_path, []))
    assert not kept.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes by name here")
def test_a_pipe_is_refused_in_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="found a pipe, not a regular file"):
        prepared(tmp_path / "pipe")


def test_every_spelling_of_a_source_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(csv_of(tmp_path, []))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepared(source)[1] == prepare_from_home(tmp_path)
    fingerprint = source_fingerprint(str(source))
    assert fingerprint == source_fingerprint("~/t.csv") == source_fingerprint(f"{tmp_path}/../{tmp_path.name}/t.csv")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.csv").write_text("body\na\n")
    before = source_fingerprint(str(folder))
    (folder / "a.csv").write_text("body\nb\n")
    assert source_fingerprint(str(folder)) != before
    home = tmp_path / "out2"
    prepare(PrepareOptions(str(source), home), progress=False)
    with pytest.raises(InputError, match="holds the source"):
        prepare(PrepareOptions("~/out2/train.jsonl", home), progress=False)


def prepare_from_home(tmp_path: Path) -> list[Ticket]:
    report = prepare(PrepareOptions("~/t.csv", tmp_path / "home"), progress=False)
    tickets = [ticket for part in report.parts for ticket in read_tickets(tmp_path / "home" / f"{part}.jsonl")]
    return sorted(tickets, key=lambda ticket: ticket.id)


def test_turns_make_a_ticket_of_every_public_reply(tmp_path: Path) -> None:
    exports = [
        {
            "id": n,
            "description": text,
            "requester_id": 5,
            "comments": [
                {"author_id": 5, "public": True, "body": text},
                {"author_id": 9, "public": True, "body": f"first {n}"},
                {"author_id": 9, "public": False, "body": "INTERNAL"},
                {"author_id": 5, "public": True, "body": f"more {n}"},
                {"author_id": 9, "public": True, "body": f"second {n}"},
            ],
        }
        for n, text in enumerate(TEXTS)
    ]
    (tmp_path / "t.json").write_text(json.dumps({"tickets": exports}))
    report, tickets = prepared(tmp_path / "t.json", turns=True)
    assert (report.rows_in, report.turns, report.kept) == (16, 16, 32)
    later = next(ticket for ticket in tickets if ticket.id == "0/2")
    assert later.reply == "second 0"
    assert later.body == f"Requester: {TEXTS[0]}\n\nSupport: first 0\n\nRequester: more 0"
    parts = {t.id: part for part in report.parts for t in read_tickets(tmp_path / "out" / f"{part}.jsonl")}
    assert all(parts[f"{n}/2"] == parts[str(n)] for n in range(16))
