"""Labels that are one label to a person, and several classes to a model: `Hardware` and `hardware`."""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tickets.cell_text import bare
from tickets.schema import Ticket

_LISTED = 3  # labels named in a note, and groups of them


def spelling_notes(tickets: Sequence[Ticket]) -> Iterator[str]:
    """Yield a note on every column with labels that differ in case, spaces, `_`, `-` or composed letters alone."""
    for column in dict.fromkeys(name for ticket in tickets for name in ticket.labels):
        counts = Counter(ticket.labels[column] for ticket in tickets if column in ticket.labels)
        groups: dict[str, list[str]] = {}
        for label, _ in counts.most_common():
            groups.setdefault(bare(unicodedata.normalize("NFKC", label)).casefold(), []).append(label)
        alike = [labels for labels in groups.values() if len(labels) > 1]
        if alike:
            shown = "; ".join(_shown(labels, counts) for labels in alike[:_LISTED])
            more = f"; and {len(alike) - _LISTED} more such groups" if len(alike) > _LISTED else ""
            yield (
                f"{column}: labels that differ only in case, spaces or hyphens are classes of their own: "
                f"{shown}{more}; write them in one way in the export to make them one"
            )


def _shown(labels: Sequence[str], counts: Mapping[str, int]) -> str:
    more = f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
    return ", ".join(f"{label[:40]!r} ({counts[label]:,})" for label in labels[:_LISTED]) + more
