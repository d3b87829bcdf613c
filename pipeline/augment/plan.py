"""Which tickets new ones are written after, how many a class may take, and what that costs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backbone.dataset import load_part, load_synthetic, resolve_data
from engines.asking import AskSettings
from pipeline.augment.question import LONGEST, ParaphraseQuestion
from tickets.errors import InputError
from tickets.schema import PARTS, Ticket
from tickets.splitting.duplicates import LOOSEST, THRESHOLD

PER_TICKET, CLASS_SHARE = 1, 0.3


@dataclass(frozen=True)
class AugmentOptions:
    """What the user asks for.

    Attributes:
        where: `column=label` of the classes that get new tickets.
        settings: the model; an empty `url` stands for a base on this machine.
        limit: tickets to ask about at most; None for as many as the classes take.
        per_ticket: new tickets after one ticket at most.
        class_share: new tickets of a class at most, as a share of its real training tickets.
        threshold: common word pairs from which two tickets are near-duplicates.
        label_check: whether a cross-fitted classifier has to find the label in a new ticket.
    """

    data: str
    out: Path
    where: Sequence[str]
    settings: AskSettings
    limit: int | None = None
    per_ticket: int = PER_TICKET
    class_share: float = CLASS_SHARE
    threshold: float = THRESHOLD
    label_check: bool = True

    def __post_init__(self) -> None:
        """Check what no parser of options does.

        Raises:
            InputError: a value that cannot be used.
        """
        if not LOOSEST <= self.threshold <= 1:
            raise InputError(
                f"found --duplicate-threshold {self.threshold:g}, expected a share of common word pairs from {LOOSEST} "
                f"to 1, such as {THRESHOLD}"
            )
        if not 0 < self.class_share <= 10:
            raise InputError(
                f"found --class-share {self.class_share:g}, expected a share above 0, at most 10, such as {CLASS_SHARE}"
            )


@dataclass(frozen=True)
class Plan:
    """What may be asked.

    Attributes:
        parts: tickets by part; `train` ends with the synthetic ones that are there already.
        real: training tickets that are not synthetic.
        classes: (column, label) of the classes that get new tickets.
        room: new tickets that each class may take.
        too_long: tickets of these classes that are too long to be shown whole.
        questions: one per new ticket, in the order in which they are asked.
    """

    folder: Path
    parts: Mapping[str, Sequence[Ticket]]
    real: Sequence[Ticket]
    classes: Sequence[tuple[str, str]]
    room: Mapping[tuple[str, str], int]
    too_long: int
    questions: Sequence[ParaphraseQuestion]


def make_plan(options: AugmentOptions) -> Plan:
    """Read a prepared folder and choose the tickets.

    Raises:
        InputError: not a prepared folder with three parts, a class that is not there, or one without room.
    """
    folder = resolve_data(options.data)
    if not (folder / "test.jsonl").is_file():
        raise InputError(
            f"{folder}: no test.jsonl; expected all of {', '.join(PARTS)}, since no new ticket may be near to a test "
            "ticket; run `duet prepare` again"
        )
    real = load_part(folder, "train")
    synthetic = load_synthetic(folder, real)
    parts = {"train": [*real, *synthetic], **{part: load_part(folder, part) for part in PARTS[1:]}}
    classes = [_class(where, real) for where in dict.fromkeys(options.where)]
    room = {name: _room(name, real, synthetic, options.class_share) for name in classes}
    if not any(room.values()):
        found = ", ".join(f"{column}={label}" for column, label in classes)
        raise InputError(
            f"{folder}: {found} has no room for new tickets; expected at most {options.class_share:.0%} of its "
            "real ones, and fewer there already; raise --class-share, or name another class with --where"
        )
    parents = [ticket for ticket in real if any(has(ticket, name) for name in classes)]
    shown = [ticket for ticket in parents if len(ticket.text) <= LONGEST]
    return Plan(
        folder, parts, real, classes, room, len(parents) - len(shown), _questions(shown, synthetic, classes, options)
    )


def has(ticket: Ticket, name: tuple[str, str]) -> bool:
    """Return whether a ticket is of a class, (column, label)."""
    return ticket.labels.get(name[0]) == name[1]


def _questions(
    parents: Sequence[Ticket],
    synthetic: Sequence[Ticket],
    classes: Sequence[tuple[str, str]],
    options: AugmentOptions,
) -> list[ParaphraseQuestion]:
    """Return one question per new ticket; every parent is asked about once before any is a second time."""
    there = Counter(ticket.parent for ticket in synthetic)
    order = np.random.default_rng(options.settings.seed).permutation(len(parents)).tolist()
    questions = [
        ParaphraseQuestion(
            parents[row], tuple(dict.fromkeys(name[0] for name in classes if has(parents[row], name))), draw
        )
        for draw in range(options.per_ticket)
        for row in order
        if there[parents[row].id] <= draw
    ]
    return questions[: options.limit]


def _class(condition: str, tickets: Sequence[Ticket]) -> tuple[str, str]:
    column, separator, label = condition.partition("=")
    labels = Counter(ticket.labels[column] for ticket in tickets if column in ticket.labels)
    if not separator or not labels:
        columns = ", ".join(dict.fromkeys(name for ticket in tickets for name in ticket.labels))
        raise InputError(f"found --where {condition!r}, expected COLUMN=LABEL with a column of the data: {columns}")
    if label not in labels:
        known = ", ".join(f"{name} ({count:,})" for name, count in labels.most_common(10))
        raise InputError(f"found --where {condition!r}, expected a label that training tickets have: {known}")
    return column, label


def _room(name: tuple[str, str], real: Sequence[Ticket], synthetic: Sequence[Ticket], share: float) -> int:
    count, there = (sum(has(ticket, name) for ticket in tickets) for tickets in (real, synthetic))
    return max(0, int(share * count + 1e-9) - there)
