"""The distance between a draft and what a person made of it."""

import random
import time

import pytest

from store.edit_distance import MOST_WORDS, edit_distance

DRAFT = "Dear customer, thank you for your message."


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (DRAFT, 0),
        (DRAFT.replace("thank you", "thanks"), 2 / 7),
        (DRAFT + " Regards", 1 / 8),
        (DRAFT.replace(" thank", "\n\nthank"), 1 / 7),
        (DRAFT + "\n", 1 / 8),
        ("", 1),
        ("Nothing of it is left here at all.", 1),
    ],
)
def test_changed_words_count(reply: str, expected: float) -> None:
    assert edit_distance(DRAFT, reply) == edit_distance(reply, DRAFT) == pytest.approx(expected)


def test_it_is_the_least_number_of_changes() -> None:
    def slow(old: list[str], new: list[str]) -> int:
        if not old or not new:
            return len(old) + len(new)
        same = slow(old[1:], new[1:]) + (old[0] != new[0])
        return min(same, slow(old[1:], new) + 1, slow(old, new[1:]) + 1)

    chance = random.Random(3)
    for _ in range(50):
        old, new = (chance.choices("abc", k=chance.randrange(1, 6)) for _ in range(2))
        old_text, new_text = " " + " ".join(old), " " + " ".join(new)
        assert edit_distance(old_text, new_text) == pytest.approx(slow(old, new) / max(len(old), len(new)))


@pytest.mark.parametrize(
    "reply", [" " * 100_000, DRAFT * 2_000, "-" * 90_000 + "e" * 10_000, "a b " * (MOST_WORDS // 2), "a " * 50_000]
)
def test_no_text_takes_long(reply: str) -> None:
    start = time.process_time()
    assert 0 < edit_distance("b a " * (MOST_WORDS // 2), reply) <= 1
    assert time.process_time() - start < 5
