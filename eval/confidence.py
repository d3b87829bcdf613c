"""How far confidence can be trusted: reliability, calibration error before and after temperature, coverage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from classifier.calibration import HeadCalibration
from classifier.metrics import Ints, expected_calibration_error, softmax
from eval.bootstrap import Floats, Resamples, Score

_BINS = 10
_COVERAGES = np.linspace(0.05, 1.0, 20)


@dataclass(frozen=True)
class Bin:
    """Tickets of similar confidence."""

    confidence: float
    accuracy: float
    tickets: int


@dataclass(frozen=True)
class ConfidenceReport:
    """One label column.

    Attributes:
        error_before, error_after: expected calibration error without and with the fitted temperature and offsets.
        reliability: bins of equal width, those without tickets left out.
        coverage: (share of tickets, accuracy on them), the most confident first.
        threshold: confidence below which a person looks; `above` and `accuracy_above` are of the tickets at or over it.
    """

    error_before: Score
    error_after: Score
    reliability: tuple[Bin, ...]
    coverage: tuple[tuple[float, float], ...]
    threshold: float
    above: Score
    accuracy_above: Score


def confidence_report(
    probabilities: Sequence[Mapping[str, float]],
    truth: Sequence[str | None],
    head: HeadCalibration,
    resamples: Resamples,
) -> ConfidenceReport:
    """From calibrated probabilities by class and the true labels; tickets with None for a label are left out."""
    classes = list(probabilities[0])
    after = np.array([[row[label] for label in classes] for row in probabilities])
    # a label that training never saw has no class and is never right
    targets = np.array([classes.index(label) if label in classes else -1 for label in truth])
    before = softmax(np.log(np.maximum(after, 1e-12)) * head.temperature - np.array(head.offset))
    confidence, correct = after.max(axis=1), after.argmax(axis=1) == targets
    labelled = np.array([label is not None for label in truth])
    order = np.argsort(-confidence, kind="stable")
    order = order[labelled[order]]
    kept = [max(1, round(share * len(order))) for share in _COVERAGES]
    over = (confidence >= head.threshold) & labelled
    return ConfidenceReport(
        error_before=_calibration_error(before, targets, labelled, resamples),
        error_after=_calibration_error(after, targets, labelled, resamples),
        reliability=_reliability(confidence[labelled], correct[labelled].astype(np.float64)),
        coverage=tuple((n / len(order), float(correct[order[:n]].mean())) for n in kept),
        threshold=head.threshold,
        above=resamples.mean(np.where(labelled, over, np.nan)),
        accuracy_above=resamples.ratio((correct & over).astype(np.float64), over.astype(np.float64)),
    )


def _calibration_error(
    probabilities: Floats, targets: Ints, labelled: NDArray[np.bool_], resamples: Resamples
) -> Score:
    """`expected_calibration_error` with its interval. Of few tickets it is never 0: its bins are small samples."""
    counted = np.arange(resamples.count)

    def error(times: Floats) -> float:
        rows = np.repeat(counted, times.astype(int) * labelled)
        return expected_calibration_error(probabilities[rows], targets[rows])

    return resamples.statistic(error)


def _reliability(confidence: Floats, correct: Floats) -> tuple[Bin, ...]:
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return tuple(
        Bin(float(confidence[place == b].mean()), float(correct[place == b].mean()), int((place == b).sum()))
        for b in range(_BINS)
        if np.any(place == b)
    )
