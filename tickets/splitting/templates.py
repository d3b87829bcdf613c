"""When most tickets are written from one template: what to say, and which options still make a split."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tickets.errors import InputError
from tickets.schema import Ticket
from tickets.splitting.duplicates import near_duplicates

_MOST = 0.5  # of the tickets in one group, beyond which they look like a template
_TOO_MUCH = 0.9  # of the tickets in one group, which leaves next to nothing for validation and test
_STRICTER = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # thresholds to try for the advice
_SHOWN = 60  # characters of an example


def check_templates(tickets: Sequence[Ticket], groups: NDArray[np.int64], threshold: float, fewest_groups: int) -> None:
    """Refuse groups of near-duplicates of which no three parts can be made.

    Raises:
        InputError: names the template, shows two of its tickets and offers options that were found to work.
    """
    count = len(np.unique(groups))
    text = template_text(tickets, groups)
    largest = np.unique(groups, return_counts=True)[1].max()
    if count >= fewest_groups and largest <= _TOO_MUCH * len(tickets):
        return
    found = text or f"the {len(tickets):,} tickets are {count} group{'s' * (count > 1)} of near-duplicates"
    raise InputError(
        f"{found}; expected at least {fewest_groups} groups, none with over {_TOO_MUCH:.0%} of the tickets, to keep "
        f"near-duplicates together in one of three parts; {_advice(tickets, threshold, fewest_groups)}"
    )


def template_text(tickets: Sequence[Ticket], groups: NDArray[np.int64]) -> str:
    """Describe the group that holds over half of the tickets with two of them; empty where there is none."""
    names, counts = np.unique(groups, return_counts=True)
    if counts.max() <= _MOST * len(tickets):
        return ""
    rows = np.flatnonzero(groups == names[counts.argmax()])
    first, last = (_shortened(tickets[int(row)].text) for row in (rows[0], rows[-1]))
    return (
        f"{counts.max():,} of {len(tickets):,} tickets are near-duplicates of each other, as if written from one "
        f"template, such as {first} and {last}"
    )


def _advice(tickets: Sequence[Ticket], threshold: float, fewest_groups: int) -> str:
    """Name options that make a split of these tickets."""
    options = ["--split random"]
    dated = sum(bool(ticket.created) for ticket in tickets)
    if dated > len(tickets) / 2:
        options.append("--split time")
    texts = [ticket.text for ticket in tickets]
    for stricter in _STRICTER:
        if stricter > threshold:
            counts = np.unique(near_duplicates(texts, stricter).groups, return_counts=True)[1]
            if len(counts) >= fewest_groups and counts.max() <= _MOST * len(tickets):
                return f"use --duplicate-threshold {stricter} (only closer tickets count), or {' or '.join(options)}"
    return f"use {' or '.join(options)}, where near-duplicates may be in several parts"


def _shortened(text: str) -> str:
    """Quote the beginning of a text on one line."""
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "...")
