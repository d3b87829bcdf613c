"""The split by time: train on the past, test on the future."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tickets.dates import timestamps
from tickets.errors import InputError
from tickets.schema import Ticket
from tickets.splitting.assign import FREE, SHARES, TEST, TRAIN, VALIDATION
from tickets.splitting.splits import Split, check_enough


def time_split(tickets: Sequence[Ticket], pinned: NDArray[np.int64] | None = None) -> Split:
    """Return the oldest 70 % of the tickets for training, the next 15 % for validation, the newest 15 % for test.

    Near-duplicates stay where their dates put them. Tickets without a date go to training.

    Args:
        pinned: part of every ticket that is already decided, `assign.FREE` for the others, shape (tickets,); the
            others are put in order of time among themselves.

    Raises:
        InputError: most tickets have no date, or all have the same.
    """
    check_enough(tickets)
    seconds = timestamps([ticket.created for ticket in tickets])
    undated = np.isnan(seconds)
    _check(tickets, seconds)
    parts = np.full(len(tickets), FREE) if pinned is None else pinned.copy()
    parts[undated & (parts == FREE)] = TRAIN
    free = np.flatnonzero(parts == FREE)
    free = free[np.argsort(seconds[free], kind="stable")]
    held = np.bincount(parts[parts != FREE], minlength=3)
    room = np.maximum(SHARES * len(tickets) - held, 0)
    ends = np.round(np.cumsum(room) / max(room.sum(), 1) * len(free)).astype(int)
    parts[free[: ends[0]]] = TRAIN
    parts[free[ends[0] : ends[1]]] = VALIDATION
    parts[free[ends[1] :]] = TEST
    notes = []
    if undated.any():
        notes.append(f"warning: {undated.sum():,} tickets without a date that can be read are in training")
    return Split.from_parts("time", parts, notes)


def _check(tickets: Sequence[Ticket], seconds: NDArray[np.float64]) -> None:
    undated = np.flatnonzero(np.isnan(seconds))
    if len(undated) > len(tickets) / 2:
        examples = [tickets[row].created for row in undated.tolist() if tickets[row].created]
        found = f", such as {examples[0][:40]!r}" if examples else ""
        raise InputError(
            f"{len(undated):,} of {len(tickets):,} tickets have no date that can be read{found}; expected a column "
            "with dates for --split time; name it with --map created=COLUMN, or use --split random"
        )
    dated = seconds[~np.isnan(seconds)]
    if dated.min() == dated.max():
        raise InputError(
            f"all tickets have the date {next(t.created for t in tickets if t.created)[:40]!r}; expected earlier and "
            "later ones for --split time; name the column with --map created=COLUMN, or use --split random"
        )
