"""The built-in tickets: what they promise."""

import csv
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from backbone.dataset import load_part, resolve_data
from eval.references import tfidf_regression
from tickets.formats.text_file import read_ticket
from tickets.sample import build
from tickets.schema import PARTS, Ticket
from tickets.splitting.duplicates import near_duplicates, word_bigrams

FOLDER = resolve_data("sample")


@pytest.fixture(scope="module")
def parts() -> dict[str, list[Ticket]]:
    return {part: load_part(FOLDER, part) for part in PARTS}


@pytest.fixture(scope="module")
def corpus(parts: dict[str, list[Ticket]]) -> list[Ticket]:
    return sorted(chain.from_iterable(parts.values()), key=lambda ticket: ticket.id)


@pytest.mark.slow
def test_it_is_rebuilt_byte_for_byte(tmp_path: Path) -> None:
    build.write(tmp_path, build.build())
    for part in PARTS:
        assert (tmp_path / f"{part}.jsonl").read_bytes() == (FOLDER / f"{part}.jsonl").read_bytes(), (
            "make sample-corpus"
        )


def test_it_has_the_public_sets_shares(corpus: list[Ticket]) -> None:
    assert len(corpus) >= 4000
    assert len({ticket.id for ticket in corpus}) == len(corpus)
    languages = Counter(ticket.language for ticket in corpus)
    assert set(languages) == {"en", "de"}
    assert min(languages.values()) > 1000
    for column, wanted in (("queue", build.QUEUES), ("type", build.TYPES)):
        found = Counter(ticket.labels[column] for ticket in corpus)
        assert set(found) == set(wanted)
        for label, count in wanted.items():
            assert found[label] / len(corpus) == pytest.approx(count / sum(wanted.values()), abs=0.03)
    priorities = Counter(ticket.labels["priority"] for ticket in corpus)
    for label, share in {"medium": 0.41, "high": 0.39, "low": 0.20}.items():
        assert priorities[label] / len(corpus) == pytest.approx(share, abs=0.03)
    assert all(ticket.tags and ticket.reply and ticket.body for ticket in corpus)
    assert build.FLIP_SHARE <= 0.05


def test_no_near_duplicate_group_is_large_or_split(parts: dict[str, list[Ticket]]) -> None:
    everything = list(chain.from_iterable(parts.values()))
    sides = list(chain.from_iterable([part] * len(found) for part, found in parts.items()))
    groups = near_duplicates([ticket.text for ticket in everything]).groups
    assert max(Counter(groups.tolist()).values()) <= 0.01 * len(everything)
    assert all(
        len({sides[i] for i in np.flatnonzero(groups == g)}) == 1 for g, n in Counter(groups.tolist()).items() if n > 1
    )


@pytest.mark.slow
def test_labels_are_ambiguous_but_learnable(parts: dict[str, list[Ticket]]) -> None:
    test = parts["validation"] + parts["test"]
    predicted = tfidf_regression(parts["train"], test, ["type", "queue", "priority"])
    for column in ("type", "queue", "priority"):
        hits = [row[column] == ticket.labels[column] for row, ticket in zip(predicted, test, strict=True)]
        assert 0.70 <= np.mean(hits) <= 0.90, column


def test_replies_repeat_what_is_the_tickets_own(corpus: list[Ticket]) -> None:
    products = list(chain.from_iterable(build._load(FOLDER / "slots.yaml")["products"].values()))
    naming = [any(product in ticket.reply for product in products if product in ticket.text) for ticket in corpus]
    assert np.mean(naming) > 0.97
    invented = [any(p in t.reply and p not in t.text for p in products) for t in corpus]
    assert np.mean(invented) == 0


def test_the_example_table_holds_test_tickets(parts: dict[str, list[Ticket]]) -> None:
    with (FOLDER / "examples" / "tickets.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    by_subject = {ticket.subject: ticket for ticket in parts["test"]}
    assert len(rows) == 20
    for row in rows:
        ticket = by_subject[row["subject"]]
        assert (row["body"], row["answer"], row["tags"]) == (ticket.body, ticket.reply, ", ".join(ticket.tags))
        assert {column: row[column] for column in ticket.labels} == ticket.labels


def test_the_demos_tickets_are_not_in_it(corpus: list[Ticket]) -> None:
    examples = [read_ticket(path) for path in sorted((FOLDER / "examples").glob("*.txt"))]
    assert len(examples) == 3
    for example in examples:
        own = word_bigrams(example.text)
        for ticket in corpus:
            other = word_bigrams(ticket.text)
            assert len(own & other) / len(own | other) < 0.25
