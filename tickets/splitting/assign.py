"""Which part every unit of tickets goes to; a unit is one ticket, or a group of near-duplicates that stays together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from tickets.schema import Ticket

SHARES: NDArray[np.float64] = np.array([0.7, 0.15, 0.15])  # of the tickets, for train, validation and test
TRAIN, VALIDATION, TEST = range(3)
FREE = -1  # the part of a unit that has none yet
_LARGE_TICKETS, _LARGE_SHARE = 4, 0.01  # a unit above both is placed by its size, before the others
_TOLERANCE = 0.02  # of all tickets; a part that is further off gets or gives units
_MOST_MOVED = 0.1  # of all tickets, to bring missing classes into training
_FEWEST_PER_STRATUM = 4


@dataclass(frozen=True)
class Units:
    """Units of tickets: the unit of every ticket, and of every unit its size, stratum and classes.

    `classes` are (column, label) pairs; shapes: `of_ticket` (tickets,), `sizes` and `strata` (units,).
    """

    of_ticket: NDArray[np.int64]
    sizes: NDArray[np.int64]
    strata: NDArray[np.str_]
    classes: Sequence[frozenset[tuple[str, str]]]

    @classmethod
    def build(cls, tickets: Sequence[Ticket], groups: NDArray[np.int64], column: str | None) -> "Units":
        """Make one unit of every group; its stratum is the first label that its tickets have in `column`."""
        names, of_ticket = np.unique(groups, return_inverse=True)
        # The first ticket decides: nine groups in ten agree on their labels anyway.
        strata = [""] * len(names)
        classes: list[set[tuple[str, str]]] = [set() for _ in names]
        for ticket, unit in zip(tickets, of_ticket.tolist(), strict=True):
            strata[unit] = strata[unit] or ticket.labels.get(column or "", "")
            classes[unit].update(ticket.labels.items())
        sizes = np.bincount(of_ticket, minlength=len(names)).astype(np.int64)
        return cls(of_ticket.astype(np.int64), sizes, np.array(strata), [frozenset(pairs) for pairs in classes])

    def held(self, parts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return tickets in each part, shape (3,)."""
        placed = parts != FREE
        return np.bincount(parts[placed], weights=self.sizes[placed], minlength=3).astype(np.float64)


def assign(units: Units, pinned: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Assign every ticket a part, about SHARES of the tickets, stratified, with every class in training where possible.

    Args:
        pinned: part of every unit that is already decided, FREE for the others, shape (units,).
    """
    parts = pinned.copy()
    _place_large(units, parts)
    _place_rest(units, parts, seed)
    is_fixed = pinned != FREE
    is_fixed[_cover_classes(units, parts, pinned)] = True
    _even_out(units, parts, is_fixed, seed)
    return parts[units.of_ticket]


def stratified(
    rows: NDArray[np.int64], labels: NDArray[np.str_], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows in two, stratified by label; labels too rare to be on both sides are stratified together.

    Args:
        share: of the second side.
    """
    if share <= 0 or len(rows) < 2:
        return rows, rows[:0]
    if share >= 1:
        return rows[:0], rows
    second = min(math.ceil(share * len(rows)), len(rows) - 1)
    names, counts = np.unique(labels[rows], return_counts=True)
    rare = names[counts < _FEWEST_PER_STRATUM]
    strata = np.where(np.isin(labels[rows], rare), "", labels[rows])
    counts = np.unique(strata, return_counts=True)[1]
    # scikit-learn wants two rows of every stratum, and on each side as many rows as there are strata
    fits = counts.min() >= 2 and len(counts) <= min(second, len(rows) - second)
    first_rows, second_rows = train_test_split(
        rows, test_size=second, random_state=seed, stratify=strata if fits else None
    )
    return first_rows, second_rows


def _room(units: Units, parts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many tickets each part still lacks; negative where it holds too many."""
    return SHARES * float(units.sizes.sum()) - units.held(parts)


def _place_large(units: Units, parts: NDArray[np.int64]) -> None:
    """Put every large free unit, the largest first, where the most room is: training, as long as it has room."""
    limit = max(_LARGE_TICKETS, _LARGE_SHARE * units.sizes.sum())
    large = np.flatnonzero((units.sizes > limit) & (parts == FREE))
    room = _room(units, parts)
    for unit in large[np.argsort(-units.sizes[large], kind="stable")]:
        parts[unit] = part = int(room.argmax())
        room[part] -= units.sizes[unit]


def _place_rest(units: Units, parts: NDArray[np.int64], seed: int) -> None:
    """Split the free units at random, stratified, by the room that is left."""
    free = np.flatnonzero(parts == FREE)
    room = np.maximum(_room(units, parts), 0)
    total = room.sum()
    if not len(free) or not total:
        parts[free] = TRAIN
        return
    share = round(float((room[VALIDATION] + room[TEST]) / total), 9)  # 0.3, not a bit above: sizes are rounded up
    train, rest = stratified(free, units.strata, share, seed)
    held_out = room[VALIDATION] + room[TEST]
    validation, test = stratified(rest, units.strata, round(float(room[TEST] / held_out), 9) if held_out else 0, seed)
    parts[train], parts[validation], parts[test] = TRAIN, VALIDATION, TEST


def _cover_classes(units: Units, parts: NDArray[np.int64], pinned: NDArray[np.int64]) -> list[int]:
    """Bring a unit of every class that training lacks into training; return one training unit of every class.

    A column that would take too many tickets, such as one with a value of its own for every ticket, is left alone.
    """
    budget = max(_LARGE_TICKETS, _MOST_MOVED * float(units.sizes.sum()))
    representatives = _first_holders(units, np.flatnonzero(parts == TRAIN))
    lacking = _first_holders(units, np.flatnonzero((parts != TRAIN) & (pinned == FREE)))
    covered: set[int] = set()
    for column in sorted({column for column, _ in representatives | lacking}):
        moved = {unit for pair, unit in lacking.items() if pair[0] == column and pair not in representatives}
        moved = {unit for unit in moved if parts[unit] != TRAIN}
        cost = int(units.sizes[sorted(moved)].sum())
        if cost <= budget:
            budget -= cost
            parts[sorted(moved)] = TRAIN
            covered |= moved | {unit for pair, unit in representatives.items() if pair[0] == column}
    return sorted(covered)


def _first_holders(units: Units, rows: NDArray[np.int64]) -> dict[tuple[str, str], int]:
    """Return the smallest unit among `rows` that holds each class, and of several the first."""
    ordered = rows[np.argsort(units.sizes[rows], kind="stable")][::-1].tolist()
    return {pair: unit for unit in ordered for pair in units.classes[unit]}


def _even_out(units: Units, parts: NDArray[np.int64], is_fixed: NDArray[np.bool_], seed: int) -> None:
    """Move units that may move from parts with too many tickets to parts with too few, until shares are met."""
    random = np.random.default_rng(seed)
    tolerance = max(1.0, _TOLERANCE * float(units.sizes.sum()))
    while True:
        room = _room(units, parts)
        fullest, emptiest = int(room.argmin()), int(room.argmax())
        if np.abs(room).max() <= tolerance and units.held(parts).min() > 0:
            return
        most = max(1.0, min(-room[fullest], room[emptiest]))
        movable = (parts == fullest) & ~is_fixed & (units.sizes <= most)
        chosen = random.permutation(np.flatnonzero(movable))
        chosen = chosen[np.cumsum(units.sizes[chosen]) <= most]
        if not len(chosen) or most >= room[emptiest] - room[fullest]:  # no move makes the shares better
            return
        parts[chosen] = emptiest
