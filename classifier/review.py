"""Which labels are applied without a person: thresholds of confidence by the accuracy aimed at, and what they allow."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.metrics import Floats, Ints

Bools = NDArray[np.bool_]

TARGETS = (0.7, 0.8, 0.9)  # accuracies that are reported beside a column's own target
NEVER = 1.01  # a threshold that no confidence reaches
FOLDS = 5
_FEWEST_ABOVE = 10  # tickets above a threshold; fewer prove nothing
_SEED = 0  # of the folds


@dataclass(frozen=True)
class Applied:
    """What a target allows: the share of tickets at or above the threshold, and the accuracy there (None: none)."""

    target: float
    share: float
    accuracy: float | None


def is_never(threshold: float) -> bool:
    """Return whether no confidence reaches a threshold: the accuracy aimed at was not reached on validation tickets."""
    return threshold > 1


def review_threshold(confidence: Floats, correct: Bools, target: float) -> float:
    """Return the lowest confidence from which the more confident tickets reach the target accuracy, or NEVER."""
    if not len(confidence):
        return NEVER
    order = np.argsort(-confidence, kind="stable")
    counts = np.arange(1, len(order) + 1)
    accuracy = np.cumsum(correct[order]) / counts
    enough = np.flatnonzero((accuracy >= target) & (counts >= min(_FEWEST_ABOVE, len(order))))
    return float(confidence[order[enough[-1]]]) if len(enough) else NEVER


def threshold_key(target: float) -> str:
    """Return what a target is called among the thresholds of a calibration."""
    return f"{target:g}"


def thresholds_for(confidence: Floats, correct: Bools, targets: Sequence[float] = TARGETS) -> dict[str, float]:
    """Return the threshold of every target, by its key."""
    return {threshold_key(target): review_threshold(confidence, correct, target) for target in targets}


def folds_of(rows: int) -> Ints:
    """Return the fold of every row, (rows,): FOLDS parts of almost equal size, the same in every call."""
    folds: Ints = np.random.default_rng(_SEED).permutation(np.arange(rows) % FOLDS)
    return folds


def applied_unseen(confidence: Floats, correct: Bools, folds: Ints, target: float) -> Applied:
    """Return the cross-validated share and accuracy of a target: each fold uses the threshold fitted on the others."""
    above = np.zeros(len(confidence), dtype=bool)
    for fold in np.unique(folds):
        held_out = folds == fold
        threshold = review_threshold(confidence[~held_out], correct[~held_out], target)
        above[held_out] = confidence[held_out] >= threshold
    share = float(above.mean()) if len(above) else 0.0
    return Applied(target, share, float(correct[above].mean()) if above.any() else None)
