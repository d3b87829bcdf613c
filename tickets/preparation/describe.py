"""What a prepared dataset holds: every figure of the preparation report, as data. `report.py` renders it as text."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickets.cleaning.steps import USUAL, CleaningSteps
from tickets.preparation.token_counts import TokenCounter
from tickets.schema import Ticket
from tickets.splitting.duplicates import NearDuplicates
from tickets.splitting.splits import Split

RARE = 10  # a label with fewer training tickets than this is too rare to learn
_TOKEN_SAMPLE = 5_000
_SHOWN_LENGTH = 120  # characters of an example


@dataclass(frozen=True)
class LabelColumn:
    """Tickets by class (most frequent first) in all parts and in training, and how uneven they are.

    `shares` are of the tickets that have a label; `imbalance` is the largest class over the smallest; `balance` the
    entropy over its maximum, 1 when all classes are equally frequent; `rare` are the classes with fewer than `RARE`
    training tickets, `unseen` those with none.
    """

    counts: Mapping[str, int]
    shares: Mapping[str, float]
    train_counts: Mapping[str, int]
    imbalance: float
    balance: float
    rare: tuple[str, ...]
    unseen: tuple[str, ...]


@dataclass(frozen=True)
class Lengths:
    """Mean, quantiles and extremes of a length, over `texts` texts."""

    texts: int
    mean: float
    minimum: int
    median: int
    p95: int
    maximum: int


@dataclass(frozen=True)
class DuplicateSummary:
    """Near-duplicate groups (of two tickets or more), and what they mean for the split and the labels.

    `disagreeing` counts the groups whose tickets differ in a label, by column and under `any`; `recall` is the share
    of true pairs that was found; `test_leaks` counts test tickets with a near-duplicate in training.
    """

    pairs: int
    recall: float
    groups: int
    tickets: int
    largest: int
    disagreeing: Mapping[str, int]
    test_leaks: int
    validation_leaks: int


@dataclass(frozen=True)
class PrivateData:
    """Private data in the texts of kept tickets: whether it was replaced, tickets with any, and mentions by kind."""

    replaced: bool = False
    tickets: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Intake:
    """What reading the source came to: rows in, tickets kept, rows set aside by reason, texts changed by cleaning.

    Attributes:
        missing: readable rows without a value, by part or label.
        columns: source columns, by part or label.
        turns: tickets of later replies of a conversation.
        encodings: by file.
        removed: examples of what cleaning took away or changed, by step.
        cleaning: the steps that were on.
        notes: what was unsure or left out.
    """

    source: str
    rows: int
    reasons: Mapping[str, int]
    cleaned: Mapping[str, int]
    missing: Mapping[str, int]
    columns: Mapping[str, str]
    turns: int = 0
    encodings: Mapping[str, str] = field(default_factory=dict)
    private: PrivateData = field(default_factory=PrivateData)
    removed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cleaning: CleaningSteps = USUAL
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything `duet prepare` found out about a source; lengths are in words and, with a tokenizer, in tokens."""

    source: str
    split: str
    notes: tuple[str, ...]
    encodings: Mapping[str, str]
    columns: Mapping[str, str]
    rows_in: int
    turns: int
    kept: int
    quarantined: int
    reasons: Mapping[str, int]
    parts: Mapping[str, int]
    cleaned: Mapping[str, int]
    removed: Mapping[str, tuple[str, ...]]
    reading: CleaningSteps
    private: PrivateData
    missing: Mapping[str, int]
    languages: Mapping[str, int]
    labels: Mapping[str, LabelColumn]
    tags: Mapping[str, int]
    words: Mapping[str, Lengths]
    tokens: Mapping[str, Lengths]
    duplicates: DuplicateSummary

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def describe(
    tickets: Sequence[Ticket], split: Split, near: NearDuplicates, intake: Intake, tokenizer: TokenCounter | None = None
) -> Report:
    """Return the report on `tickets` (those kept) split by `split`, with `near` their near-duplicates.

    Args:
        tokenizer: counts tokens; without it `tokens` is empty.
    """
    columns = sorted({name for ticket in tickets for name in ticket.labels}, key=list(intake.columns).index)
    texts = {"ticket": [t.text for t in tickets], "reply": [t.reply for t in tickets if t.reply]}
    return Report(
        source=intake.source,
        split=split.method,
        notes=(*intake.notes, *split.notes),
        encodings=dict(intake.encodings),
        columns=dict(intake.columns),
        rows_in=intake.rows,
        turns=intake.turns,
        kept=len(tickets),
        quarantined=sum(intake.reasons.values()),
        reasons=_most_first(Counter(intake.reasons)),
        parts={"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        cleaned=dict(intake.cleaned),
        removed={step: tuple(text[:_SHOWN_LENGTH] for text in texts) for step, texts in intake.removed.items()},
        reading=intake.cleaning,
        private=replace(intake.private, counts=_most_first(Counter(intake.private.counts))),
        missing=dict(intake.missing),
        languages=_most_first(Counter(ticket.language or "unknown" for ticket in tickets)),
        labels={name: _label_column(tickets, split, name) for name in columns},
        tags=_most_first(Counter(tag for ticket in tickets for tag in ticket.tags)),
        words={name: lengths(len(text.split()) for text in part) for name, part in texts.items() if part},
        tokens=_token_lengths(texts, tokenizer) if tokenizer else {},
        duplicates=_duplicates(tickets, split, near, columns),
    )


def lengths(values: Iterable[int]) -> Lengths:
    """Return the summary of some lengths, of which there must be at least one."""
    array = np.fromiter(values, dtype=np.int64)
    median, p95 = (round(float(q)) for q in np.quantile(array, [0.5, 0.95]))
    return Lengths(len(array), round(float(array.mean()), 1), int(array.min()), median, p95, int(array.max()))


def _most_first(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _label_column(tickets: Sequence[Ticket], split: Split, column: str) -> LabelColumn:
    counts = _most_first(Counter(ticket.labels[column] for ticket in tickets if column in ticket.labels))
    train = Counter(tickets[row].labels.get(column) for row in split.train)
    labelled = sum(counts.values())
    shares = {name: count / labelled for name, count in counts.items()}
    entropy = -sum(share * math.log(share) for share in shares.values())
    return LabelColumn(
        counts=counts,
        shares={name: round(share, 4) for name, share in shares.items()},
        train_counts={name: train[name] for name in counts},
        imbalance=round(max(counts.values()) / min(counts.values()), 2),
        balance=round(entropy / math.log(len(counts)), 3) if len(counts) > 1 else 0.0,
        rare=tuple(name for name in counts if train[name] < RARE),
        unseen=tuple(name for name in counts if train[name] == 0),
    )


def _token_lengths(texts: Mapping[str, Sequence[str]], tokenizer: TokenCounter) -> dict[str, Lengths]:
    """Return the token counts of at most `_TOKEN_SAMPLE` evenly spaced texts of each kind."""
    samples = {name: part[:: max(1, math.ceil(len(part) / _TOKEN_SAMPLE))] for name, part in texts.items() if part}
    return {name: lengths(tokenizer.counts(sample)) for name, sample in samples.items()}


def _duplicates(
    tickets: Sequence[Ticket], split: Split, near: NearDuplicates, columns: Sequence[str]
) -> DuplicateSummary:
    sizes = np.bincount(near.groups) if len(near.groups) else np.zeros(1, dtype=np.int64)
    members: dict[int, list[Ticket]] = {}
    for row in np.flatnonzero(sizes[near.groups] > 1):
        members.setdefault(int(near.groups[row]), []).append(tickets[int(row)])
    differing = {
        column: {
            group
            for group, twins in members.items()
            if len({t.labels[column] for t in twins if column in t.labels}) > 1
        }
        for column in columns
    }
    disagreeing = {column: len(groups) for column, groups in differing.items()}
    return DuplicateSummary(
        pairs=len(near.pairs),
        recall=round(near.recall, 4),
        groups=len(members),
        tickets=sum(len(twins) for twins in members.values()),
        largest=int(sizes.max()) if members else 0,
        disagreeing={**disagreeing, "any": len(set().union(*differing.values()))},
        test_leaks=_leaks(near, split.test, split.train, len(tickets)),
        validation_leaks=_leaks(near, split.validation, split.train, len(tickets)),
    )


def _leaks(near: NearDuplicates, part: NDArray[np.int64], train: NDArray[np.int64], n: int) -> int:
    """Return how many rows of `part` have a near-duplicate in `train`."""
    in_part, in_train = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    in_part[part], in_train[train] = True, True
    left, right = near.pairs[:, 0], near.pairs[:, 1]
    leaking = np.concatenate([left[in_part[left] & in_train[right]], right[in_part[right] & in_train[left]]])
    return len(np.unique(leaking))
