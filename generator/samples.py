"""Training samples of the generator: replies conditioned on labels as uncertain as at inference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backbone.config import GeneratorConfig
from backbone.prompts import PromptEncoder
from tickets.errors import InputError
from tickets.schema import Ticket


@dataclass(frozen=True)
class LabelNoise:
    """Probability of every class being predicted, by column and true label: rows of a confusion matrix."""

    classes: Mapping[str, tuple[str, ...]]
    rows: Mapping[str, NDArray[np.float64]]

    @classmethod
    def from_confusions(
        cls, classes: Mapping[str, Sequence[str]], confusions: Mapping[str, Sequence[Sequence[float]]]
    ) -> "LabelNoise":
        """Make label noise from validation confusions (true, predicted), plus one each, so that no row is empty."""
        rows = {}
        for column, matrix in confusions.items():
            counts = np.asarray(matrix, dtype=np.float64) + 1.0
            rows[column] = counts / counts.sum(axis=1, keepdims=True)
        return cls({column: tuple(names) for column, names in classes.items()}, rows)

    @classmethod
    def from_shares(cls, tickets: Sequence[Ticket], columns: Sequence[str]) -> "LabelNoise":
        """Make label noise without a trained classifier: every label is confused in proportion to class shares."""
        classes, rows = {}, {}
        for column in columns:
            labels = [ticket.labels[column] for ticket in tickets if column in ticket.labels]
            names, counts = np.unique(labels, return_counts=True)
            classes[column] = tuple(str(name) for name in names)
            rows[column] = np.tile(counts / counts.sum(), (len(names), 1))
        return cls(classes, rows)


def conditioning_labels(
    ticket: Ticket, columns: Sequence[str], noise: LabelNoise, config: GeneratorConfig, rng: np.random.Generator
) -> dict[str, str]:
    """Return the labels of a training prompt: mostly true, some as a classifier might err, some dropped."""
    shown = {}
    for column in columns:
        draw = rng.random()
        if column not in ticket.labels or draw < config.label_drop:
            continue
        label = ticket.labels[column]
        classes = noise.classes.get(column, ())
        if draw < config.label_drop + config.label_replace and label in classes:
            label = str(rng.choice(classes, p=noise.rows[column][classes.index(label)]))
        shown[column] = label
    return shown


def reply_sample(
    encoder: PromptEncoder, ticket: Ticket, labels: Mapping[str, str], max_length: int
) -> tuple[tuple[int, ...], list[int]]:
    """Prompt ids and completion ids of one ticket: the reply is cut to half of `max_length`, the ticket to the rest."""
    completion = encoder.reply_ids(ticket.reply)[: max_length // 2]
    return encoder.generator_prompt(ticket, labels, max_length - len(completion)).ids, completion


def with_replies(tickets: Sequence[Ticket], part: str) -> list[Ticket]:
    """Return the tickets that have a reply.

    Raises:
        InputError: none has.
    """
    answered = [ticket for ticket in tickets if ticket.reply.strip()]
    if not answered:
        raise InputError(
            f"no {part} ticket has a reply, expected a reply column; map one with `duet prepare --map reply=COLUMN`"
        )
    return answered
