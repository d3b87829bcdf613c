"""What is a label, tickets without one, and rare classes."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.split_tickets import body, tickets_of
from tickets.columns.empty_labels import label_or_empty
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import PARTS, Ticket, read_tickets
from tickets.splitting.rare import treat_rare
from tickets.splitting.splits import published_split


@pytest.mark.parametrize(
    "text",
    [
        *("-", "--", "–", "?", "...", "", " ", "n/a", "N/A", "#N/A", "nan", "\\N", "null", "NULL"),
        *("None", "none", "(none)", "[None]", "<none>", "(blank)", "not set", "not_set", "(not set)"),
        *("unassigned", "Unassigned", "keine Angabe", "nicht zugewiesen"),
    ],
)
def test_what_stands_for_no_label_is_none(text: str) -> None:
    assert label_or_empty(text) == ""


@pytest.mark.parametrize(
    "text", ["0", "1", "No", "false", "C++", "!", "***", "Empty", "Missing", "None of the above", "other", "Open"]
)
def test_labels_that_look_odd_are_labels(text: str) -> None:
    assert label_or_empty(text) == text


def test_rare_classes_are_merged_or_emptied_and_no_ticket_is_lost() -> None:
    queues = ["A"] * 12 + ["B"] * 3 + ["C"] * 2 + ["Other"] + [""]
    tickets = [Ticket(str(n), "", body(n), labels={"queue": q} if q else {}) for n, q in enumerate(queues)]
    merged, notes = treat_rare(tickets, "merge", 4)
    assert Counter(t.labels.get("queue") for t in merged) == {"A": 12, "Other": 6, None: 1}
    assert notes == ["queue: 2 classes under 4 tickets merged into 'Other', 5 tickets in all: 'B' (3), 'C' (2)"]
    dropped, notes = treat_rare(tickets, "drop", 3)
    assert Counter(t.labels.get("queue") for t in dropped) == {"A": 12, "B": 3, "Other": 1, None: 3}
    assert notes == ["queue: 1 class under 3 tickets emptied, 2 tickets in all: 'C' (2)"]
    assert treat_rare(tickets, "keep", 100) == (tickets, [])
    assert [t.id for t in merged] == [t.id for t in dropped] == [t.id for t in tickets]


def test_tickets_without_labels_are_kept_and_spread(tmp_path: Path) -> None:
    rows = [f"{body(n)},{'-' if n % 4 == 0 else f'q{n % 3}'},{'n/a' if n % 6 == 0 else 'p1'}" for n in range(120)]
    (tmp_path / "t.csv").write_text("\n".join(["body,queue,priority", *rows]))
    report = prepare(PrepareOptions(str(tmp_path / "t.csv"), tmp_path / "out"), progress=False)
    assert (report.kept, report.quarantined) == (120, 0)
    assert (report.missing["queue"], report.missing["priority"]) == (30, 20)
    assert sum(report.labels["queue"].counts.values()) == 90
    parts = {part: read_tickets(tmp_path / "out" / f"{part}.jsonl") for part in PARTS}
    unlabelled = {part: sum("queue" not in t.labels for t in tickets) for part, tickets in parts.items()}
    assert sum(unlabelled.values()) == 30 and 18 <= unlabelled["train"] <= 24 and min(unlabelled.values()) >= 3
    assert any(not t.labels for t in parts["train"])


def test_the_published_split_puts_tickets_without_queue_into_training() -> None:
    tickets = tickets_of([body(n) for n in range(100)])
    unlabelled = [replace(t, labels={}) for t in tickets_of([body(200 + n) for n in range(10)])]
    alone, both = published_split(tickets), published_split([*tickets, *unlabelled])
    assert both.test.tolist() == alone.test.tolist() and both.validation.tolist() == alone.validation.tolist()
    assert both.train.tolist() == [*alone.train.tolist(), *range(100, 110)]
