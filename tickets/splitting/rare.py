"""What to do about classes with few tickets: keep them, merge them into `other`, or empty the label."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tickets.schema import Ticket

MODES = ("keep", "merge", "drop")
OTHER = "other"
_LISTED = 8  # classes named in a note


def treat_rare(tickets: Sequence[Ticket], mode: str, below: int) -> tuple[list[Ticket], list[str]]:
    """Merge or empty the labels of classes with fewer than `below` tickets; also return a note on each column.

    A ticket whose label is emptied is kept. Rare classes go into a class called `other` in any spelling, if there is
    one.
    """
    if mode == "keep":
        return list(tickets), []
    renamed: dict[str, dict[str, str]] = {}
    notes = []
    for column in dict.fromkeys(name for ticket in tickets for name in ticket.labels):
        counts = Counter(ticket.labels[column] for ticket in tickets if column in ticket.labels)
        other = next((label for label in counts if label.casefold() == OTHER), OTHER)
        rare = {label: n for label, n in sorted(counts.items()) if n < below and label != other}
        if rare:
            renamed[column] = dict.fromkeys(rare, other if mode == "merge" else "")
            notes.append(_note(column, rare, f"merged into {other!r}" if mode == "merge" else "emptied", below))
    return [replace(ticket, labels=_renamed(ticket.labels, renamed)) for ticket in tickets], notes


def _renamed(labels: Mapping[str, str], renamed: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    new = {column: renamed.get(column, {}).get(label, label) for column, label in labels.items()}
    return {column: label for column, label in new.items() if label}


def _note(column: str, rare: Mapping[str, int], treatment: str, below: int) -> str:
    named = ", ".join(f"{label!r} ({n})" for label, n in list(rare.items())[:_LISTED])
    more = f" and {len(rare) - _LISTED} more" if len(rare) > _LISTED else ""
    classes = f"{len(rare)} class{'es' if len(rare) > 1 else ''} under {below} tickets"
    return f"{column}: {classes} {treatment}, {sum(rare.values())} tickets in all: {named}{more}"


def single_classes(tickets: Sequence[Ticket]) -> str:
    """Return what to say of a label column in which most tickets are the only one of their class; else nothing."""
    for column in dict.fromkeys(name for ticket in tickets for name in ticket.labels):
        counts = Counter(ticket.labels[column] for ticket in tickets if column in ticket.labels)
        single = sum(count == 1 for count in counts.values())
        if single > len(tickets) / 2:
            return (
                f"{single:,} classes of {column!r} have one ticket, which is for training; --rare drop empties these "
                "labels, and --columns NAME keeps only other columns"
            )
    return ""
