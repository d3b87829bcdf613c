"""Label metrics: plain functions, arrays in, numbers out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickets.labels import NO_LABEL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def softmax(logits: Floats) -> Floats:
    """Return probabilities (rows, classes) of logits (rows, classes)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def cross_entropy(logits: Floats, targets: Ints) -> float:
    """Return the mean negative log-likelihood in nats, unweighted, of the rows whose class id is not negative.

    It is NaN without any.
    """
    labelled = targets >= 0
    logits, targets = logits[labelled], targets[labelled]
    if not len(targets):
        return float("nan")
    peak = logits.max(axis=1, keepdims=True)
    log_total = peak[:, 0] + np.log(np.exp(logits - peak).sum(axis=1))
    return float(np.mean(log_total - logits[np.arange(len(targets)), targets]))


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width (Guo et al. 2017), both (rows,).

    NaN where a confidence is, as in a training that diverged.
    """
    if np.isnan(confidence).any():
        return float("nan")
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[bin_of == b].mean() - correct[bin_of == b].mean()) * np.mean(bin_of == b)
        for b in range(bins)
        if np.any(bin_of == b)
    ]
    return float(np.sum(gaps))


def macro_f1(predicted: Ints, targets: Ints) -> float:
    """Return the mean F1 of the classes that occur among targets or predictions."""
    from sklearn.metrics import f1_score  # a second of imports that prediction does not need

    return float(f1_score(targets, predicted, average="macro", zero_division=0))


def micro_f1(predicted: NDArray[np.bool_], targets: NDArray[np.bool_]) -> float:
    """Return F1 over all (ticket, tag) decisions."""
    hits = float((predicted & targets).sum())
    total = float(predicted.sum() + targets.sum())
    return 2 * hits / total if total else 0.0


def head_report(logits: Floats, targets: Ints, classes: Sequence[str], predicted: Ints | None = None) -> dict[str, Any]:
    """Return accuracy, cross-entropy, macro-F1, recall by class, confusions and calibration error of a head.

    Rows with the class id NO_LABEL are left out; UNSEEN counts as wrong. Figures are NaN where no row is left.

    Args:
        predicted: the class ids that are given; the likeliest without them.
    """
    labelled = targets != NO_LABEL
    predicted = (logits.argmax(axis=1) if predicted is None else predicted)[labelled]
    logits, targets = logits[labelled], targets[labelled]
    known = targets >= 0
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(matrix, (targets[known], predicted[known]), 1)
    support = matrix.sum(axis=1)
    recall = {
        label: float(matrix[i, i] / support[i]) for i, label in enumerate(classes) if support[i]
    }  # a class without examples has no recall
    confidence = softmax(logits)[np.arange(len(targets)), predicted]
    return {
        "accuracy": float(np.mean(predicted == targets)) if len(targets) else float("nan"),
        "cross_entropy": cross_entropy(logits, targets),
        "macro_f1": macro_f1(predicted, targets) if len(targets) else float("nan"),
        "recall": recall,
        "confusion": matrix.tolist(),
        "calibration_error": (
            expected_calibration_error(confidence, predicted == targets) if len(targets) else float("nan")
        ),
    }
