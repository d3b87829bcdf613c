"""What is fitted on validation logits after training: logit adjustment, temperature, and thresholds of review."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from backbone.config import Adjustment
from backbone.runs.files import read_json, write_json
from classifier.metrics import Floats, Ints, cross_entropy, macro_f1, micro_f1, softmax
from classifier.review import NEVER, Bools, review_threshold, thresholds_for
from tickets.errors import InputError
from tickets.labels import NO_LABEL
from tickets.numbers import json_float
from tickets.plain_reason import plain_reason

_LARGEST = 1e9  # offset; what is computed from more overflows
_STRENGTHS = np.linspace(-1.0, 2.0, 31)  # of the logit adjustment; 0 leaves the logits alone


@dataclass(frozen=True)
class HeadCalibration:
    """What was fitted for one label column.

    Attributes:
        offset: is added to the logits (classes), which are then divided by `temperature`.
        threshold: the confidence from which a label is applied without a person, by the column's own target.
        strength: of the logit adjustment that made `offset`.
        thresholds: of other targets, by `threshold_key`; empty in runs of before they were kept.
    """

    offset: tuple[float, ...]
    temperature: float
    threshold: float
    strength: float = 0.0
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def probabilities(self, logits: Floats) -> Floats:
        """Return calibrated probabilities (rows, classes)."""
        return softmax((logits + np.array(self.offset)) / self.temperature)

    def with_thresholds(self, confidence: Floats, correct: Bools, target: float) -> "HeadCalibration":
        """Return it with the thresholds that follow from how confident and right labels were, both (rows,)."""
        own = review_threshold(confidence, correct, target)
        return replace(self, threshold=own, thresholds=thresholds_for(confidence, correct))


@dataclass(frozen=True)
class Calibration:
    """One calibration per label column, and the probability from which a tag is given."""

    heads: Mapping[str, HeadCalibration]
    tag_threshold: float = 0.5
    fitted_on: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """Whether all values can be computed with, temperatures are above 0, and thresholds from 0 to NEVER."""
        values, thresholds = [0.0], [self.tag_threshold]
        for head in self.heads.values():
            values += [*head.offset, head.temperature, head.strength]
            thresholds += [head.threshold, *head.thresholds.values()]
        return (
            bool((np.abs(values) <= _LARGEST).all())
            and all(head.temperature >= 1 / _LARGEST for head in self.heads.values())
            and all(0 <= threshold <= NEVER for threshold in thresholds)
        )

    def save(self, path: Path) -> None:
        """Write as JSON."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Read what `save` wrote."""
        record = read_json(path)
        try:
            heads = {
                column: HeadCalibration(**{name: _values(name, value) for name, value in head.items()})
                for column, head in record["heads"].items()
            }
            calibration = cls(heads, json_float(record["tag_threshold"]), record.get("fitted_on", {}))
            if not calibration.is_sound:
                raise ValueError("a value is not a number, a temperature not above 0, or a threshold not from 0 to 1")
            return calibration
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(f"{path}: not a calibration ({plain_reason(error)}); train the classifier again") from None


def _values(name: str, value: Any) -> Any:
    """Return what a field of a HeadCalibration holds."""
    if name == "offset":
        return tuple(map(json_float, value))
    return (
        {key: json_float(threshold) for key, threshold in value.items()} if name == "thresholds" else json_float(value)
    )


def fit_head(logits: Floats, targets: Ints, priors: Floats, adjustment: Adjustment, target: float) -> HeadCalibration:
    """Fit one head on validation logits (rows, classes) and class ids (rows,).

    Rows with the class id NO_LABEL are left out, UNSEEN counts as wrong; without any known class nothing is fitted and
    a person looks at everything.

    The temperature minimises cross-entropy (Guo et al. 2017).

    Args:
        priors: class shares in training, (classes,).
        adjustment: strength of the logit adjustment, or the metric for which it is chosen from a grid.
        target: the accuracy that labels applied without a person should have.
    """
    from scipy.optimize import minimize_scalar  # not needed for prediction

    labelled = targets != NO_LABEL
    logits, targets = logits[labelled], targets[labelled]
    if not (targets >= 0).any():
        return HeadCalibration((0.0,) * len(priors), temperature=1.0, threshold=NEVER)
    strength = _strength(logits, targets, priors, adjustment)
    offset = adjustment_offset(strength, priors)
    adjusted = logits + offset
    optimum = minimize_scalar(
        lambda log_t: cross_entropy(adjusted / np.exp(log_t), targets), bounds=(-3.0, 3.0), method="bounded"
    )
    head = HeadCalibration(tuple(float(x) for x in offset), float(np.exp(optimum.x)), NEVER, strength)
    probabilities = head.probabilities(logits)
    return head.with_thresholds(probabilities.max(axis=1), probabilities.argmax(axis=1) == targets, target)


def fit_tag_threshold(probabilities: Floats, targets: Floats) -> float:
    """Return the threshold with the best micro-F1 on validation; probabilities and 0/1 targets are (rows, tags)."""
    grid = np.linspace(0.05, 0.95, 19)
    scores = [micro_f1(probabilities >= threshold, targets > 0.5) for threshold in grid]
    return float(grid[int(np.argmax(scores))])


def adjustment_offset(strength: float, priors: Floats) -> Floats:
    """Return what a logit adjustment adds to the logits, (classes,): the rarer a class in training, the more."""
    return np.asarray(-strength * np.log(np.maximum(priors, 1e-9)))


def _strength(logits: Floats, targets: Ints, priors: Floats, adjustment: Adjustment) -> float:
    if adjustment == "none":
        return 0.0
    if isinstance(adjustment, float):
        return adjustment

    def score(strength: float) -> tuple[float, float]:
        predicted = (logits + adjustment_offset(strength, priors)).argmax(axis=1)
        value = float(np.mean(predicted == targets)) if adjustment == "accuracy" else macro_f1(predicted, targets)
        return value, -abs(strength)  # among equals, the smallest change

    return float(max(_STRENGTHS, key=score))
