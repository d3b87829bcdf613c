"""Subsets of the test tickets that deserve figures of their own."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tickets.schema import Ticket
from tickets.splitting.duplicates import near_duplicates

FEWEST = 10  # tickets of a slice; fewer prove nothing
NO_LABEL = "no label"
_THIRDS = ("short third", "middle third", "long third")


def slices_of(
    test: Sequence[Ticket], train: Sequence[Ticket], columns: Sequence[str]
) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    """Yield (group, name, rows) by language, label, length, and by whether training had a near-copy."""
    groups = {
        "language": [ticket.language or "unknown" for ticket in test],
        **{column: [ticket.labels.get(column, NO_LABEL) for ticket in test] for column in columns},
        "length": _length_thirds(test),
        "near-duplicate in training": _duplicates(test, train),
    }
    for group, names in groups.items():
        counts = Counter(names)
        order = _THIRDS if group == "length" else sorted(counts)
        if len(counts) < 2 and group == "language":
            continue
        for name in order:
            if counts[name] >= FEWEST:
                yield group, name, np.flatnonzero(np.array(names) == name)


def _length_thirds(tickets: Sequence[Ticket]) -> list[str]:
    lengths = np.array([len(ticket.text.split()) for ticket in tickets])
    first, second = np.quantile(lengths, [1 / 3, 2 / 3])
    return [_THIRDS[int(n > first) + int(n > second)] for n in lengths]


def _duplicates(test: Sequence[Ticket], train: Sequence[Ticket]) -> list[str]:
    """Return `yes` where a training ticket is in the same group of near-duplicates."""
    groups = near_duplicates([ticket.text for ticket in [*test, *train]]).groups
    seen = set(groups[len(test) :].tolist())
    return ["yes" if group in seen else "no" for group in groups[: len(test)].tolist()]
