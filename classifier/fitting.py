"""Fit calibration, thresholds and joint decoding on validation tickets after training, with cross-validated figures."""

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from backbone.config import ClassifierConfig
from backbone.training.balance import effective_examples
from classifier.calibration import Calibration, HeadCalibration, fit_head, fit_tag_threshold
from classifier.head_names import TAGS
from classifier.joint import Decoded, JointDecoder, has_combinations
from classifier.joint_fit import JointFit, pair_information
from classifier.metrics import Floats, Ints, head_report
from classifier.review import TARGETS, applied_unseen, folds_of
from classifier.targets import label_targets, tag_targets
from tickets.labels import NO_LABEL, LabelSpace
from tickets.schema import Ticket

_LEAST = 1e-12  # probability that still has a logarithm


@dataclass(frozen=True)
class Fitted:
    """What was fitted, and what a run says of it.

    Attributes:
        decoder: decodes all columns together; None where each is decoded alone.
        reports: scores of the labels on validation, by column; cross-fitted where there is a decoder.
        automated: by column, what could be applied without a person, at its own target and at each of TARGETS; on
            tickets that neither probabilities nor thresholds were fitted on (cross-fitted).
        decode: what decoding the columns together gains; empty where it was not tried.
    """

    calibration: Calibration
    decoder: JointDecoder | None
    reports: Mapping[str, Any]
    automated: Mapping[str, Any]
    decode: Mapping[str, Any]


@dataclass(frozen=True)
class LabelledParts:
    """The tickets that a classifier was trained on and those it is fitted on, all with labels of its space.

    `synthetic` ones were trained on too, but say nothing about how frequent a label or a pair of labels is.
    """

    train: Sequence[Ticket]
    validation: Sequence[Ticket]
    space: LabelSpace
    synthetic: Sequence[Ticket] = ()

    @cached_property
    def targets(self) -> Ints:
        """Class ids of the validation tickets, (tickets, columns); negative where a label is missing or unknown."""
        return label_targets(self.validation, self.space)

    @cached_property
    def tags(self) -> Floats:
        """Tags of the validation tickets, (tickets, tags), 0 or 1."""
        return tag_targets(self.validation, self.space).astype(np.float64)

    @cached_property
    def class_shares(self) -> dict[str, Floats]:
        """Share of every class among the training tickets with a label, by column, (classes,)."""
        shares = {}
        for column, classes in self.space.columns.items():
            counts = Counter(ticket.labels.get(column) for ticket in self.train)
            shares[column] = np.array([counts[label] for label in classes]) / (len(self.train) - counts[None])
        return shares


def fit_on_validation(
    logits: Mapping[str, Floats], parts: LabelledParts, settings: ClassifierConfig, data: str
) -> Fitted:
    """Fit everything that follows the weights.

    Args:
        logits: of the validation tickets, by head, (tickets, classes).
        data: fingerprint of the tickets.
    """
    space, targets, shares = parts.space, parts.targets, parts.class_shares
    by_column = {column: logits[column] for column in space.columns}
    folds = folds_of(len(targets))
    heads = _fit_heads(by_column, targets, shares, settings)
    decoder, decode, unseen = None, {}, _cross_fit_heads(by_column, targets, shares, settings, folds)
    if settings.decode != "independent" and has_combinations(space):
        fit = joint_fit(logits, parts, settings)
        offsets = {column: np.array(head.offset) for column, head in heads.items()}
        joint_labels = fit.cross_fit(folds).decode(offsets)
        alone = {column: (values + offsets[column]).argmax(axis=1) for column, values in by_column.items()}
        decode = _gain(alone, joint_labels.labels, targets, settings.decode)
        if decode["decode"] == "joint":
            decoder, unseen = fit.fit(), joint_labels
    reports, automated = {}, {}
    for i, (column, classes) in enumerate(space.columns.items()):
        labels, known, target = unseen.labels[column], targets[:, i] != NO_LABEL, settings.review_target(column)
        confidence = unseen.marginals[column][np.arange(len(labels)), labels][known]
        correct = (labels == targets[:, i])[known]
        automated[column] = [asdict(applied_unseen(confidence, correct, folds[known], t)) for t in (target, *TARGETS)]
        if decoder is not None:
            heads[column] = heads[column].with_thresholds(confidence, correct, target)
            reports[column] = head_report(_logs(unseen.marginals[column]), targets[:, i], classes, labels)
        else:
            reports[column] = head_report(_logs(heads[column].probabilities(by_column[column])), targets[:, i], classes)
    threshold = 0.5
    if TAGS in logits:
        threshold = fit_tag_threshold(1 / (1 + np.exp(-logits[TAGS])), parts.tags)
    fitted_on = {"validation_tickets": len(parts.validation), "data": data}
    return Fitted(Calibration(heads, threshold, fitted_on), decoder, reports, automated, decode)


def joint_fit(logits: Mapping[str, Floats], parts: LabelledParts, settings: ClassifierConfig) -> JointFit:
    """Return what joint decoding is fitted on; logits are by head, (tickets, classes)."""
    space = parts.space
    by_column = {column: logits[column] for column in space.columns}
    return JointFit(by_column, parts.targets, _weightings(parts, settings), pair_information(parts.train, space))


def _weightings(parts: LabelledParts, settings: ClassifierConfig) -> dict[str, Floats]:
    """Return the log of how much more often training saw every class than the data has it, by column, (classes,)."""
    examples = effective_examples(parts.train, parts.space, settings, parts.synthetic)
    return {
        column: np.log([examples[column][label]["effective"] / examples[column][label]["tickets"] for label in classes])
        for column, classes in parts.space.columns.items()
    }


def _fit_heads(
    logits: Mapping[str, Floats], targets: Ints, shares: Mapping[str, Floats], settings: ClassifierConfig
) -> dict[str, HeadCalibration]:
    return {
        column: fit_head(
            values, targets[:, i], shares[column], settings.adjustment_of(column), settings.review_target(column)
        )
        for i, (column, values) in enumerate(logits.items())
    }


def _cross_fit_heads(
    logits: Mapping[str, Floats], targets: Ints, shares: Mapping[str, Floats], settings: ClassifierConfig, folds: Ints
) -> Decoded:
    """Decode every fold, each column alone, by heads that were calibrated on the other folds."""
    parts, row_indices = [], []
    for fold in np.unique(folds):
        held_out = folds == fold
        kept_in = {column: values[~held_out] for column, values in logits.items()}
        heads = _fit_heads(kept_in, targets[~held_out], shares, settings)
        probabilities = {column: heads[column].probabilities(values[held_out]) for column, values in logits.items()}
        parts.append(Decoded({c: p.argmax(axis=1) for c, p in probabilities.items()}, probabilities, None))
        row_indices.append(np.flatnonzero(held_out))
    return Decoded.joined(parts, np.concatenate(row_indices))


def _gain(alone: Mapping[str, Ints], jointly: Mapping[str, Ints], targets: Ints, metric: str) -> dict[str, Any]:
    """Return, and print, in how many tickets all labels are right, one by one and together, and what is chosen."""
    complete = (targets != NO_LABEL).all(axis=1)
    right = [
        np.all([labels == targets[:, i] for i, labels in enumerate(predicted.values())], axis=0)[complete].astype(float)
        for predicted in (alone, jointly)
    ]
    count = len(right[0])
    if count < 2:
        print("decode: under two validation tickets have all labels; nothing is known of the gain", file=sys.stderr)
        return {"decode": "joint" if metric == "joint" else "independent", "tickets": count}
    difference = right[1] - right[0]
    gain, error = float(difference.mean()), float(difference.std(ddof=1) / np.sqrt(count))
    chosen = "joint" if metric == "joint" or gain > error else "independent"
    print(
        f"decode: all labels right in {right[1].mean():.1%} of {count:,} validation tickets jointly, in "
        f"{right[0].mean():.1%} independently; gain {100 * gain:+.1f} points, standard error {100 * error:.1f} "
        f"(cross-fitted); {chosen}",
        file=sys.stderr,
    )
    return {
        "decode": chosen,
        "tickets": count,
        "all_right_joint": float(right[1].mean()),
        "all_right_independent": float(right[0].mean()),
        "gain": gain,
        "standard_error": error,
    }


def _logs(probabilities: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(probabilities, _LEAST)))
