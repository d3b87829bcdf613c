"""How far a reply is from its draft, in words: in bounded time, whatever somebody writes."""

import re

import numpy as np

MOST_WORDS = 5_000  # two texts of that length take a fifth of a second
_WORD = re.compile(r"\s*\S+|\s+")  # with the white space before it, so that nothing of a text is left out


def edit_distance(draft: str, reply: str) -> float:
    """Return the least share of words to insert, remove or replace: 0 for the same text, 1 for another one.

    A changed text of more than MOST_WORDS counts as another one.
    """
    if draft == reply:
        return 0.0
    old, new = _WORD.findall(draft), _WORD.findall(reply)
    longest = max(len(old), len(new))
    return _levenshtein(old, new) / longest if longest <= MOST_WORDS else 1.0


def _levenshtein(old: list[str], new: list[str]) -> int:
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*old, *new]))}
    target = np.array([numbers[word] for word in new], dtype=np.int32)
    places = np.arange(len(new) + 1, dtype=np.int32)
    row = places  # of the table: changes from the words of `old` so far to each beginning of `new`
    for count, word in enumerate(old, 1):
        best = np.minimum(row[1:] + 1, row[:-1] + (target != numbers[word]))
        best = np.concatenate(([count], best)).astype(np.int32)
        row = np.minimum.accumulate(best - places) + places  # insertions, from left to right
    return int(row[-1])
