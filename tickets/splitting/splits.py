"""Splits of tickets into train, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from tickets.errors import InputError
from tickets.schema import PARTS, Ticket
from tickets.splitting.assign import FREE, SHARES, TRAIN, Units, assign
from tickets.splitting.duplicates import THRESHOLD, near_duplicates
from tickets.splitting.templates import check_templates, template_text

SPLITS = ("grouped", "random", "time", "published")
SEED = 42
FEWEST = 8  # tickets, or groups of them, to make three parts of
FAR_OFF = 0.05  # of all tickets, between a part and its share


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, ascending, how it was made, and what to know about it."""

    method: str
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    @classmethod
    def from_parts(cls, method: str, parts: NDArray[np.int64], notes: Sequence[str] = ()) -> "Split":
        """Build a split from the part of every ticket, shape (tickets,).

        Raises:
            InputError: a part without tickets.
        """
        rows = [np.flatnonzero(parts == part) for part in range(len(PARTS))]
        empty = [name for name, part in zip(PARTS, rows, strict=True) if not len(part)]
        if empty:
            raise InputError(
                f"the {method} split of {len(parts):,} tickets leaves none for {' and '.join(empty)}; expected some in "
                "every part; give more tickets or another --split"
            )
        train, validation, test = rows
        return cls(method, train, validation, test, (*notes, *_share_notes(rows, len(parts))))

    def parts(self, tickets: Sequence[Ticket]) -> dict[str, list[Ticket]]:
        """Return tickets by part name, in row order."""
        rows = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: [tickets[i] for i in part] for name, part in rows.items()}


def published_split(tickets: Sequence[Ticket], column: str = "queue") -> Split:
    """Return the published split: 70 / 15 / 15, random, stratified by queue.

    `tickets` are the English rows in file order.

    Tickets without a queue, of which the published data has none, go to training.
    """
    labels = np.array([ticket.labels.get(column, "") for ticket in tickets])
    rows = np.flatnonzero(labels != "")
    try:
        train, rest = train_test_split(rows, test_size=0.3, random_state=SEED, stratify=labels[rows])
        validation, test = train_test_split(rest, test_size=0.5, random_state=SEED, stratify=labels[rest])
    except ValueError as error:
        raise InputError(
            f"the published split cannot stratify by {column!r}: {error}; every label needs at least four tickets, "
            "or use --split grouped"
        ) from None
    train = np.concatenate([train, np.flatnonzero(labels == "")])
    return Split("published", np.sort(train), np.sort(validation), np.sort(test))


def random_split(
    tickets: Sequence[Ticket], column: str | None = None, seed: int = SEED, pinned: NDArray[np.int64] | None = None
) -> Split:
    """Split 70 / 15 / 15 at random, stratified by `column`; near-duplicates may be on both sides.

    Args:
        pinned: part of every ticket that is already decided, `assign.FREE` for the others, shape (tickets,).
    """
    check_enough(tickets)
    units = Units.build(tickets, np.arange(len(tickets)), column)
    parts = assign(units, np.full(len(tickets), FREE) if pinned is None else pinned, seed)
    return Split.from_parts("random", parts)


def grouped_split(
    tickets: Sequence[Ticket],
    column: str | None = None,
    groups: NDArray[np.int64] | None = None,
    seed: int = SEED,
    pinned: NDArray[np.int64] | None = None,
    threshold: float = THRESHOLD,
) -> Split:
    """Split about 70 / 15 / 15 of the tickets with every near-duplicate group on one side, stratified by `column`.

    Args:
        groups: near-duplicate group of every ticket, shape (tickets,); computed here when not given.
        pinned: part of every ticket that is already decided, `assign.FREE` for the others, shape (tickets,). The free
            tickets of a group stay together.
        threshold: the similarity that made the groups, for the error that offers another one.
    """
    check_enough(tickets)
    if groups is None:
        groups = near_duplicates([ticket.text for ticket in tickets], threshold).groups
    if pinned is None:
        pinned = np.full(len(tickets), FREE)
    check_templates(tickets, groups, threshold, FEWEST)
    # A group that an earlier split tore apart stays apart: its pinned tickets are units of their own, by part.
    units = Units.build(tickets, groups * (len(PARTS) + 1) + pinned + 1, column)
    pinned_units = np.full(len(units.sizes), FREE)
    pinned_units[units.of_ticket] = pinned
    parts = assign(units, pinned_units, seed)
    split = Split.from_parts("grouped", parts)
    text = template_text(tickets, groups)
    if text and split.notes:
        return replace(split, notes=(*split.notes, f"warning: {text}"))
    return split


def check_enough(tickets: Sequence[Ticket]) -> None:
    """Refuse fewer tickets than three parts need."""
    if len(tickets) < FEWEST:
        raise InputError(
            f"found {len(tickets)} usable ticket{'s' if len(tickets) > 1 else ''}, expected at least {FEWEST} to make "
            "train, validation and test; give more tickets"
        )


def _share_notes(rows: Sequence[NDArray[np.int64]], total: int) -> list[str]:
    """Return one line for every part that is far from its share."""
    notes = []
    for name, part, share in zip(("training", *PARTS[TRAIN + 1 :]), rows, SHARES, strict=True):
        if abs(len(part) - share * total) > max(FAR_OFF * total, 1):
            notes.append(f"warning: {name} holds {len(part) / total:.0%} of the tickets, not about {share:.0%}")
    return notes
