"""Which answers become new tickets: every rule has a name, under which what it refused is counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.answer_cache import Kept
from engines.asking import CUT, EMPTY, REFUSED
from pipeline.augment.label_check import LabelCheck
from tickets.schema import Ticket
from tickets.splitting.duplicates import near_to
from tickets.text_facts import facts, language_of, placeholders

UNREADABLE = "no JSON object of subject and body"
_PROBLEMS = {EMPTY: "empty", CUT: "cut at --max-tokens", REFUSED: "refused by the server"}
LANGUAGE = "another language"
PLACEHOLDER = "a placeholder lost or added"
FACT_LOST, FACT_ADDED = "a number, code or address lost", "a number, code or address added"
LENGTH = "too short or too long"
COPY = "a near-copy of its own ticket"
NEAR = {
    "train": "near to a training ticket",
    "validation": "near to a validation ticket",
    "test": "near to a test ticket",
}
NEAR_NEW = "near to another new ticket"
LABEL = "label not kept"
CAP = "beyond the limit of its class"
ACCEPTED = "accepted"
RULES = (
    *_PROBLEMS.values(),
    UNREADABLE,
    LENGTH,
    LANGUAGE,
    PLACEHOLDER,
    FACT_LOST,
    FACT_ADDED,
    COPY,
    *NEAR.values(),
    NEAR_NEW,
    LABEL,
    CAP,
    ACCEPTED,
)
_SHORTEST, _LONGEST = 0.5, 2.0  # words, in those of the ticket


def problem_rule(kept: Kept) -> str:
    """Return the rule by which an answer without a paraphrase is counted."""
    return _PROBLEMS.get(kept.problem.partition(":")[0], UNREADABLE)


def text_rule(new: Ticket, parent: Ticket) -> str:
    """Return the first rule on the text alone that a new ticket breaks; empty where it breaks none."""
    words = len(parent.text.split())
    if not _SHORTEST * words <= len(new.text.split()) <= _LONGEST * words:
        return LENGTH  # first: of a few words, the language cannot be told
    language = language_of(parent.text)
    if language and language_of(new.text) != language:
        return LANGUAGE
    if placeholders(new.text) != placeholders(parent.text):
        return PLACEHOLDER
    own, given = facts(parent.text), facts(new.text)
    if own - given:
        return FACT_LOST
    return FACT_ADDED if given - own else ""


@dataclass
class Filters:
    """The rules with what they compare to, and the counts of this run.

    Attributes:
        parts: real and earlier synthetic tickets by part.
        room: new tickets that each class may still take, by column and label.
        label_check: None to take every label for kept.
        accepted: new tickets in the order in which they were taken.
    """

    parts: Mapping[str, Sequence[Ticket]]
    room: dict[tuple[str, str], int]
    threshold: float
    label_check: LabelCheck | None
    counts: Counter[str]
    accepted: list[Ticket]

    def take(self, candidates: Sequence[tuple[Ticket, Ticket]]) -> None:
        """Judge new tickets, each with its parent, in order; those that pass are `accepted`."""
        passed = []
        for new, parent in candidates:
            rule = text_rule(new, parent)
            if rule:
                self.counts[rule] += 1
            else:
                passed.append(new)
        passed = self._without_near(passed)
        kept = self.label_check.keeps(passed) if self.label_check and passed else [True] * len(passed)
        for new, keeps in zip(passed, kept, strict=True):
            self._take_one(new, keeps)

    def _without_near(self, candidates: Sequence[Ticket]) -> list[Ticket]:
        """Return the candidates that are near to no ticket of any part, and count the others."""
        others = [(part, ticket) for part, tickets in self.parts.items() for ticket in tickets]
        texts = [ticket.text for _, ticket in others]
        near: dict[int, set[str]] = {}
        for row, other in _near_pairs([new.text for new in candidates], texts, self.threshold):
            part, ticket = others[other]
            is_own = part == "train" and candidates[row].parent in (ticket.id, ticket.parent)
            near.setdefault(int(row), set()).add(COPY if is_own else NEAR[part])
        # the gravest first: a leak into test
        order = (NEAR["test"], NEAR["validation"], NEAR["train"], COPY)
        for rules in near.values():
            self.counts[next(rule for rule in order if rule in rules)] += 1
        return [new for row, new in enumerate(candidates) if row not in near]

    def _take_one(self, new: Ticket, keeps_label: bool) -> None:
        classes = [(column, label) for column, label in new.labels.items() if (column, label) in self.room]
        if not keeps_label:
            rule = LABEL
        elif len(_near_pairs([new.text], [other.text for other in self.accepted], self.threshold)):
            rule = NEAR_NEW
        elif any(self.room[name] < 1 for name in classes):
            rule = CAP
        else:
            rule = ACCEPTED
            self.accepted.append(new)
            for name in classes:
                self.room[name] -= 1
        self.counts[rule] += 1


def _near_pairs(texts: Sequence[str], others: Sequence[str], threshold: float) -> NDArray[np.int64]:
    """Return pairs of near-duplicates and of equal texts, which may be too short for word pairs, (pairs, 2)."""
    if not texts or not others:
        return np.empty((0, 2), dtype=np.int64)
    rows: dict[str, list[int]] = {}
    for row, other in enumerate(others):
        rows.setdefault(_plain(other), []).append(row)
    equal = [(row, other) for row, text in enumerate(texts) for other in rows.get(_plain(text), ())]
    pairs = near_to(texts, others, threshold)
    return np.concatenate([pairs, np.array(equal, dtype=np.int64).reshape(-1, 2)])


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
