"""Train the classifier adapter and heads, calibrate them on validation, and write a run folder."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import set_seed

from backbone.architecture import find_family
from backbone.base import BaseIdentity
from backbone.batches import collate
from backbone.buckets import length_buckets
from backbone.config import RunConfig
from backbone.dataset import training_sample
from backbone.device import autocast, pick_device
from backbone.load import load_options
from backbone.progress import track
from backbone.prompts import ticket_text
from backbone.runs.files import disk_guard, sha256
from backbone.runs.layout import (
    ADAPTER,
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE,
    CALIBRATION,
    CLASSIFIER,
    HEADS,
    LABELS,
    MANIFEST,
)
from backbone.training import processes
from backbone.training.adapted import lora_config, prepare_for_training, save_adapter
from backbone.training.balance import class_weights, effective_examples, sampling_weights
from backbone.training.loop import TrainingJob, train
from backbone.training.selection import check_select_by
from backbone.training.stage import Stage, finish, open_stage
from classifier.calibration import Calibration, fit_head, fit_tag_threshold
from classifier.metrics import Floats, binary_cross_entropy, cross_entropy, head_report, micro_f1, selectable_metrics
from classifier.model import TAGS, ClassifierLoss, head_name, label_model_class
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.schema import Ticket

_HEADS_KEY = "base_model.model.heads.layers."  # what peft puts before the names of the heads' tensors


@dataclass(frozen=True)
class EncodedTickets:
    """Prompt ids and targets of tickets: class ids (tickets, columns) and tag indicators (tickets, tags)."""

    prompts: list[Sequence[int]]
    targets: np.ndarray[Any, np.dtype[np.int64]]
    tags: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def lengths(self) -> list[int]:
        """Tokens of every prompt."""
        return [len(ids) for ids in self.prompts]


def train_classifier(config: RunConfig, init_from: Path | None = None, restart: bool = False) -> Path:
    """Train by `config` and return the run folder, config.folder / "classifier".

    Args:
        init_from: a classifier run whose adapter, and heads where the classes are the same, are the starting point.
    """
    start = _identity(init_from) if init_from else ""
    stage = open_stage(CLASSIFIER, config, restart, init_from=start)
    settings = config.classifier
    space = LabelSpace.learn(stage.train, settings.columns, settings.max_tags)
    training, validation = (encode_tickets(stage, part, space) for part in (stage.train, stage.validation))
    _warn_of_single_examples(stage.train, space)
    check_select_by(CLASSIFIER, settings.training, selectable_metrics(space, stage.validation))
    set_seed(config.seed)  # before the model is built: heads and adapter start from it
    model = build_model(stage, space)
    if init_from is not None:
        _start_from(model, init_from, stage, space)
    sample = training_sample(len(stage.train), settings.training.loss_sample, config.seed)
    job = TrainingJob(
        model=model,
        lengths=training.lengths,
        collate=partial(_collate, training, stage.encoder.pad_id, stage.packed),
        evaluate=lambda: _evaluate(model, stage, space, training, validation, sample),
        config=settings.training,
        compute=stage.config.base.compute,
        seed=config.seed,
        weights=sampling_weights(stage.train, space, settings),
        head_parameters=lambda name: ".heads." in name,
        packed=stage.packed,
        tensorboard=config.tensorboard,
    )
    result = train(job, stage.checkpoints)
    logits = _logits(model, validation, range(len(validation.prompts)), stage, as_served=True)
    calibration = _calibrate(logits, validation, stage, space)
    rest = save_adapter(stage, model)
    if not processes.is_first():
        return stage.folder
    heads = {name.removeprefix(_HEADS_KEY): tensor for name, tensor in rest.items()}
    with disk_guard(stage.partial):
        save_file(heads, stage.partial / HEADS)
        space.save(stage.partial / LABELS)
        calibration.save(stage.partial / CALIBRATION)
    after = {
        column: head_report(_calibrated_logits(calibration, column, logits[column]), validation.targets[:, i], classes)
        for i, (column, classes) in enumerate(space.columns.items())
    }
    examples = effective_examples(stage.train, space, settings)
    return finish(stage, result, calibrated=after, examples=examples, max_length=settings.training.max_length)


def encode_tickets(stage: Stage, tickets: Sequence[Ticket], space: LabelSpace) -> EncodedTickets:
    """Encode tickets and look up their targets.

    Raises:
        InputError: a ticket has a label that training never saw.
    """
    limit = stage.config.classifier.training.max_length
    ids = [space.label_ids(ticket) for ticket in tickets]
    return EncodedTickets(
        prompts=stage.tokens.rows(
            [stage.encoder.fingerprint, "classifier", limit, [ticket_text(ticket) for ticket in tickets]],
            lambda: [stage.encoder.classifier_prompt(ticket, limit).ids for ticket in tickets],
        ),
        targets=np.array([[row[column] for column in space.columns] for row in ids], dtype=np.int64),
        tags=np.array([space.tag_vector(ticket) for ticket in tickets], dtype=np.float32).reshape(len(tickets), -1),
    )


def build_model(stage: Stage, space: LabelSpace) -> PeftModel:
    """The base with a fresh adapter and fresh heads."""
    config = stage.config
    weights = class_weights(stage.train, space, config.classifier)
    loss = ClassifierLoss(
        {column: None if w is None else torch.tensor(w) for column, w in weights.items()},
        config.classifier.label_smoothing,
        config.classifier.tag_weight,
    )
    device = pick_device()
    options = load_options(config.base, device)
    model = label_model_class(find_family(stage.base_folder)).from_pretrained(stage.base_folder, space=space, **options)
    model.heads.float()  # the library casts what it initialises to the base's format
    model.loss = loss.to(device)  # after loading, which builds on the meta device and would leave its buffers empty
    prepare_for_training(model, config.base, stage.recompute)
    return get_peft_model(model, lora_config(config.lora, saved_modules=["heads"]))


def _collate(tickets: EncodedTickets, pad_id: int, packed: bool, rows: list[int]) -> dict[str, Any]:
    batch = collate([tickets.prompts[row] for row in rows], pad_id, packed)
    batch["targets"] = torch.from_numpy(tickets.targets[rows])
    batch["tag_targets"] = torch.from_numpy(tickets.tags[rows])
    return batch


def _logits(
    model: PeftModel, tickets: EncodedTickets, rows: Sequence[int], stage: Stage, as_served: bool = False
) -> dict[str, Floats]:
    """Logits by column, (rows, classes), in evaluation mode; `as_served` without autocast, as engines compute them."""
    settings = stage.config.classifier.training
    rows = list(rows)
    found: dict[int, dict[str, Any]] = {}
    was_training = model.training
    model.eval()
    budget = settings.batch_tokens // processes.count()
    buckets = length_buckets([tickets.lengths[row] for row in rows], budget)
    for bucket in track(processes.share(buckets), "evaluating"):
        batch = collate([tickets.prompts[rows[i]] for i in bucket], stage.encoder.pad_id, stage.packed)
        batch = {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        with torch.no_grad(), nullcontext() if as_served else autocast(stage.config.base, model.device):
            output = model(**batch)
        logits = {column: values.double().cpu().numpy() for column, values in output.logits.items()}
        found |= {row: {column: values[i] for column, values in logits.items()} for i, row in enumerate(bucket)}
    model.train(was_training)
    found = processes.merge(found)
    return {column: np.stack([found[row][column] for row in range(len(rows))]) for column in found[0]}


def _losses(logits: dict[str, Floats], tickets: EncodedTickets, rows: Sequence[int], tag_weight: float) -> float:
    """The training objective without class weights and smoothing."""
    columns = [column for column in logits if column != TAGS]
    total = sum(cross_entropy(logits[column], tickets.targets[rows, i]) for i, column in enumerate(columns))
    if TAGS in logits:
        total += tag_weight * binary_cross_entropy(logits[TAGS], tickets.tags[rows].astype(np.float64))
    return total


def _evaluate(
    model: PeftModel,
    stage: Stage,
    space: LabelSpace,
    training: EncodedTickets,
    validation: EncodedTickets,
    sample: list[int],
) -> dict[str, Any]:
    tag_weight = stage.config.classifier.tag_weight
    everything = list(range(len(validation.prompts)))
    logits = _logits(model, validation, everything, stage)
    loss = _losses(logits, validation, everything, tag_weight)
    train_loss = _losses(_logits(model, training, sample, stage), training, sample, tag_weight)
    metrics: dict[str, Any] = {"loss": loss, "train_loss": train_loss, "ratio": loss / max(train_loss, 1e-9)}
    for i, (column, classes) in enumerate(space.columns.items()):
        report = head_report(logits[column], validation.targets[:, i], classes)
        metrics[f"{column}_accuracy"] = report.pop("accuracy")
        recall = {f"{column}_recall_{label}": value for label, value in report.pop("recall").items()}
        metrics |= {f"{column}_{name}": value for name, value in report.items()} | recall
    metrics["macro_f1"] = float(np.mean([metrics[f"{column}_macro_f1"] for column in space.columns]))
    if TAGS in logits:
        metrics["tags_micro_f1"] = micro_f1(logits[TAGS] > 0, validation.tags > 0.5)
    return metrics


def _calibrate(logits: dict[str, Floats], validation: EncodedTickets, stage: Stage, space: LabelSpace) -> Calibration:
    heads = {}
    for i, (column, classes) in enumerate(space.columns.items()):
        counts = Counter(ticket.labels[column] for ticket in stage.train)
        priors = np.array([counts[label] for label in classes]) / len(stage.train)
        heads[column] = fit_head(logits[column], validation.targets[:, i], priors, stage.config.classifier)
    threshold = 0.5
    if TAGS in logits:
        threshold = fit_tag_threshold(1 / (1 + np.exp(-logits[TAGS])), validation.tags.astype(np.float64))
    return Calibration(heads, threshold, {"validation_tickets": len(stage.validation), "data": stage.data})


def _calibrated_logits(calibration: Calibration, column: str, logits: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(calibration.heads[column].probabilities(logits), 1e-12)))


def _classifier_folder(run: Path) -> Path:
    return run if (run / ADAPTER).is_dir() else run / CLASSIFIER


def _identity(run: Path) -> str:
    """What tells a classifier run from others, by its content; empty where there is none, which is refused later."""
    manifest = _classifier_folder(run) / MANIFEST
    return sha256(manifest) if manifest.is_file() else ""


def _start_from(model: PeftModel, run: Path, stage: Stage, space: LabelSpace) -> None:
    """Load the adapter of an earlier run into `model`, and the heads whose classes are the same.

    Raises:
        InputError: not a classifier run, or one of another base or adapter shape.
    """
    folder = _classifier_folder(run)
    try:
        state = load_file(folder / ADAPTER / ADAPTER_WEIGHTS)
        heads = load_file(folder / HEADS)
        adapter = json.loads((folder / ADAPTER / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"--init-from {run}: not a classifier run ({error}); expected one that train-cls wrote"
        ) from None
    base = BaseIdentity.load(folder / BASE)
    if base.fingerprint != stage.base.fingerprint:
        raise InputError(
            f"--init-from {run}: trained on another base ({base.name}) than this run's {stage.base.name}; set "
            "base.path to it"
        )
    own = model.peft_config["default"]
    for key, found, wanted in (
        ("rank", adapter["r"], own.r),
        ("alpha", adapter["lora_alpha"], own.lora_alpha),
        ("targets", sorted(adapter["target_modules"]), sorted(own.target_modules)),
    ):
        if found != wanted:
            raise InputError(
                f"--init-from {run}: its {key} is {found}, this run's {wanted}; use --set lora.{key}={found}"
            )
    earlier = LabelSpace.load(folder / LABELS)
    same = {column for column in space.columns if earlier.columns.get(column) == space.columns[column]}
    same |= {TAGS} if earlier.tags == space.tags else set()
    fresh = model.base_model.model.heads.modules_to_save["default"].layers.state_dict()
    kept = {name: heads[name] for name in fresh if head_name(name) in same}
    set_peft_model_state_dict(model, state | {f"{_HEADS_KEY}{name}": tensor for name, tensor in (fresh | kept).items()})
    renewed = sorted({head_name(name) for name in fresh if name not in kept})
    if renewed:
        print(f"--init-from: {', '.join(renewed)} start fresh, their classes differ", file=sys.stderr)


def _warn_of_single_examples(tickets: Sequence[Ticket], space: LabelSpace) -> None:
    for column in space.columns:
        counts = Counter(ticket.labels[column] for ticket in tickets)
        single = [label for label, count in counts.items() if count == 1]
        if single:
            print(
                f"warning: {column}: {', '.join(map(repr, sorted(single)))} with one training ticket, expected "
                "several; it will hardly be learnt; add tickets, or merge the label before `duet prepare`",
                file=sys.stderr,
            )
