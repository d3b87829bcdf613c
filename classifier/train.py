"""Train the classifier adapter and heads, calibrate them on validation, and write a run folder."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import set_seed

from backbone.architecture import find_family
from backbone.config import RunConfig
from backbone.dataset import training_sample
from backbone.device import pick_device
from backbone.load import load_options
from backbone.runs.files import disk_guard
from backbone.runs.layout import (
    CALIBRATION,
    CLASSIFIER,
    HEADS,
    LABELS,
)
from backbone.training import processes
from backbone.training.adapted import lora_config, prepare_for_training, save_adapter
from backbone.training.balance import class_weights, effective_examples, sampling_weights
from backbone.training.job import TrainingJob
from backbone.training.loop import train
from backbone.training.selection import check_select_by
from backbone.training.stage import Stage, finish, open_stage
from classifier.calibration import Calibration, fit_head, fit_tag_threshold
from classifier.encoded import EncodedTickets, encode_tickets
from classifier.evaluation import compute_logits, evaluate, selectable_metrics
from classifier.heads import TAGS
from classifier.label_checks import labelled_tickets, training_warnings, validation_warnings
from classifier.metrics import Floats, head_report
from classifier.model import label_model_class
from classifier.objective import ClassifierLoss
from classifier.warm_start import HEADS_KEY, run_identity, start_from
from tickets.labels import LabelSpace


def train_classifier(config: RunConfig, init_from: Path | None = None, restart: bool = False) -> Path:
    """Train by `config` and return the run folder, config.folder / "classifier".

    Args:
        init_from: a classifier run whose adapter, and heads where the classes are the same, are the starting point.
    """
    start = run_identity(init_from) if init_from else ""
    stage = open_stage(CLASSIFIER, config, restart, init_from=start)
    settings = config.classifier
    space = LabelSpace.learn(stage.train, settings.columns, settings.max_tags)
    stage = replace(stage, train=labelled_tickets(stage.train, space, "training"))
    stage = replace(stage, validation=labelled_tickets(stage.validation, space, "validation"))
    training, validation = (encode_tickets(stage, part, space) for part in (stage.train, stage.validation))
    for warning in [*training_warnings(stage.train, space), *validation_warnings(stage.validation, space)]:
        print(f"warning: {warning}", file=sys.stderr)
    check_select_by(CLASSIFIER, settings.training, selectable_metrics(space, stage.validation))
    set_seed(config.seed)  # before the model is built: heads and adapter start from it
    model = build_model(stage, space)
    if init_from is not None:
        start_from(model, init_from, stage, space)
    sample = training_sample(len(stage.train), settings.training.loss_sample, config.seed)
    job = TrainingJob(
        model=model,
        lengths=training.lengths,
        collate=lambda rows: training.batch(rows, stage.encoder.pad_id, stage.packed),
        evaluate=lambda: evaluate(model, stage, space, training, validation, sample),
        config=settings.training,
        compute=stage.config.base.compute,
        seed=config.seed,
        weights=sampling_weights(stage.train, space, settings),
        head_parameters=lambda name: ".heads." in name,
        packed=stage.packed,
        tensorboard=config.tensorboard,
    )
    result = train(job, stage.checkpoints)
    logits = compute_logits(model, validation, range(len(validation.prompts)), stage, as_served=True)
    calibration = _calibrate(logits, validation, stage, space)
    rest = save_adapter(stage, model)
    if not processes.is_first():
        return stage.folder
    heads = {name.removeprefix(HEADS_KEY): tensor for name, tensor in rest.items()}
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


def _calibrate(logits: dict[str, Floats], validation: EncodedTickets, stage: Stage, space: LabelSpace) -> Calibration:
    heads = {}
    for i, (column, classes) in enumerate(space.columns.items()):
        counts = Counter(ticket.labels.get(column) for ticket in stage.train)
        priors = np.array([counts[label] for label in classes]) / (len(stage.train) - counts[None])
        heads[column] = fit_head(logits[column], validation.targets[:, i], priors, stage.config.classifier)
    threshold = 0.5
    if TAGS in logits:
        threshold = fit_tag_threshold(1 / (1 + np.exp(-logits[TAGS])), validation.tags.astype(np.float64))
    return Calibration(heads, threshold, {"validation_tickets": len(stage.validation), "data": stage.data})


def _calibrated_logits(calibration: Calibration, column: str, logits: Floats) -> Floats:
    return np.asarray(np.log(np.maximum(calibration.heads[column].probabilities(logits), 1e-12)))
