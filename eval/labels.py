"""Label scores of one system on one column, with bootstrap intervals."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.bootstrap import Floats, Resamples, Score
from tickets.errors import InputError
from tickets.schema import Ticket

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ClassScores:
    """One class of one column; `support` counts its tickets."""

    precision: Score
    recall: Score
    f1: Score
    support: int


@dataclass(frozen=True)
class ColumnScores:
    """One system on one label column.

    Attributes:
        classes: scores of every class that occurs among the true labels, sorted.
        confusion: tickets by true class (rows) and predicted class (columns: `predicted`, then none at all).
        missing: share of tickets for which no label of the column was given.
    """

    accuracy: Score
    macro_f1: Score
    classes: Mapping[str, ClassScores]
    predicted: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    missing: float

    @property
    def recall(self) -> dict[str, Score]:
        """Recall by class."""
        return {label: scores.recall for label, scores in self.classes.items()}


def score_column(
    truth: Sequence[str | None], predicted: Sequence[str | None], resamples: Resamples, f1: Floats
) -> ColumnScores:
    """Score one column; labels by ticket, None where the system gave none that the column has.

    Tickets without a true label are left out.

    Args:
        f1: of `macro_f1_replicates`.
    """
    names, y, p = _places(truth, predicted)
    width = len(names) + 1
    labelled = y != width - 1
    confusion = _confusion(y, p, width, labelled.astype(np.float64))
    classes = {}
    for i, label in enumerate(names):
        true, given = (y == i).astype(np.float64), ((p == i) & labelled).astype(np.float64)
        if true.any():
            hits = true * given
            classes[label] = ClassScores(
                precision=resamples.ratio(hits, given),
                recall=resamples.ratio(hits, true),
                f1=resamples.ratio(2 * hits, true + given),
                support=int(true.sum()),
            )
    return ColumnScores(
        accuracy=resamples.mean(np.where(labelled, y == p, np.nan)),
        macro_f1=resamples.score(f1),
        classes=classes,
        predicted=tuple(names),
        confusion=tuple(tuple(int(n) for n in confusion[names.index(label)]) for label in classes),
        missing=float(np.mean(p[labelled] == width - 1)) if labelled.any() else float("nan"),
    )


def macro_f1_replicates(truth: Sequence[str | None], predicted: Sequence[str | None], resamples: Resamples) -> Floats:
    """Return the macro-F1 of every draw of tickets, and last of all, for paired differences."""
    names, y, p = _places(truth, predicted)
    labelled = y != len(names)
    return resamples.replicates(lambda times: _macro_f1(_confusion(y, p, len(names) + 1, times * labelled)))


def true_labels(tickets: Sequence[Ticket], column: str) -> list[str | None]:
    """Return the labels of one column; None where a ticket has none."""
    return [ticket.labels.get(column) for ticket in tickets]


def right_labels(given: Sequence[str | None], truth: Sequence[str | None]) -> Floats:
    """Return 1 for labels that are right, 0 for others, NaN where the true label is not known, (tickets,)."""
    return np.array(
        [np.nan if true is None else float(label == true) for label, true in zip(given, truth, strict=True)]
    )


def labelled_tickets(tickets: Sequence[Ticket], columns: Sequence[str], part: str) -> tuple[list[Ticket], list[str]]:
    """Return the tickets with a label in any column, and the columns in which any ticket has one.

    Raises:
        InputError: no ticket has any.
    """
    used = [column for column in columns if any(column in ticket.labels for ticket in tickets)]
    if not used:
        raise InputError(
            f"no {part} ticket has a label in {', '.join(columns)}; expected tickets with such labels; name "
            "another folder with --data, or another --part"
        )
    for column in columns:
        if column not in used:
            print(f"warning: {column}: no {part} ticket has a label, so it is left out", file=sys.stderr)
    return [ticket for ticket in tickets if any(column in ticket.labels for column in used)], used


def tag_scores(tickets: Sequence[Ticket], given: Sequence[Sequence[str]], resamples: Resamples) -> Score:
    """Return the micro-F1 of tags, over all (ticket, tag) pairs."""
    pairs = [(set(ticket.tags), set(tags)) for ticket, tags in zip(tickets, given, strict=True)]
    hits = np.array([len(true & given_tags) for true, given_tags in pairs], dtype=np.float64)
    total = np.array([len(true) + len(given_tags) for true, given_tags in pairs], dtype=np.float64)
    return resamples.ratio(2 * hits, total)


def _places(truth: Sequence[str | None], predicted: Sequence[str | None]) -> tuple[list[str], Ints, Ints]:
    """Return all labels, sorted, and the place of every true and predicted one; no label comes last."""
    names = sorted({label for label in (*truth, *predicted) if label is not None})
    position: dict[str | None, int] = {label: i for i, label in enumerate(names)}
    position[None] = len(names)
    return names, np.array([position[label] for label in truth]), np.array([position[label] for label in predicted])


def _confusion(y: Ints, p: Ints, width: int, times: Floats) -> Floats:
    """Return tickets by true (rows) and predicted place, each counted `times`, (width, width)."""
    return np.asarray(np.bincount(y * width + p, weights=times, minlength=width * width).reshape(width, width))


def _macro_f1(matrix: NDArray[np.float64]) -> float:
    """Return the mean F1 of the classes that occur among the true labels, the same for every system.

    The last place of the labels means none.
    """
    hits = np.diag(matrix)[:-1]
    total = matrix.sum(axis=1)[:-1] + matrix.sum(axis=0)[:-1]
    occurs = matrix.sum(axis=1)[:-1] > 0
    return float((2 * hits[occurs] / total[occurs]).mean()) if occurs.any() else float("nan")
