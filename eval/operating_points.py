"""What it costs to find more tickets of the rarest class: a logit adjustment of saved probabilities."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from classifier.calibration import adjustment_offset
from eval.bootstrap import Resamples, Score
from eval.labels import macro_f1_replicates, right_labels

STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
_LEAST = 1e-12  # probability that still has a logarithm


@dataclass(frozen=True)
class AdjustedScores:
    """Scores of one label column at a strength of the logit adjustment (Menon et al. 2021).

    Attributes:
        recall: of the rarest class.
    """

    strength: float
    accuracy: Score
    macro_f1: Score
    recall: Score


@dataclass(frozen=True)
class RarestClass:
    """The class of a column with the fewest training tickets that some tickets here have, and its operating points."""

    label: str
    points: tuple[AdjustedScores, ...]


def operating_points(
    probabilities: Sequence[Mapping[str, float]],
    truth: Sequence[str | None],
    training: Sequence[str | None],
    resamples: Resamples,
) -> RarestClass | None:
    """Return the operating points of a column; None if no ticket has one of its classes.

    A label is the class with the largest probability / share ** strength, where the share is that among the training
    tickets. So a strength of 1 removes the class frequencies of the training tickets.

    Args:
        probabilities: calibrated, by class, of every ticket.
        truth: true labels; tickets with None are left out.
        training: labels of the training tickets.
    """
    counts = Counter(label for label in training if label is not None)
    classes = [label for label in probabilities[0] if counts[label]]
    present = [label for label in classes if label in truth]
    if not present:
        return None
    rarest = min(present, key=lambda label: counts[label])
    logits = np.log([[max(row[label], _LEAST) for label in classes] for row in probabilities])
    shares = np.array([counts[label] / counts.total() for label in classes])
    points = []
    for strength in STRENGTHS:
        given = [classes[i] for i in (logits + adjustment_offset(strength, shares)).argmax(axis=1)]
        points.append(_point(strength, given, truth, rarest, resamples))
    return RarestClass(rarest, tuple(points))


def _point(
    strength: float, given: Sequence[str], truth: Sequence[str | None], rarest: str, resamples: Resamples
) -> AdjustedScores:
    right = right_labels(given, truth)
    is_rarest = np.array([true == rarest for true in truth])
    return AdjustedScores(
        strength,
        accuracy=resamples.mean(right),
        macro_f1=resamples.score(macro_f1_replicates(truth, given, resamples)),
        recall=resamples.mean(np.where(is_rarest, right, np.nan)),
    )
