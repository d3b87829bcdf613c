"""Evaluating a classifier in training: logits of every ticket, the loss, and what weights may be selected by."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from peft import PeftModel

from backbone.device import autocast
from backbone.training.evaluation import evaluate_rows
from backbone.training.selection import LOSS
from backbone.training.stage import Stage
from classifier.encoded import EncodedTickets
from classifier.head_names import TAGS
from classifier.loss import ClassifierLoss
from classifier.metrics import Floats, head_report, micro_f1
from tickets.labels import NO_LABEL, LabelSpace
from tickets.schema import Ticket


def evaluate(
    model: PeftModel,
    stage: Stage,
    space: LabelSpace,
    training: EncodedTickets,
    validation: EncodedTickets,
    sample: Sequence[int],
) -> dict[str, Any]:
    """Return the losses on validation and on a `sample` of training rows, and every validation metric by name."""
    objective = ClassifierLoss.for_evaluation(stage.config.classifier, space.columns)
    every_row = range(len(validation.prompts))
    logits = compute_logits(model, validation, every_row, stage)
    loss = _loss(objective, logits, validation, every_row)
    train_loss = _loss(objective, compute_logits(model, training, sample, stage), training, sample)
    metrics: dict[str, Any] = {LOSS: loss, "train_loss": train_loss, "ratio": loss / max(train_loss, 1e-9)}
    for i, (column, classes) in enumerate(space.columns.items()):
        report = head_report(logits[column], validation.targets[:, i], classes)
        metrics[f"{column}_accuracy"] = report.pop("accuracy")
        recall = {f"{column}_recall_{label}": value for label, value in report.pop("recall").items()}
        metrics |= {f"{column}_{name}": value for name, value in report.items()} | recall
    labelled = [c for i, c in enumerate(space.columns) if (validation.targets[:, i] != NO_LABEL).any()]
    metrics["macro_f1"] = float(np.mean([metrics[f"{column}_macro_f1"] for column in labelled]))
    if TAGS in logits:
        metrics["tags_micro_f1"] = micro_f1(logits[TAGS] > 0, validation.tags > 0.5)
    return metrics


def compute_logits(
    model: PeftModel, tickets: EncodedTickets, rows: Sequence[int], stage: Stage, as_served: bool = False
) -> dict[str, Floats]:
    """Return logits by head, (rows, classes), in evaluation mode.

    Args:
        as_served: without autocast, as the engines compute them.
    """
    device = model.device

    def read(output: Any, batch_rows: list[int]) -> list[dict[str, Floats]]:
        by_head = {name: values.double().cpu().numpy() for name, values in output.logits.items()}
        return [{name: values[i] for name, values in by_head.items()} for i in range(len(batch_rows))]

    results = evaluate_rows(
        model,
        lengths=[tickets.lengths[row] for row in rows],
        batch_tokens=stage.settings.batch_tokens,
        collate=lambda some: tickets.batch(
            [rows[i] for i in some], stage.encoder.pad_id, stage.packed, with_targets=False
        ),
        read=read,
        context=nullcontext if as_served else lambda: autocast(stage.config.base, device),
    )
    return {name: np.stack([result[name] for result in results]) for name in results[0]}


def selectable_metrics(space: LabelSpace, validation: Sequence[Ticket]) -> list[str]:
    """Return what the best weights may be selected by; a class without validation tickets has no recall."""
    names = [LOSS, "macro_f1"]
    for column, classes in space.columns.items():
        present = {ticket.labels[column] for ticket in validation if column in ticket.labels}
        names += [f"{column}_{name}" for name in ("accuracy", "macro_f1") if present]
        names += [f"{column}_recall_{label}" for label in classes if label in present]
    return names


def _loss(objective: ClassifierLoss, logits: dict[str, Floats], tickets: EncodedTickets, rows: Sequence[int]) -> float:
    """Return the objective of logits by head, (rows, classes)."""
    tensors = {name: torch.from_numpy(values) for name, values in logits.items()}
    targets = tickets.target_tensors(rows)
    return float(objective(tensors, targets["targets"], targets["tag_targets"].double()))
