"""Near-duplicates: templates, thresholds, and what is said where most tickets are one group."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from tests.split_tickets import SUBJECTS, alert, body, sizes, tickets_of
from tickets.errors import InputError
from tickets.splitting.duplicates import near_duplicates, word_bigrams
from tickets.splitting.splits import grouped_split, random_split
from tickets.splitting.time_split import time_split


def test_a_template_is_named_and_the_advice_works(tmp_path: Path) -> None:
    product = [f"I have an issue with the product {body(n)} please assist" for n in range(90)]
    tickets = tickets_of([*product, *SUBJECTS[:5]])
    with pytest.raises(InputError) as caught:
        grouped_split(tickets, "queue", threshold=0.25)
    message = str(caught.value)
    assert "90 of 95 tickets are near-duplicates of each other, as if written from one template" in message
    assert message.count("'I have an issue with the product") == 2
    assert "--split random" in message and "--split time" not in message
    stricter = float(message.partition("--duplicate-threshold ")[2].split()[0])
    assert "\n" not in message
    assert min(sizes(grouped_split(tickets, "queue", threshold=stricter))) > 0
    assert sizes(random_split(tickets, "queue"))[0] == 66


def test_advice_names_no_threshold_that_does_not_work_and_time_where_there_are_dates() -> None:
    tickets = [replace(t, created=f"2024-01-{n + 1:02d}") for n, t in enumerate(tickets_of([alert(1)] * 20))]
    with pytest.raises(InputError) as caught:
        grouped_split(tickets, "queue")
    assert "--duplicate-threshold" not in str(caught.value)
    assert "--split random or --split time" in str(caught.value)
    assert sizes(time_split(tickets)) == sizes(random_split(tickets, "queue")) == (14, 3, 3)


def test_a_part_that_is_far_off_is_told_with_the_template() -> None:
    texts = [*(alert(n) for n in range(80)), *(body(n) for n in range(20))]
    split = grouped_split(tickets_of(texts), "queue")
    assert sizes(split) == (80, 10, 10)
    assert split.notes[0] == "warning: training holds 80% of the tickets, not about 70%"
    assert "written from one template" in split.notes[-1]


def test_texts_of_one_template_are_one_group_and_their_neighbours_are_found() -> None:
    rng = random.Random(0)
    template = [
        "I",
        "have",
        "an",
        "issue",
        "with",
        "the",
        "product",
        "please",
        "assist",
        "and",
        "tell",
        "me",
        "what",
        "to",
        "do",
        "next",
        "because",
        "I",
        "have",
        "tried",
    ]
    texts = [" ".join([*template, *(f"v{rng.randrange(10**6)}" for _ in range(14))]) for _ in range(1_500)]
    half = " ".join([*template[:12], *texts[0].split()[-6:]])  # near to some of the family only
    others = [body(n) for n in range(30)]
    near = near_duplicates([*texts, half, *others])
    assert len(set(near.groups[:1_501].tolist())) == 1
    assert len(set(near.groups[1_501:].tolist())) == 30
    assert len(near.pairs) < 30_000
    assert set(near.pairs.ravel().tolist()) == set(range(1_501))


@pytest.mark.parametrize(("threshold", "groups"), [(0.1, 20), (0.25, 20), (0.7, 20), (0.95, 40), (1.0, 40)])
def test_the_threshold_says_what_is_near(threshold: float, groups: int) -> None:
    base = [" ".join(f"w{n}x{k}" for k in range(20)) for n in range(20)]
    near = near_duplicates([*base, *(f"{text} more" for text in base)], threshold)  # 19 of 20 word pairs are shared
    assert len(set(near.groups.tolist())) == groups - 20 * (threshold == 0.95)
    assert near.recall == 1.0


def test_many_exact_copies_are_one_group_at_the_strictest_threshold() -> None:
    near = near_duplicates([*[body(1)] * 2_000, *(body(2) + f" end{n}" for n in range(2_000))], 1.0)
    assert sorted(Counter(near.groups.tolist()).values())[-2:] == [1, 2_000]


@given(st.integers(0, 10_000), st.sampled_from([0.15, 0.25, 0.4]))
@settings(max_examples=15, deadline=None)
def test_groups_are_those_of_all_pairs(seed: int, threshold: float) -> None:
    random_numbers = random.Random(seed)
    words = [f"w{n}" for n in range(60)]
    templates = [random_numbers.choices(words, k=12) for _ in range(2)]
    texts = [
        " ".join(
            [*templates[n % 3], *random_numbers.choices(words, k=10)]
            if n % 3 < 2
            else random_numbers.choices(words, k=15)
        )
        for n in range(240)
    ]
    sets = [word_bigrams(text) for text in texts]
    near_pairs = [
        (a, b)
        for b in range(len(sets))
        for a in range(b)
        if len(sets[a] & sets[b]) >= threshold * len(sets[a] | sets[b]) - 1e-9
    ]
    rows, columns = np.array([*near_pairs, (0, 0)]).T
    links = sparse.coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(sets),) * 2)
    expected = connected_components(links, directed=False)[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tickets.splitting.copies.SMALLEST_FAMILY", 20)
        near = near_duplicates(texts, threshold)
    assert set(map(tuple, near.pairs.tolist())) <= set(near_pairs)
    assert (
        len(set(zip(expected.tolist(), near.groups.tolist(), strict=True)))
        == len(set(expected))
        == len(set(near.groups))
    )
