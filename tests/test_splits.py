"""Splits: every ticket in one part, shares of tickets, whole groups, classes in training."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.split_tickets import SUBJECTS, alert, body, part_of, sizes, tickets_of
from tickets.errors import InputError
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import PARTS, Ticket, read_tickets
from tickets.splitting.assign import SHARES
from tickets.splitting.splits import grouped_split, random_split
from tickets.splitting.time_split import time_split

REAL = Path(__file__).parent.parent.parent / "shared" / "data" / "tickets.csv"


def test_a_large_group_belongs_to_training_and_shares_are_of_tickets() -> None:
    texts = [*SUBJECTS[:5], *(alert(n) for n in range(12)), *SUBJECTS[5:8]]
    split = grouped_split(tickets_of(texts), "queue")
    assert sizes(split) == (14, 3, 3)
    assert set(range(5, 17)) <= set(split.train.tolist())
    assert not split.notes


@given(
    st.lists(st.integers(1, 4), min_size=60, max_size=150),
    st.integers(1, 6),
    st.integers(0, 3),
    st.sampled_from(["grouped", "random"]),
)
@settings(max_examples=60, deadline=None)
def test_small_groups_give_the_shares_and_stay_whole(group_sizes: list[int], classes: int, seed: int, how: str) -> None:
    groups = np.repeat(np.arange(len(group_sizes)), group_sizes)
    queues = [f"q{n % classes}" if n % 7 else "" for n in range(11)]
    tickets = tickets_of([body(n) for n in range(len(groups))], queues)
    split = grouped_split(tickets, "queue", groups, seed) if how == "grouped" else random_split(tickets, "queue", seed)
    parts = part_of(split)
    assert np.abs(np.array(sizes(split)) / len(groups) - SHARES).max() <= 0.03
    assert how == "random" or all(len(set(parts[groups == g].tolist())) == 1 for g in set(groups.tolist()))
    trained = {tickets[row].labels.get("queue") for row in split.train}
    assert {ticket.labels.get("queue") for ticket in tickets} - {None} <= trained


@given(st.lists(st.integers(1, 40), min_size=8, max_size=60), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_groups_of_any_size_stay_whole_and_every_part_has_tickets(group_sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(group_sizes)), group_sizes)
    split = grouped_split(tickets_of([body(n) for n in range(len(groups))]), "queue", groups, seed)
    parts = part_of(split)
    assert all(len(set(parts[groups == group].tolist())) == 1 for group in range(len(group_sizes)))
    assert min(sizes(split)) > 0
    # No part can be further off than the largest group makes necessary.
    off = np.abs(np.array(sizes(split)) - SHARES * len(groups)).max()
    assert off <= max(group_sizes) + 0.03 * len(groups) + 1
    assert bool(split.notes) == (off > max(0.05 * len(groups), 1))


@pytest.mark.parametrize("count", range(8, 31))
@pytest.mark.parametrize("how", [grouped_split, random_split])
def test_small_inputs_get_three_parts(count: int, how: object) -> None:
    split = (grouped_split if how is grouped_split else random_split)(
        tickets_of([body(n) for n in range(count)]), "queue"
    )
    train, validation, test = sizes(split)
    part_of(split)
    assert validation >= 1 and test >= 1
    assert abs(train - 0.7 * count) <= 1.5


def test_fewer_than_eight_tickets_are_refused() -> None:
    for how in (grouped_split, random_split, time_split):
        with pytest.raises(InputError, match="found 7 usable tickets, expected at least 8"):
            how(tickets_of([body(n) for n in range(7)]))


def test_the_seed_changes_the_split_and_is_all_that_does() -> None:
    tickets = tickets_of([body(n) for n in range(100)])
    for how in (grouped_split, random_split):
        first, again, other = (how(tickets, "queue", seed=seed) for seed in (1, 1, 2))
        assert part_of(first).tolist() == part_of(again).tolist() != part_of(other).tolist()


def test_a_class_of_one_ticket_is_trained_on(tmp_path: Path) -> None:
    queues = ["Pager" if n == 1 else "AABABBAB"[n % 8] for n in range(16)]
    for seed in range(20):
        tickets = [Ticket(str(n), "", SUBJECTS[n], labels={"queue": queues[n]}) for n in range(16)]
        for split in (grouped_split(tickets, "queue", seed=seed), random_split(tickets, "queue", seed)):
            assert 1 in split.train
            assert min(sizes(split)) >= 2


def test_classes_of_every_column_reach_training() -> None:
    tickets = [
        Ticket(str(n), "", body(n), labels={"queue": "AB"[n % 2], "owner": f"o{n // 2 % 150}"}) for n in range(300)
    ]
    for seed in range(5):
        split = random_split(tickets, "queue", seed)
        assert len({tickets[row].labels["owner"] for row in split.train}) == 150
        assert sizes(split)[0] <= 0.73 * 300


def test_a_column_of_unique_values_does_not_empty_the_other_parts() -> None:
    tickets = [Ticket(str(n), "", body(n), labels={"number": str(n)}) for n in range(200)]
    assert np.abs(np.array(sizes(random_split(tickets, "number"))) / 200 - SHARES).max() <= 0.03


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "newest"}, "expected one of grouped, random, time, published"),
        ({"seed": -1}, "found --seed -1, expected 0 or more"),
        ({"rare": "remove"}, "expected one of keep, merge, drop"),
        ({"duplicate_threshold": 25.0}, "expected a share of common word pairs from 0.1 to 1"),
        ({"split": "published", "seed": 1}, "found --seed with --split published"),
        ({"split": "published", "keep_split": Path("old")}, "found --keep-split with --split published"),
    ],
)
def test_options_that_cannot_work_are_refused_first(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        PrepareOptions("nowhere.csv", Path("out"), **options)  # type: ignore[arg-type]


@pytest.mark.skipif(not REAL.exists(), reason="shared data not here")
def test_the_real_tickets_split_as_ever(tmp_path: Path) -> None:
    prepare(PrepareOptions(str(REAL), tmp_path / "out"), progress=False)
    text = "\n".join(t.id for part in PARTS for t in read_tickets(tmp_path / "out" / f"{part}.jsonl"))
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "64fc8737acafdb524ff6e5d4a031b8f9c10fd2b5f155bae46adfd11ecd9d3890"
    )
