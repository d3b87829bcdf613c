"""Operating points of a trained classifier: how many tickets of rare classes it finds, at what cost in accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backbone.config import ClassifierConfig
from classifier.calibration import Calibration, adjustment_offset
from classifier.fitting import LabelledParts, joint_fit
from classifier.joint_fit import CrossFit
from classifier.metrics import Floats, head_report
from classifier.review import folds_of
from tickets.labels import NO_LABEL

STRENGTHS = tuple(np.linspace(0.0, 2.0, 9).tolist())
_RECALLS_WIDTH = 51  # characters of a line of 80
_RECALL_WIDTH = 7  # of a recall with its blanks and comma


@dataclass(frozen=True)
class OperatingPoint:
    """Scores of one label column on validation tickets with a strength of the logit adjustment.

    Attributes:
        recall: by class, the rarest in training first; classes without validation tickets are left out.
    """

    strength: float
    accuracy: float
    macro_f1: float
    recall: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.strength:>8.2f} {self.accuracy:>9.3f} {self.macro_f1:>9.3f}"


def operating_points(
    logits: Mapping[str, Floats],
    parts: LabelledParts,
    settings: ClassifierConfig,
    calibration: Calibration,
    decodes_jointly: bool,
) -> dict[str, list[OperatingPoint]]:
    """Return the operating points of every column that has validation labels, one for each of STRENGTHS.

    Only the column's own adjustment changes. Columns that are decoded jointly are decoded by decoders that were fitted
    on other tickets.

    Args:
        logits: of the validation tickets, by head, (tickets, classes).
    """
    decoders = joint_fit(logits, parts, settings).cross_fit(folds_of(len(parts.targets))) if decodes_jointly else None
    fitted = {column: np.array(head.offset) for column, head in calibration.heads.items()}
    return {
        column: [_point(column, strength, logits, parts, fitted, decoders) for strength in STRENGTHS]
        for i, column in enumerate(parts.space.columns)
        if (parts.targets[:, i] != NO_LABEL).any()
    }


def table(column: str, points: Sequence[OperatingPoint], tickets: int) -> str:
    """Return the operating points of a column as lines to read, with the recall of the rarest classes that fit."""
    labels = list(points[0].recall)
    while len(labels) > 1 and sum(len(label) + _RECALL_WIDTH for label in labels) > _RECALLS_WIDTH:
        labels.pop()
    lines = [f"{column}, {tickets:,} validation tickets", "strength  accuracy  macro-F1   recall of the rarest classes"]
    for point in points:
        lines.append(f"{point}   {', '.join(f'{label} {point.recall[label]:.2f}' for label in labels)}")
    return "\n".join(lines)


def _point(
    column: str,
    strength: float,
    logits: Mapping[str, Floats],
    parts: LabelledParts,
    fitted: Mapping[str, Floats],
    decoders: CrossFit | None,
) -> OperatingPoint:
    shares, classes = parts.class_shares[column], parts.space.columns[column]
    offset = adjustment_offset(strength, shares)
    adjusted = logits[column] + offset
    labels = decoders.decode({**fitted, column: offset}).labels[column] if decoders else adjusted.argmax(axis=1)
    targets = parts.targets[:, list(parts.space.columns).index(column)]
    report = head_report(adjusted, targets, classes, labels)
    rarest_first = [classes[i] for i in np.argsort(shares, kind="stable")]
    recall = {label: report["recall"][label] for label in rarest_first if label in report["recall"]}
    return OperatingPoint(strength, report["accuracy"], report["macro_f1"], recall)
