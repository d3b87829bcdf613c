"""Label accuracy of systems on one test part, with bootstrap intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from tickets.schema import Ticket

Labels = Sequence[Mapping[str, str]]
_RESAMPLES = 1_000
_SEED = 0


@dataclass(frozen=True)
class Score:
    """A figure with its 95 % percentile bootstrap interval (Efron and Tibshirani 1993)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class ColumnScores:
    """Accuracy, macro-F1 and recall by class of one system on one label column."""

    accuracy: Score
    macro_f1: Score
    recall: Mapping[str, Score]


def score_column(truth: Sequence[str], predicted: Sequence[str]) -> ColumnScores:
    """Score one column; `truth` and `predicted` are labels by ticket."""
    classes = sorted(set(truth) | set(predicted))
    y = np.array([classes.index(label) for label in truth])
    p = np.array([classes.index(label) for label in predicted])
    recall = {label: bootstrap(_recall_of(y == i, p == i), len(y)) for i, label in enumerate(classes) if np.any(y == i)}
    return ColumnScores(
        accuracy=bootstrap(lambda rows: float(np.mean(y[rows] == p[rows])), len(y)),
        macro_f1=bootstrap(lambda rows: float(f1_score(y[rows], p[rows], average="macro", zero_division=0)), len(y)),
        recall=recall,
    )


def bootstrap(statistic: Callable[[NDArray[np.int64]], float], count: int) -> Score:
    """The statistic of all rows, and its 2.5 and 97.5 percentiles over resampled rows."""
    rng = np.random.default_rng(_SEED)
    values = [statistic(rng.integers(0, count, size=count)) for _ in range(_RESAMPLES)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Score(statistic(np.arange(count)), float(low), float(high))


def true_labels(tickets: Sequence[Ticket], column: str) -> list[str]:
    """The labels of one column."""
    return [ticket.labels[column] for ticket in tickets]


def _recall_of(is_class: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> Callable[[NDArray[np.int64]], float]:
    def recall(rows: NDArray[np.int64]) -> float:
        total = int(is_class[rows].sum())
        return float((is_class[rows] & predicted[rows]).sum() / total) if total else float("nan")

    return recall
