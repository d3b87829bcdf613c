"""Labels from hidden states: heads and calibration in numpy, so that every engine can use them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from backbone.config import RunConfig
from backbone.prompts import Prompt, PromptEncoder
from backbone.runs.layout import CALIBRATION, HEADS, LABELS
from classifier.calibration import Calibration
from classifier.heads import PREFIX, TAGS, head_name
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.schema import Prediction, Ticket


@dataclass(frozen=True)
class Classifier:
    """A trained classifier: everything but the language model, which an engine runs."""

    encoder: PromptEncoder
    space: LabelSpace
    calibration: Calibration
    heads: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    max_length: int

    @classmethod
    def load(cls, folder: Path, encoder: PromptEncoder, config: RunConfig) -> "Classifier":
        """Read labels, calibration and heads of a classifier run."""
        try:
            tensors = load_file(folder / HEADS)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{folder / HEADS}: not readable ({error}); train the classifier again") from None
        names = {head_name(name) for name in tensors}
        heads = {n: (tensors[f"{PREFIX}{n}.weight"], tensors[f"{PREFIX}{n}.bias"]) for n in sorted(names)}
        damaged = next((name for name, values in tensors.items() if not np.isfinite(values).all()), None)
        if damaged:
            raise InputError(f"{folder / HEADS}: {damaged} is not a number everywhere; train the classifier again")
        space = LabelSpace.load(folder / LABELS)
        return cls(encoder, space, Calibration.load(folder / CALIBRATION), heads, config.classifier.training.max_length)

    def prompts(self, tickets: Sequence[Ticket]) -> list[Prompt]:
        """Encoded prompts of tickets."""
        return [self.encoder.classifier_prompt(ticket, self.max_length) for ticket in tickets]

    def read(self, states: NDArray[np.float32]) -> list[Prediction]:
        """Predictions from hidden states (tickets, hidden)."""
        probabilities = {
            column: self.calibration.heads[column].probabilities(self._logits(column, states))
            for column in self.space.columns
        }
        for column, values in probabilities.items():
            if not np.isfinite(values).all():
                raise InputError(
                    f"the confidence of {column} is not a number; expected finite states, heads and calibration; train "
                    "or export the classifier again"
                )
        tags = 1 / (1 + np.exp(-self._logits(TAGS, states))) if self.space.tags else np.zeros((len(states), 0))
        return [
            self._prediction({c: p[row] for c, p in probabilities.items()}, tags[row]) for row in range(len(states))
        ]

    def needs_review(self, prediction: Prediction) -> bool:
        """Whether the confidence of any label is below its threshold."""
        return any(
            not confidence >= self.calibration.heads[column].threshold  # what is no number needs a person too
            for column, confidence in prediction.confidence.items()
        )

    def _logits(self, head: str, states: NDArray[np.float32]) -> NDArray[np.float64]:
        weight, bias = self.heads[head]
        return states.astype(np.float64) @ weight.T.astype(np.float64) + bias

    def _prediction(self, rows: dict[str, NDArray[np.float64]], tags: NDArray[np.float64]) -> Prediction:
        probabilities = {
            column: {label: float(p) for label, p in zip(self.space.columns[column], row, strict=True)}
            for column, row in rows.items()
        }
        labels = {column: max(classes, key=lambda label: classes[label]) for column, classes in probabilities.items()}
        given = {
            tag: float(p)
            for tag, p in sorted(zip(self.space.tags, tags, strict=True), key=lambda item: -item[1])
            if p >= self.calibration.tag_threshold
        }
        return Prediction(labels, probabilities, given)
