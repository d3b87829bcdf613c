"""Which tickets a classifier learns from, and what to know about their labels before training."""

import sys
from collections import Counter
from collections.abc import Sequence

from classifier.joint import MOST_COMBINATIONS, count_combinations
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.schema import Ticket


def labelled_tickets(tickets: Sequence[Ticket], space: LabelSpace, part: str) -> list[Ticket]:
    """Return the tickets with any label or tag to learn from; the others train the generator alone.

    Raises:
        InputError: there are none.
    """
    labelled = [ticket for ticket in tickets if space.is_labelled(ticket)]
    if not labelled:
        raise InputError(
            f"no {part} ticket has a label in {', '.join(space.columns)}; expected some; set classifier.columns to "
            "columns with labels, or run `duet prepare` again with another --seed"
        )
    return labelled


def check_decode(space: LabelSpace, decode: str) -> None:
    """Say where labels cannot be decoded together.

    Raises:
        InputError: that is what is wanted.
    """
    count = count_combinations(space)
    if count > MOST_COMBINATIONS:
        combinations_text = f"{count:,} combinations of labels, expected at most {MOST_COMBINATIONS:,}"
        if decode == "joint":
            raise InputError(
                f"classifier.decode=joint: {combinations_text}; set decode=independent, or name fewer columns"
            )
        if decode == "auto":
            print(f"note: {combinations_text}, so the columns are decoded independently", file=sys.stderr)
    elif len(space.columns) < 2 and decode == "joint":
        raise InputError("classifier.decode=joint: found one label column, expected two or more; set decode=auto")


def training_warnings(tickets: Sequence[Ticket], space: LabelSpace) -> list[str]:
    """Return one line for every column with classes that a single training ticket has."""
    warnings = []
    for column in space.columns:
        counts = Counter(ticket.labels[column] for ticket in tickets if column in ticket.labels)
        single = sorted(label for label, count in counts.items() if count == 1)
        if single:
            warnings.append(
                f"{column}: {', '.join(map(repr, single))} with one training ticket, expected several; it will hardly "
                "be learnt; add tickets, or use `duet prepare --rare merge`"
            )
    return warnings


def validation_warnings(tickets: Sequence[Ticket], space: LabelSpace) -> list[str]:
    """Return one line for every column with validation labels that training lacks, or with no validation labels."""
    warnings = []
    for column, unseen in space.unseen(tickets).items():
        names = ", ".join(f"{label!r} ({count})" for label, count in sorted(unseen.items()))
        warnings.append(f"{column}: validation tickets with {names} count as wrong; no training ticket has that label")
    for column in space.columns:
        if not any(column in ticket.labels for ticket in tickets):
            warnings.append(f"{column}: no validation ticket has a label, so its confidence is not calibrated")
    return warnings
