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
from backbone.runs.layout import CALIBRATION, HEADS, JOINT, LABELS
from backbone.weights import check_floats
from classifier.calibration import Calibration
from classifier.consistency import check_parts
from classifier.head_names import PREFIX, TAGS, head_name
from classifier.joint import Decoded, JointDecoder
from classifier.review import is_never
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.plain_reason import plain_reason
from tickets.schema import Prediction, Ticket


@dataclass(frozen=True)
class Classifier:
    """A trained classifier: everything but the language model, which an engine runs.

    Attributes:
        required: columns of which a person looks at an unsure label.
        decoder: decodes all columns together; None where each is decoded alone.
    """

    encoder: PromptEncoder
    space: LabelSpace
    calibration: Calibration
    heads: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    max_length: int
    required: tuple[str, ...]
    decoder: JointDecoder | None = None

    @classmethod
    def load(cls, folder: Path, encoder: PromptEncoder, config: RunConfig) -> "Classifier":
        """Read labels, calibration and heads of a classifier run."""
        try:
            check_floats(folder / HEADS)
            tensors = load_file(folder / HEADS)
            names = {head_name(name) for name in tensors}
            heads = {n: (tensors[f"{PREFIX}{n}.weight"], tensors[f"{PREFIX}{n}.bias"]) for n in sorted(names)}
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:  # some are of its formats
            raise InputError(
                f"{folder / HEADS}: not readable ({plain_reason(error)}); train the classifier again"
            ) from None
        damaged = next((name for name, values in tensors.items() if not np.isfinite(values).all()), None)
        if damaged:
            raise InputError(f"{folder / HEADS}: {damaged} holds NaN or infinity; train the classifier again")
        settings, space = config.classifier, LabelSpace.load(folder / LABELS)
        calibration = Calibration.load(folder / CALIBRATION)
        check_parts(folder, space, calibration, heads)
        return cls(
            encoder=encoder,
            space=space,
            calibration=calibration,
            heads=heads,
            max_length=settings.training.max_length,
            required=settings.required,
            decoder=JointDecoder.load(folder / JOINT, space) if (folder / JOINT).is_file() else None,
        )

    @property
    def hidden_size(self) -> int:
        """Length of the hidden states that the heads read."""
        return next(int(weight.shape[1]) for weight, _ in self.heads.values())

    def prompts(self, tickets: Sequence[Ticket]) -> list[Prompt]:
        """Return encoded prompts of tickets."""
        return [self.encoder.classifier_prompt(ticket, self.max_length) for ticket in tickets]

    def predict(self, states: NDArray[np.float32]) -> list[Prediction]:
        """Return predictions from hidden states (tickets, hidden).

        Raises:
            InputError: states of another length than the heads read, or that are not numbers.
        """
        decoded = self._decode(self.logits(states))
        for column, values in decoded.marginals.items():
            if not np.isfinite(values).all():
                raise InputError(
                    f"the confidence of {column} is not a number; expected finite states, heads and calibration; train "
                    "or export the classifier again"
                )
        tags = 1 / (1 + np.exp(-self.head_logits(TAGS, states))) if self.space.tags else np.zeros((len(states), 0))
        return [self._prediction(decoded, tags[row], row) for row in range(len(states))]

    def logits(self, states: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Return scores of the heads by column, (tickets, classes), from hidden states (tickets, hidden)."""
        return {column: self.head_logits(column, states) for column in self.space.columns}

    def applicable(self, prediction: Prediction) -> dict[str, bool]:
        """Return by column whether the label is sure enough to be applied without a person."""
        return {
            column: confidence >= self.calibration.heads[column].threshold  # never what is no number
            for column, confidence in prediction.confidence.items()
        }

    def is_never_sure(self, column: str) -> bool:
        """Return whether a column's target was not reached in training: no label is applied without a person then."""
        return is_never(self.calibration.heads[column].threshold)

    def needs_review(self, prediction: Prediction) -> bool:
        """Return whether a person has to look: a label is missing, or that of a required column is not sure enough."""
        return prediction.labels.keys() != self.space.columns.keys() or any(
            not applied for column, applied in self.applicable(prediction).items() if column in self.required
        )

    def head_logits(self, head: str, states: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the scores of one head, a column's or TAGS, (tickets, classes); states are (tickets, hidden)."""
        weight, bias = self.heads[head]
        return states.astype(np.float64) @ weight.T.astype(np.float64) + bias

    def _decode(self, logits: dict[str, NDArray[np.float64]]) -> Decoded:
        """Return labels and probabilities from the logits of the heads, by column, (tickets, classes)."""
        heads = self.calibration.heads
        if self.decoder is not None:
            return self.decoder.decode(logits, {column: np.array(heads[column].offset) for column in logits})
        probabilities = {column: heads[column].probabilities(values) for column, values in logits.items()}
        return Decoded({column: p.argmax(axis=1) for column, p in probabilities.items()}, probabilities, None)

    def _prediction(self, decoded: Decoded, tags: NDArray[np.float64], row: int) -> Prediction:
        columns = self.space.columns
        given = {
            tag: float(p)
            for tag, p in sorted(zip(self.space.tags, tags, strict=True), key=lambda item: -item[1])
            if p >= self.calibration.tag_threshold
        }
        return Prediction(
            labels={column: classes[decoded.labels[column][row]] for column, classes in columns.items()},
            probabilities={
                column: {label: float(p) for label, p in zip(classes, decoded.marginals[column][row], strict=True)}
                for column, classes in columns.items()
            },
            tags=given,
            joint_probability=None if decoded.joint_probability is None else float(decoded.joint_probability[row]),
        )
