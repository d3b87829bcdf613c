"""Preparation as a whole: columns, quarantine, splits, report, folders."""

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import split_tickets
from tickets.cleaning.clean import Cleaner
from tickets.columns.choose import choose_columns
from tickets.errors import InputError, WorkError
from tickets.formats.text_file import split_subject
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.preparation.prepared_folder import AUGMENTATION, FILES
from tickets.preparation.report import render_report as render
from tickets.preparation.rows import Source
from tickets.schema import read_tickets
from tickets.splitting.duplicates import near_duplicates

REAL = Path(__file__).parent.parent.parent / "shared" / "data" / "tickets.csv"
HEADER = ["id", "subject", "body", "queue", "priority", "language"]


def table(count: int = 60) -> list[list[str]]:
    """Distinct tickets in two queues, two priorities and two languages."""
    rows = []
    for n in range(count):
        body = " ".join(f"word{n}x{k}" for k in range(12))
        rows.append([f"T{n}", f"subject {n}", body, f"queue {n % 2}", f"p{n % 3 // 2}", "de" if n % 5 == 0 else "en"])
    return rows


def write_csv(path: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER, delimiter: str = ",") -> str:
    """The path of a CSV file with these rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return str(path)


def quarantine(out: Path) -> list[dict[str, Any]]:
    """The quarantined rows."""
    return [json.loads(line) for line in (out / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()]


def test_prepare_writes_every_file_and_accounts_for_every_row(tmp_path: Path) -> None:
    rows = table()
    rows[3][1] = rows[3][2] = " "
    rows[4][2] = ""  # a heading alone is a ticket
    rows[7][3] = ""
    rows[9][0] = "T8"
    rows[11] = rows[11][:3]
    out = tmp_path / "out"
    report = prepare(PrepareOptions(write_csv(tmp_path / "t.csv", rows), out), progress=False)
    assert {file.name for file in out.iterdir()} == FILES - {AUGMENTATION}
    assert (report.rows_in, report.kept, report.quarantined) == (60, 58, 2)
    assert [(row["line"], row["reason"]) for row in quarantine(out)] == [
        (5, "no text"),
        (13, "ragged row: 3 fields, expected 6"),
    ]
    parts = {part: read_tickets(out / f"{part}.jsonl") for part in ("train", "validation", "test")}
    assert {part: len(tickets) for part, tickets in parts.items()} == report.parts
    assert len({ticket.id for tickets in parts.values() for ticket in tickets}) == 58
    assert [t.labels for tickets in parts.values() for t in tickets if t.id == "T7"] == [{"priority": "p0"}]
    assert json.loads((out / "report.json").read_text(encoding="utf-8")) == json.loads(json.dumps(report.to_dict()))


def test_every_command_reads_the_same_ticket_alike(tmp_path: Path) -> None:
    """What `predict` reads from a text file is what `prepare` and `predict-batch` read from a row."""
    bodies = [
        "<p>Hello,</p><p>it <b>hangs</b> &amp; stops.</p>",
        "FYI\n\nFrom: Ida\nSent: Monday\nTo: Help\nSubject: rota\n\nThe planner shows last year's rota.",
        r"Dear team,\n\nI am late.\nBye",
        r"npm is not found: C:\Program Files\nodejs\npm.cmd",
        "  spaces   and\r\n\r\n\r\nlines\x00  ",
        "",
    ]
    for body in bodies:
        path = write_csv(tmp_path / "t.csv", [["1", "Re:  <i>it</i> hangs</i>", body, "a", "p", "en"]])
        source, cleaner = Source.open(path), Cleaner(escapes=None)
        cleaner.decide_escapes(source.sample)
        (row,) = source.rows
        ticket = source.ticket(source.cells(row), 1, cleaner)
        read = split_subject(f"Subject: Re:  <i>it</i> hangs</i>\n\n{body}", "x").ticket()
        assert (read.subject, read.body) == (ticket.subject, ticket.body)


def test_report_counts_and_fits_80_columns(tmp_path: Path) -> None:
    rows = table()
    rows += [[f"D{n}", *rows[n][1:3], "rare one", *rows[n][4:]] for n in range(4)]
    report = prepare(PrepareOptions(write_csv(tmp_path / "t.csv", rows), tmp_path / "out"), progress=False)
    assert report.duplicates.groups == report.duplicates.disagreeing["queue"] == 4
    assert report.duplicates.test_leaks == 0
    assert report.labels["queue"].counts == {"queue 0": 30, "queue 1": 30, "rare one": 4}
    assert report.labels["queue"].imbalance == 7.5
    assert report.labels["queue"].rare == ("rare one",)
    assert report.languages == {"en": 51, "de": 13}
    text = render(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "Groups whose labels disagree: 4 of 4" in text


def test_languages_columns_and_maps(tmp_path: Path) -> None:
    header = ["Nr", "Betreff", "Nachricht", "Abteilung", "Prio", "Sprache"]
    source = write_csv(tmp_path / "t.csv", table(), header, ";")
    options = PrepareOptions(
        source, tmp_path / "out", maps=("id=nr", "team=Abteilung"), columns=("team",), languages=("EN",)
    )
    report = prepare(options, progress=False)
    assert report.reasons == {"language de not wanted": 12}
    assert list(report.labels) == ["team"]
    assert read_tickets(tmp_path / "out" / "train.jsonl")[0].subject.startswith("subject")


def articles(text: str) -> list[dict[str, Any]]:
    """A customer's article, an internal note and a public reply, as Zammad has them."""
    return [
        {"body": text, "sender": "Customer", "internal": False},
        {"body": "note", "sender": "Agent", "internal": True},
        {"body": "reply", "sender": "Agent", "internal": False},
    ]


def test_zendesk_and_zammad_exports(tmp_path: Path) -> None:
    zendesk = [
        {
            "id": r[0],
            "subject": r[1],
            "description": r[2],
            "group": {"name": r[3]},
            "priority": r[4],
            "tags": ["a", "b"],
        }
        for r in table()
    ]
    zammad = [{"id": r[0], "number": r[0], "title": r[1], "group": r[3], "articles": articles(r[2])} for r in table()]
    for name, content in (("zendesk", {"tickets": zendesk}), ("zammad", zammad)):
        source = tmp_path / f"{name}.json"
        source.write_text(json.dumps(content))
        prepare(PrepareOptions(str(source), tmp_path / name), progress=False)
        ticket = read_tickets(tmp_path / name / "train.jsonl")[0]
        assert ticket.labels["queue"].startswith("queue") and ticket.body.startswith("word")
        assert (ticket.tags, ticket.reply) == ((("a", "b"), "") if name == "zendesk" else ((), "reply"))


@pytest.mark.parametrize(
    ("maps", "preset", "message"),
    [
        (("subject=Betref",), None, "did you mean 'Betreff'"),
        (("subjekt=Betreff",), None, "did you mean 'subject'"),
        (("subject",), None, "expected --map name=Column"),
        (("subject=Betreff", "subject=Mail"), None, "after subject=Betreff, expected one column for 'subject'"),
        (("tags=Betreff", "tags=Mail"), None, "several columns of tags are written --map tags=A,B"),
        ((), "zendek", "expected one of public, zendesk, zammad, freshdesk"),
        ((), None, "no column for the body text"),
    ],
)
def test_column_errors_say_what_mends_them(maps: tuple[str, ...], preset: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        choose_columns(["Betreff" if maps else "Amt", "Mail"], preset, maps)


def test_public_preset_takes_all_tags() -> None:
    header = ["Subject", "body", "answer", "type", "queue", "priority", "language", *(f"tag_{n}" for n in range(1, 9))]
    columns = choose_columns(header)
    assert (columns.subject, columns.reply, columns.language) == ("Subject", "answer", "language")
    assert columns.tags == tuple(header[7:])
    assert columns.labels == {"type": "type", "queue": "queue", "priority": "priority"}


@given(st.lists(st.text(alphabet=st.sampled_from('ab,;"\n\r\t\x00ä '), max_size=30), max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_in_is_kept_plus_quarantined_on_hostile_csv(tmp_path: Path, lines: list[str]) -> None:
    good = "".join(",".join(row) + "\n" for row in table(20))
    source, out = tmp_path / "t.csv", tmp_path / "out"
    source.write_text(",".join(HEADER) + "\n" + good + "\n".join(lines), encoding="utf-8", newline="")
    report = prepare(PrepareOptions(str(source), out), progress=False)
    written = sum(len(read_tickets(out / f"{part}.jsonl")) for part in ("train", "validation", "test"))
    assert report.rows_in == written + len(quarantine(out)) >= 20
    assert written == report.kept >= 20


def test_lone_surrogates_from_json_do_not_stop_the_writing(tmp_path: Path) -> None:
    source = tmp_path / "t.jsonl"
    lines = [json.dumps({"body": f"{row[2]} \ud83d", "queue": f"{row[3]}\ud83d"}) for row in table()]
    source.write_text("\n".join([*lines, '{"body": "\\ud800"}']))
    report = prepare(PrepareOptions(str(source), tmp_path / "out"), progress=False)
    assert (report.kept, report.quarantined) == (60, 1)


def test_existing_folders_are_replaced_only_when_ours(tmp_path: Path) -> None:
    source, out = write_csv(tmp_path / "t.csv", table()), tmp_path / "out"
    prepare(PrepareOptions(source, out), progress=False)
    prepare(PrepareOptions(source, out), progress=False)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "t.csv"]
    with pytest.raises(InputError, match="holds the source"):
        prepare(PrepareOptions(str(out / "train.jsonl"), out), progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("x")
    with pytest.raises(InputError, match="no prepared data"):
        prepare(PrepareOptions(source, tmp_path / "mine"), progress=False)
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_a_failed_run_leaves_the_old_folder_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = write_csv(tmp_path / "t.csv", table()), tmp_path / "out"
    prepare(PrepareOptions(source, out), progress=False)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tickets.preparation.prepare.write_tickets", full)
    with pytest.raises(WorkError, match="No space left"):
        prepare(PrepareOptions(source, out), progress=False)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "t.csv"]
    assert {file.name for file in out.iterdir()} == FILES - {AUGMENTATION}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("body,queue\n", "no rows below the header"),
        ("body,queue\n,a\n,b\n", "none of 2 rows can be used.*no text"),
        ("body,queue\na b,x\n", "found 1 usable ticket, expected at least 8"),
        ("x,y\n1,2\n", "found the columns x, y"),
    ],
)
def test_sources_without_tickets_are_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        prepare(PrepareOptions(str(tmp_path / "t.csv"), tmp_path / "out"), progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_published_split_needs_queue_and_language(tmp_path: Path) -> None:
    rows = [[row[2], row[3]] for row in table()]
    source = write_csv(tmp_path / "t.csv", rows, ["body", "crew name"])
    with pytest.raises(InputError, match="no queue column"):
        prepare(PrepareOptions(source, tmp_path / "out", split="published"), progress=False)
    with pytest.raises(InputError, match="no language column"):
        maps = ("queue=crew name",)
        prepare(PrepareOptions(source, tmp_path / "out", split="published", maps=maps), progress=False)


@pytest.mark.skipif(not REAL.exists(), reason="shared data not here")
def test_published_split_of_the_real_tickets(tmp_path: Path) -> None:
    from sklearn.model_selection import train_test_split

    report = prepare(PrepareOptions(str(REAL), tmp_path / "out", split="published"), progress=False)
    assert (report.rows_in, report.kept, report.reasons) == (3426, 2202, {"language de not wanted": 1224})
    assert report.parts == {"train": 1541, "validation": 330, "test": 331}
    assert report.duplicates.test_leaks > 20
    with REAL.open(encoding="utf-8", newline="") as file:
        english = [(f"{n:06d}", r["queue"]) for n, r in enumerate(csv.DictReader(file), 1) if r["language"] == "en"]
    train, rest = train_test_split(english, test_size=0.3, random_state=42, stratify=[q for _, q in english])
    _, test = train_test_split(rest, test_size=0.5, random_state=42, stratify=[q for _, q in rest])
    assert {t.id for t in read_tickets(tmp_path / "out" / "train.jsonl")} == {i for i, _ in train}
    assert {t.id for t in read_tickets(tmp_path / "out" / "test.jsonl")} == {i for i, _ in test}


@pytest.mark.skipif(not REAL.exists(), reason="shared data not here")
def test_grouped_split_of_the_real_tickets_leaks_nothing(tmp_path: Path) -> None:
    report = prepare(PrepareOptions(str(REAL), tmp_path / "out"), progress=False)
    assert (report.rows_in, report.kept, report.languages) == (3426, 3426, {"en": 2202, "de": 1224})
    assert report.duplicates.test_leaks == report.duplicates.validation_leaks == 0
    assert report.missing["subject"] == 158
    assert len(report.labels["queue"].counts) == 10


def test_hundreds_of_near_copies_are_one_group_without_listing_every_pair() -> None:
    words = [f"w{k}" for k in range(40)]
    alerts = [" ".join([*words[:20], f"n{n}", *words[20:]]) for n in range(3_000)]
    near = near_duplicates(
        [*alerts, *(f"other text number {n} of its own kind x{n}" for n in range(5))], exact_rows=100
    )
    assert len(set(near.groups[:3_000].tolist())) == 1
    assert len(near.pairs) < 30_000
    assert (near.pairs[:, 0] < near.pairs[:, 1]).all()


def test_labels_that_are_all_different_are_named(tmp_path: Path) -> None:
    lines = [f'{n},"{split_tickets.body(n)}",label {n}' for n in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["id,body,queue", *lines]), encoding="utf-8")
    options = PrepareOptions(str(tmp_path / "t.csv"), tmp_path / "out")
    with pytest.raises(InputError, match=r"12 classes of 'queue' have one ticket.*--rare drop.*--columns"):
        prepare(options, progress=False)
    assert prepare(replace(options, rare="drop"), progress=False).kept == 12


@pytest.mark.parametrize("option", ["tokenizer", "keep_split"])
def test_what_options_name_is_looked_at_before_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    (tmp_path / "t.csv").write_text("body\nx\n")
    (tmp_path / "wrong.json").write_text("{}")
    monkeypatch.setattr(Source, "open", lambda *_, **__: pytest.fail("rows were read first"))
    given = {option: tmp_path / "wrong.json" if option == "tokenizer" else tmp_path}
    with pytest.raises(InputError, match=option.replace("_", "-")):
        prepare(PrepareOptions(str(tmp_path / "t.csv"), tmp_path / "out", **given))
    assert not (tmp_path / "out").exists()


def test_the_same_map_twice_is_one() -> None:
    assert choose_columns(["Betreff", "Mail"], None, ("body=Mail", "body=Mail")).body == "Mail"
