"""How far confidence can be trusted: reliability, calibration error, coverage, what is applied without a person."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from classifier.calibration import HeadCalibration
from classifier.metrics import expected_calibration_error, softmax
from classifier.review import TARGETS, Bools, threshold_key
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
class Automated:
    """What a column can have applied without a person at a target, by the threshold that training fitted for it.

    Attributes:
        target: the accuracy aimed at.
        threshold: of confidence; over 1 where no confidence is enough, None in runs of before it was kept.
        share: of the tickets with a label in the column; `accuracy` is what it is on these.
    """

    target: float
    threshold: float | None
    share: Score
    accuracy: Score


@dataclass(frozen=True)
class ConfidenceReport:
    """One label column.

    Attributes:
        error_before, error_after: expected calibration error without and with the fitted temperature and offsets;
            `error_before` is None where columns are decoded together, which has no temperature.
        reliability: bins of equal width, those without tickets left out.
        coverage: (share of tickets, accuracy on them), the most confident first.
        threshold: confidence below which a person looks; `above` and `accuracy_above` are of the tickets at or over it.
        automated: at the column's own target, then at each of TARGETS.
    """

    error_before: Score | None
    error_after: Score
    reliability: tuple[Bin, ...]
    coverage: tuple[tuple[float, float], ...]
    threshold: float
    above: Score
    accuracy_above: Score
    automated: tuple[Automated, ...]


def automated(
    confidence: Floats, correct: Floats, head: HeadCalibration, target: float, resamples: Resamples
) -> tuple[Automated, ...]:
    """Return what the thresholds of a head allow: at the column's own target first, then at each of TARGETS.

    Args:
        confidence: of the label that is given, (tickets,).
        correct: 1 for a right label, 0 for a wrong one, NaN where the true label is not known, (tickets,).
        target: the column's own.
    """
    thresholds = [(target, head.threshold), *((t, head.thresholds.get(threshold_key(t))) for t in TARGETS)]
    reports = []
    for aim, threshold in thresholds:
        above = confidence >= (np.nan if threshold is None else threshold)
        labelled = ~np.isnan(correct) & (threshold is not None)
        share = resamples.mean(np.where(labelled, above, np.nan))
        reports.append(Automated(aim, threshold, share, resamples.mean(np.where(above, correct, np.nan))))
    return tuple(reports)


def confidence_report(
    probabilities: Sequence[Mapping[str, float]],
    given: Sequence[str],
    truth: Sequence[str | None],
    head: HeadCalibration,
    target: float,
    resamples: Resamples,
    decoded_jointly: bool = False,
) -> ConfidenceReport:
    """Report on calibrated probabilities by class, the labels that were given, and the true ones.

    Tickets with None for a true label are left out.

    Args:
        target: the accuracy that labels applied without a person should have.
        decoded_jointly: the probabilities are not those of the head alone.
    """
    classes = list(probabilities[0])
    after = np.array([[row[label] for label in classes] for row in probabilities])
    before = softmax(np.log(np.maximum(after, 1e-12)) * head.temperature - np.array(head.offset))
    confidence = np.array([row[label] for row, label in zip(probabilities, given, strict=True)])
    # a label that training never saw is never right
    correct = np.array([label == true for label, true in zip(given, truth, strict=True)])
    correct_before = np.array(
        [classes[place] == true for place, true in zip(before.argmax(axis=1), truth, strict=True)]
    )
    labelled = np.array([label is not None for label in truth])
    order = np.argsort(-confidence, kind="stable")
    order = order[labelled[order]]
    counts = [max(1, round(share * len(order))) for share in _COVERAGES]
    right = np.where(labelled, correct, np.nan)
    by_target = automated(confidence, right, head, target, resamples)
    return ConfidenceReport(
        error_before=(
            None if decoded_jointly else _calibration_error(before.max(axis=1), correct_before, labelled, resamples)
        ),
        error_after=_calibration_error(confidence, correct, labelled, resamples),
        reliability=_reliability(confidence[labelled], correct[labelled].astype(np.float64)),
        coverage=tuple((n / len(order), float(correct[order[:n]].mean())) for n in counts),
        threshold=head.threshold,
        above=by_target[0].share,
        accuracy_above=by_target[0].accuracy,
        automated=by_target,
    )


def _calibration_error(confidence: Floats, correct: Bools, labelled: Bools, resamples: Resamples) -> Score:
    """Return `expected_calibration_error` with its interval; never 0 of few tickets, whose bins are small."""
    counted = np.arange(resamples.count)

    def error(times: Floats) -> float:
        rows = np.repeat(counted, times.astype(int) * labelled)
        return expected_calibration_error(confidence[rows], correct[rows])

    return resamples.statistic(error)


def _reliability(confidence: Floats, correct: Floats) -> tuple[Bin, ...]:
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    return tuple(
        Bin(float(confidence[bins == b].mean()), float(correct[bins == b].mean()), int((bins == b).sum()))
        for b in range(_BINS)
        if np.any(bins == b)
    )
