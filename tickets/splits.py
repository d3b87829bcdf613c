"""Splits of tickets into train, validation and test."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from tickets.duplicates import near_duplicates
from tickets.errors import InputError
from tickets.schema import Ticket

SPLITS = ("published", "grouped")
_SEED = 42
_FEWEST_GROUPS = 8
_FEWEST_PER_STRATUM = 4


@dataclass(frozen=True)
class Split:
    """Row numbers of each part, ascending, and how it was made."""

    method: str
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]

    def parts(self, tickets: Sequence[Ticket]) -> dict[str, list[Ticket]]:
        """Tickets by part name, in row order."""
        rows = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: [tickets[i] for i in part] for name, part in rows.items()}


def published_split(tickets: Sequence[Ticket], column: str = "queue") -> Split:
    """The published split: 70 / 15 / 15, random, stratified by queue; `tickets` are the English rows in file order."""
    rows = np.arange(len(tickets))
    labels = np.array([ticket.labels[column] for ticket in tickets])
    try:
        train, rest = train_test_split(rows, test_size=0.3, random_state=_SEED, stratify=labels)
        validation, test = train_test_split(rest, test_size=0.5, random_state=_SEED, stratify=labels[rest])
    except ValueError as error:
        raise InputError(
            f"the published split cannot stratify by {column!r}: {error}; every label needs at least four tickets, "
            "or use --split grouped"
        ) from None
    return Split("published", np.sort(train), np.sort(validation), np.sort(test))


def grouped_split(
    tickets: Sequence[Ticket], column: str | None = None, groups: NDArray[np.int64] | None = None
) -> Split:
    """About 70 / 15 / 15 with every near-duplicate group on one side, stratified by `column`.

    Args:
        groups: near-duplicate group of every ticket, shape (tickets,); found here when not given.
    """
    if groups is None:
        groups = near_duplicates([ticket.text for ticket in tickets]).groups
    names, first_rows = np.unique(groups, return_index=True)
    if len(names) < _FEWEST_GROUPS:
        raise InputError(
            f"found {len(names)} groups of distinct tickets, expected at least {_FEWEST_GROUPS} to make train, "
            "validation and test; give more tickets"
        )
    # A group's stratum is the label of its first ticket: 9 in 10 groups agree on their labels anyway.
    strata = [tickets[row].labels.get(column, "") if column else "" for row in first_rows]
    _train, rest = _stratified(np.arange(len(names)), np.array(strata), 0.3)
    validation, test = _stratified(rest, np.array(strata), 0.5)
    part_of_group = np.zeros(len(names), dtype=np.int64)
    part_of_group[validation], part_of_group[test] = 1, 2
    parts = part_of_group[np.searchsorted(names, groups)]
    return Split("grouped", *(np.flatnonzero(parts == part) for part in range(3)))


def _stratified(
    rows: NDArray[np.int64], labels: NDArray[np.str_], share: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows in two, stratified by label; labels too rare to be on both sides are stratified together."""
    names, counts = np.unique(labels[rows], return_counts=True)
    rare = names[counts < _FEWEST_PER_STRATUM]
    strata = np.where(np.isin(labels[rows], rare), "", labels[rows])
    counts = np.unique(strata, return_counts=True)[1]
    # scikit-learn wants two rows of every stratum, and on each side as many rows as there are strata
    fits = counts.min() >= 2 and len(counts) <= min(share, 1 - share) * len(rows)
    first, second = train_test_split(rows, test_size=share, random_state=_SEED, stratify=strata if fits else None)
    return first, second
