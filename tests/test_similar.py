"""The memory of resolved tickets: exact search, private data, adding, erasing, and what reads it."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbone.runs.files import sha256, write_json
from backbone.runs.folder import verify
from backbone.runs.layout import MANIFEST
from memory.memory import open_memory, write_memory
from memory.segment import Segment
from memory.terms import Idf, count_terms
from pipeline.export.bundle import CHECK, MEMORY, NO_GGUF, Bundle, bundle_facts
from pipeline.predict import render_similar
from pipeline.resolved import ResolvedTickets, add_tickets, erase_tickets, load_resolved, memory_facts
from tests.mutations import finds, mutated, resign
from tickets.errors import InputError
from tickets.schema import Ticket

WORDS = [
    "printer",
    "vpn",
    "invoice",
    "login",
    "paper",
    "slow",
    "error",
    "update",
    "mail",
    "refund",
    "Drucker",
    "Rechnung",
]


def some_tickets(count: int, first: int = 0) -> list[Ticket]:
    chance = np.random.default_rng(first)
    texts = [" ".join(chance.choice(WORDS, size=12)) for _ in range(count)]
    return [
        Ticket(f"t{first + number}", f"About {text.split()[0]}", text, labels={"type": "Incident"}, reply=f"Re {text}")
        for number, text in enumerate(texts)
    ]


def bundle_of(folder: Path, tickets: list[Ticket]) -> Path:
    """A bundle with nothing in it but resolved tickets."""
    write_memory(folder / MEMORY, tickets)
    write_json(folder / CHECK, {})
    files = {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    facts = bundle_facts(NO_GGUF, memory=memory_facts(open_memory(folder / MEMORY)))
    write_json(folder / MANIFEST, {**facts, "files": files})
    return folder


def resolved(folder: Path) -> ResolvedTickets:
    return load_resolved(Bundle.open(folder), folder)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("memory.memory.SEGMENT", "pipeline.resolved.SEGMENT"):
        monkeypatch.setattr(name, 10)


def test_search_is_exact(tmp_path: Path, small_segments: None) -> None:
    tickets = some_tickets(35)
    write_memory(tmp_path / "memory", tickets)
    memory = open_memory(tmp_path / "memory")
    assert [len(segment) for segment in memory.segments] == [10, 10, 10, 5]
    idf = Idf.of(count_terms([ticket.text for ticket in tickets[:10]]))
    rows = idf.weigh(count_terms([ticket.text for ticket in tickets])).toarray()
    for text in ("printer error update", "Drucker Drucker refund", "About vpn vpn slow"):
        cosines = rows @ idf.weigh(count_terms([text])).toarray()[0]
        expected = [tickets[row].id for row in np.lexsort((np.arange(35), -cosines))[:4]]
        found = memory.search(text, 4)
        assert [one.similarity for one in found] == pytest.approx(sorted(cosines)[:-5:-1], abs=1e-5)
        assert [one.ticket.id for one in found] == expected


def test_a_ticket_finds_itself_and_the_others_without_it(tmp_path: Path) -> None:
    tickets = some_tickets(30)
    write_memory(tmp_path / "memory", tickets)
    memory = open_memory(tmp_path / "memory")
    first, *_ = memory.search(tickets[7].text, 3)
    assert first.ticket == tickets[7] and first.similarity == pytest.approx(1)
    assert all(one.ticket.id != "t7" for one in memory.search(tickets[7].text, 3, without="t7"))


@pytest.mark.parametrize("text", ["", " \n", "?!", "zzyzx qwrt", "\ud800"])
def test_nothing_in_common_finds_nothing(tmp_path: Path, text: str) -> None:
    write_memory(tmp_path / "memory", some_tickets(5))
    assert open_memory(tmp_path / "memory").search(text, 3) == []


def test_private_data_is_not_kept(tmp_path: Path) -> None:
    secret = Ticket("a", "Call +49 30 901820", "IBAN DE89370400440532013000, jo@example.com", reply="To jo@example.com")
    folder = bundle_of(tmp_path / "b", [secret])
    add_tickets(folder, [Ticket("b", "Hello", "mail ann@example.com", reply="Dear ann@example.com")])
    text = "".join(path.read_text("utf-8") for path in folder.rglob("*.jsonl"))
    assert "example.com" not in text and "DE89" not in text and "901820" not in text
    assert text.count("<email>") == 4


def test_adding_and_erasing_keep_the_manifest_right(tmp_path: Path, small_segments: None) -> None:
    folder = bundle_of(tmp_path / "b", some_tickets(15))
    new = [*some_tickets(9, first=100), Ticket("t3", "New", "text of t3", reply="new"), Ticket("x", "", "no reply")]
    assert add_tickets(folder, new) == 15 + 9
    verify(folder)
    assert resolved(folder).similar(Ticket("", "New", "text of t3"), 1)[0].ticket.reply == "new"
    assert erase_tickets(folder, ["t3", "t100"]) == 22
    verify(folder)
    kept = {ticket.id for segment in resolved(folder).memory.segments for ticket in segment.tickets()}
    assert kept == {f"t{n}" for n in [*range(15), *range(100, 109)]} - {"t3", "t100"}
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"text of t3" not in everything
    assert erase_tickets(folder, kept) == 0
    assert resolved(folder).similar(Ticket("", "", "printer"), 3) == []
    assert add_tickets(folder, some_tickets(2)) == 2
    verify(folder)


def test_erasing_an_unknown_ticket_erases_nothing(tmp_path: Path) -> None:
    folder = bundle_of(tmp_path / "b", some_tickets(5))
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(InputError, match="has no ticket 'nope'; nothing was erased"):
        erase_tickets(folder, ["t1", "nope"])
    assert (folder / MANIFEST).read_bytes() == before and len(resolved(folder).memory) == 5


def test_a_change_that_was_cut_off_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bundle_of(tmp_path / "b", some_tickets(5))
    with monkeypatch.context() as failing, pytest.raises(RuntimeError):
        failing.setattr("pipeline.resolved.relist", _fail)
        add_tickets(folder, some_tickets(2, first=50))
    assert len(resolved(folder).memory) == 5
    assert add_tickets(folder, some_tickets(3, first=50)) == 8  # over what the first attempt left
    verify(folder)
    assert sorted(path.name for path in (folder / MEMORY).iterdir()) == ["1", "frequencies"]


def _fail(*_: object) -> None:
    raise RuntimeError


def test_repeats_are_told_where_old_replies_agree(tmp_path: Path) -> None:
    once = some_tickets(40)
    again = [Ticket(f"again{t.id}", t.subject, f"{t.body} please", reply=t.reply) for t in once[:20]]
    write_memory(tmp_path / "memory", [*once, *again])
    facts = memory_facts(open_memory(tmp_path / "memory"))
    found = ResolvedTickets(open_memory(tmp_path / "memory"), facts["repeat_similarity"])
    same = found.similar(Ticket("", once[3].subject, f"{once[3].body} thanks"), 1)[0]
    assert found.is_repeat(same) and found.to_dict(same)["repeat"]
    assert not found.is_repeat(found.similar(Ticket("", "", "printer printer paper slow vpn"), 1)[0])


def test_without_repeats_none_is_told(tmp_path: Path) -> None:
    write_memory(tmp_path / "memory", [Ticket(t.id, t.subject, t.body, reply=t.id * 9) for t in some_tickets(40)])
    assert memory_facts(open_memory(tmp_path / "memory"))["repeat_similarity"] is None


def test_the_text_form_fits_eighty_columns(tmp_path: Path) -> None:
    long = Ticket("0" * 20, "word " * 60, "printer", labels={"type": "Incident", "queue": "IT"}, reply="line one\n" * 3)
    write_memory(tmp_path / "memory", [long])
    found = ResolvedTickets(open_memory(tmp_path / "memory"), 0.0)
    lines = render_similar(found, found.similar(Ticket("", "", "printer"), 3)).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[2].startswith("repeat    ") and lines[3:] == [" " * 10 + "line one"] * 3
    assert "no resolved ticket" in render_similar(found, [])


@pytest.mark.parametrize("name", ["0/terms.npy", "0/tickets.jsonl", "0/offsets.npy", "frequencies/inverse.npy"])
def test_a_damaged_memory_is_one_line(tmp_path: Path, name: str) -> None:
    folder = bundle_of(tmp_path / "b", some_tickets(5))
    (folder / MEMORY / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match="damaged"):
        resolved(folder)


DAMAGES = int(os.environ.get("DUET_DAMAGES", "120"))


def test_damages_with_right_sums_are_a_line_or_an_answer(tmp_path: Path) -> None:
    folder = bundle_of(tmp_path / "b", some_tickets(12))
    names = sorted(p.relative_to(folder).as_posix() for p in (folder / MEMORY).rglob("*") if p.is_file())
    refused = 0
    for number in range(DAMAGES):
        chance = random.Random(number)
        name = names[number % len(names)]
        damaged = Path(shutil.copytree(folder, tmp_path / str(number)))
        data, done = mutated((folder / name).read_bytes(), name, chance)
        (damaged / name).write_bytes(data)
        resign(damaged, name)
        try:
            assert finds(damaged), (number, name, done)
        except InputError as error:
            told = str(error)
            assert "\n" not in told and len(told) < 700 and str(damaged / MEMORY) in told, (number, name, done, told)
            refused += 1
        except Exception as error:
            raise AssertionError(number, name, done) from error
        shutil.rmtree(damaged)
    assert DAMAGES // 2 < refused < DAMAGES


def test_a_memory_is_checked_once_for_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = bundle_of(tmp_path / "b", some_tickets(5))
    checked: list[Path] = []
    check = Segment.check
    monkeypatch.setattr(Segment, "check", lambda segment: (checked.append(segment.folder), check(segment))[1])
    assert len(resolved(folder).memory) == 5 and len(checked) == 1
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert len(resolved(folder).memory) == len(resolved(copy).memory) == 5 and len(checked) == 1
    for kept in ("", "{", "5", "null", "false", "[" * 100_000):  # another says nothing
        (tmp_path / "cache" / "ticket-duet" / "memories").rglob("*.json").__next__().write_text(kept)
        assert len(resolved(folder).memory) == 5
    assert len(checked) == 7
    path = folder / MEMORY / "0" / "rows.npy"
    np.save(path, np.load(path)[::-1].copy() + np.int32(9))
    resign(folder, f"{MEMORY}/0/rows.npy")  # other content with right sums
    with pytest.raises(InputError, match=r"rows\.npy"):
        resolved(folder)
    with pytest.raises(InputError, match=r"rows\.npy"):  # what failed is not kept
        resolved(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert len(resolved(copy).memory) == 5 and len(checked) == 10
    add_tickets(copy, some_tickets(2, first=50))
    assert len(resolved(copy).memory) == 7


WRONG: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "infinite weight": ("0/weights.npy", lambda v: np.append(v[:-1], np.float32(np.inf))),
    "weight that is no number": ("0/weights.npy", lambda v: np.append(v[:-1], np.float32(np.nan))),
    "negative weight": ("0/weights.npy", lambda v: -v),
    "large weights": ("0/weights.npy", lambda v: v * np.float32(9)),
    "other numbers": ("0/weights.npy", lambda v: v.astype(np.float64)),
    "two dimensions": ("0/weights.npy", lambda v: v[:, None]),
    "no dimension": ("0/rows.npy", lambda v: v[0]),
    "too few weights": ("0/weights.npy", lambda v: v[:-1]),
    "row that is not there": ("0/rows.npy", lambda v: v + np.int32(1)),
    "negative row": ("0/rows.npy", lambda v: v - np.int32(1)),
    "terms in disorder": ("0/terms.npy", lambda v: v[::-1].copy()),
    "negative term": ("0/terms.npy", lambda v: v - np.int32(1 << 23)),
    "large term": ("0/terms.npy", lambda v: v + np.int32(1 << 23)),
    "starts too far": ("0/starts.npy", lambda v: v + 1),
    "starts in disorder": ("0/starts.npy", lambda v: np.concatenate([v[:1], v[-2:0:-1], v[-1:]])),
    "no starts": ("0/starts.npy", lambda v: v[:0]),
    "offsets within a line": ("0/offsets.npy", lambda v: np.append(v[:-2], [v[-2] - 1, v[-1]])),
    "no offsets": ("0/offsets.npy", lambda v: v[:0]),
    "more tickets": ("0/offsets.npy", lambda v: np.append(v, v[-1])),
    "infinite frequency": ("frequencies/inverse.npy", lambda v: np.append(v[:-1], np.float32(np.inf))),
    "frequency that is no number": ("frequencies/inverse.npy", lambda v: v * np.float32(np.nan)),
    "frequency of zero": ("frequencies/inverse.npy", lambda v: v * np.float32(0)),
    "too few frequencies": ("frequencies/inverse.npy", lambda v: v[:-1]),
    "frequencies in disorder": ("frequencies/terms.npy", lambda v: v[::-1].copy()),
    "objects": ("frequencies/terms.npy", lambda v: np.array([{}], dtype=object)),
}


@pytest.mark.parametrize("case", WRONG)
def test_values_that_no_export_writes_are_refused_by_name(tmp_path: Path, case: str) -> None:
    name, change = WRONG[case]
    folder = bundle_of(tmp_path / "b", some_tickets(5))
    path = folder / MEMORY / name
    np.save(path, change(np.load(path)), allow_pickle=True)
    resign(folder, f"{MEMORY}/{name}")
    with pytest.raises(InputError) as error:
        resolved(folder)
    assert str(path) in str(error.value) or name == "0/terms.npy"  # starts are of the terms
    assert "export it again with --memory" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[]",
        "7",
        "null",
        '{"id": ' + "1" * 5000 + "}",
        "[" * 5000,
        '{"id": "a", "subject": "\\ud800", "body": ""}',
        '{"id": "a", "subject": "s", "body": "b", "labels": 3}',
        '{"id": "a", "subject": "s", "body": "b", "tags": 3}',
    ],
    ids=range(10),
)
def test_a_ticket_that_is_none_is_refused_by_name(tmp_path: Path, line: str) -> None:
    folder = bundle_of(tmp_path / "b", some_tickets(5))
    path = folder / MEMORY / "0" / "tickets.jsonl"
    kept = path.read_text("utf-8").splitlines(keepends=True)
    path.write_text("".join([f"{line}\n", *kept[1:]]), "utf-8")
    ends = np.cumsum([0, *(len(text.encode()) for text in path.read_text("utf-8").splitlines(keepends=True))])
    np.save(path.with_name("offsets.npy"), ends)
    for name in ("tickets.jsonl", "offsets.npy"):
        resign(folder, f"{MEMORY}/0/{name}")
    with pytest.raises(InputError) as error:
        resolved(folder)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_half_characters_can_be_added(tmp_path: Path) -> None:
    folder = bundle_of(tmp_path / "b", some_tickets(5))
    assert add_tickets(folder, [Ticket("a", "odd \ud800", "zygomorph", reply="Re \udfff")]) == 6
    (found,) = resolved(folder).similar(Ticket("", "", "zygomorph"), 3)
    assert found.ticket.reply == "Re ?"


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), float("-inf"), -0.1, 1.1, True])
def test_a_threshold_that_is_no_similarity_is_refused(tmp_path: Path, threshold: float) -> None:
    folder = bundle_of(tmp_path / "b", some_tickets(5))
    record = json.loads((folder / MANIFEST).read_text())
    record["bundle"]["memory"]["repeat_similarity"] = threshold
    write_json(folder / MANIFEST, record)
    with pytest.raises(InputError, match="manifest does not say"):
        resolved(folder)


@pytest.mark.parametrize(
    "facts",
    [{}, {"segments": "0"}, {"segments": ["../.."]}, {"segments": [0]}, {"segments": ["0"], "repeat_similarity": "x"}],
)
def test_a_manifest_that_does_not_tell_is_one_line(tmp_path: Path, facts: dict[str, object]) -> None:
    folder = bundle_of(tmp_path / "b", some_tickets(5))
    record = json.loads((folder / MANIFEST).read_text())
    record["bundle"]["memory"] = facts
    write_json(folder / MANIFEST, record)
    with pytest.raises(InputError, match="manifest does not say"):
        resolved(folder)


def test_a_bundle_without_a_memory_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no memory of resolved tickets.*export --memory"):
        load_resolved(None, tmp_path)


def test_added_words_are_found_though_the_export_never_saw_them(tmp_path: Path) -> None:
    folder = bundle_of(tmp_path / "b", some_tickets(5))
    add_tickets(folder, [Ticket("new", "Zygomorph", "The zygomorph quivers", reply="Restart it.")])
    (found,) = resolved(folder).similar(Ticket("", "", "zygomorph"), 3)
    assert found.ticket.id == "new"
