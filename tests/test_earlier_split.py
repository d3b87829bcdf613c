"""Tickets of an earlier split, and what is near to them, stay in their parts."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.split_tickets import body, tickets_of
from tickets.errors import InputError
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import PARTS, Ticket, read_tickets, write_tickets
from tickets.splitting.assign import FREE, SHARES, TEST, TRAIN, VALIDATION
from tickets.splitting.earlier_split import EarlierSplit


def write_source(path: Path, tickets: Sequence[Ticket], with_ids: bool = True) -> str:
    """A source with these tickets."""
    write_tickets(path, [replace(t, labels={}, reply="") for t in tickets])
    lines = ["id,body,queue,created"] if with_ids else ["body,queue,created"]
    for t in tickets:
        cells = [t.body, t.labels.get("queue", ""), t.created]
        lines.append(",".join([t.id, *cells] if with_ids else cells))
    path.write_text("\n".join(lines))
    return str(path)


def parts_by_text(folder: Path) -> dict[str, str]:
    return {t.body: part for part in PARTS for t in read_tickets(folder / f"{part}.jsonl")}


@pytest.mark.parametrize("how", ["grouped", "random", "time"])
@pytest.mark.parametrize("with_ids", [True, False])
def test_earlier_tickets_and_what_is_near_stay_in_their_parts(tmp_path: Path, how: str, with_ids: bool) -> None:
    old = [
        replace(t, created=f"2024-01-{n % 28 + 1:02d}") for n, t in enumerate(tickets_of([body(n) for n in range(60)]))
    ]
    prepare(PrepareOptions(write_source(tmp_path / "old.csv", old, with_ids), tmp_path / "old"), progress=False)
    before = parts_by_text(tmp_path / "old")
    new = [replace(t, id=f"N{n}", body=body(1000 + n), created=f"2024-03-{n % 28 + 1:02d}") for n, t in enumerate(old)]
    near = [replace(t, id=f"C{n}", body=f"{t.body} w{n}x8 again") for n, t in enumerate(old)]
    later = [*new, *old[5:], *near]
    random.Random(1).shuffle(later)
    options = PrepareOptions(
        write_source(tmp_path / "new.csv", later, with_ids), tmp_path / "new", split=how, keep_split=tmp_path / "old"
    )
    report = prepare(options, progress=False)
    after = parts_by_text(tmp_path / "new")
    assert {text: part for text, part in after.items() if text in before} == {t.body: before[t.body] for t in old[5:]}
    assert all(after[copy.body] == before[t.body] for copy, t in zip(near, old, strict=True))
    assert len(after) == len(later) == sum(report.parts.values())
    assert np.abs(np.array([*report.parts.values()]) / len(later) - SHARES).max() <= 0.05
    assert f"test {sum(before[t.body] == 'test' for t in old[5:])} of 9 and 9 near to them" in report.notes[0]


def test_an_edited_ticket_stays_in_its_part_by_its_id(tmp_path: Path) -> None:
    old = tickets_of([body(n) for n in range(40)])
    prepare(PrepareOptions(write_source(tmp_path / "old.csv", old), tmp_path / "old"), progress=False)
    before = {t.id: part for part in PARTS for t in read_tickets(tmp_path / "old" / f"{part}.jsonl")}
    edited = [replace(t, body=body(500 + n)) for n, t in enumerate(old)]
    options = PrepareOptions(write_source(tmp_path / "new.csv", edited), tmp_path / "new", keep_split=tmp_path / "old")
    prepare(options, progress=False)
    assert {t.id: part for part in PARTS for t in read_tickets(tmp_path / "new" / f"{part}.jsonl")} == before


def test_the_folder_of_the_earlier_split_may_be_the_new_one(tmp_path: Path) -> None:
    source, out = write_source(tmp_path / "t.csv", tickets_of([body(n) for n in range(40)])), tmp_path / "out"
    prepare(PrepareOptions(source, out), progress=False)
    before = parts_by_text(out)
    prepare(PrepareOptions(source, out, seed=7, keep_split=out), progress=False)
    assert parts_by_text(out) == before


def test_a_folder_that_is_no_earlier_split_is_refused(tmp_path: Path) -> None:
    source = write_source(tmp_path / "t.csv", tickets_of([body(n) for n in range(40)]))
    with pytest.raises(InputError, match=r"--keep-split .*: found no train.jsonl"):
        prepare(PrepareOptions(source, tmp_path / "out", keep_split=tmp_path), progress=False)


@pytest.mark.parametrize("how", ["grouped", "random"])
def test_repeated_ids_in_another_order_stay_in_their_parts(how: str, tmp_path: Path) -> None:
    old = [replace(t, id=f"{n // 3}") for n, t in enumerate(tickets_of([body(n) for n in range(60)]))]
    prepare(PrepareOptions(write_source(tmp_path / "old.csv", old), tmp_path / "old", split=how), progress=False)
    before = parts_by_text(tmp_path / "old")
    later = [*old[::-1], *(replace(t, id=f"N{n}", body=body(1000 + n)) for n, t in enumerate(old[:10]))]
    options = PrepareOptions(write_source(tmp_path / "new.csv", later), tmp_path / "new", keep_split=tmp_path / "old")
    prepare(options, progress=False)
    after = parts_by_text(tmp_path / "new")
    assert {text: after[text] for text in before} == before


def test_an_edited_ticket_with_a_repeated_id_takes_the_part_that_is_left(tmp_path: Path) -> None:
    parts = {"train": [("7", body(1)), ("8", body(2))], "validation": [("7#2", body(3))], "test": [("9#1", body(4))]}
    (tmp_path / "old").mkdir()
    for part, rows in parts.items():
        write_tickets(tmp_path / "old" / f"{part}.jsonl", [Ticket(name, "", text) for name, text in rows])
    (tmp_path / "old" / "report.json").write_text('{"columns": {"id": "id"}}')
    earlier = EarlierSplit.load(tmp_path / "old")
    now = [("7", body(500)), ("7#2", body(1)), ("9#1", body(501)), ("8", body(502)), ("8#2", body(503))]
    found, _, _ = earlier.pin([Ticket(name, "", text) for name, text in now], 0.9, has_ids=True)
    assert found.tolist() == [VALIDATION, TRAIN, TEST, TRAIN, FREE]
