"""Train the classifier adapter and heads, calibrate them on validation, and write a run folder."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import set_seed

from backbone.architecture import find_family
from backbone.config import RunConfig
from backbone.dataset import training_sample
from backbone.device import pick_device
from backbone.load import first_blocks, load_options, readable_base
from backbone.runs.files import disk_guard
from backbone.runs.folder import paths_written_for
from backbone.runs.layout import (
    CALIBRATION,
    CLASSIFIER,
    HEADS,
    JOINT,
    LABELS,
)
from backbone.training import processes
from backbone.training.adapted import lora_config, prepare_for_training, save_adapter
from backbone.training.balance import class_weights, effective_examples, sampling_weights
from backbone.training.job import TrainingJob
from backbone.training.loop import train
from backbone.training.selection import check_select_by
from backbone.training.stage import Stage, finish, open_stage
from classifier.encoded import encode_tickets
from classifier.evaluation import compute_logits, evaluate, selectable_metrics
from classifier.fitting import LabelledParts, fit_on_validation
from classifier.label_checks import check_decode, labelled_tickets, training_warnings, validation_warnings
from classifier.loss import ClassifierLoss
from classifier.model import label_model_class
from classifier.warm_start import HEADS_KEY, classifier_folder, run_identity, start_from
from tickets.labels import LabelSpace
from tickets.sources import refuse_overlap


def train_classifier(config: RunConfig, init_from: Path | None = None, restart: bool = False) -> Path:
    """Train by `config` and return the run folder, config.folder / "classifier".

    Args:
        init_from: a classifier run whose adapter, and heads where the classes are the same, are the starting point.
    """
    start = ""
    if init_from:
        start = run_identity(init_from)
        refuse_overlap([classifier_folder(init_from)], paths_written_for(config.folder / CLASSIFIER), "output")
    stage = open_stage(CLASSIFIER, config, restart, init_from=start)
    settings = config.classifier
    space = LabelSpace.learn(stage.train, settings.columns, settings.max_tags)
    check_decode(space, settings.decode)
    stage = replace(stage, train=labelled_tickets(stage.train, space, "training"))
    stage = replace(stage, synthetic=[ticket for ticket in stage.synthetic if space.is_labelled(ticket)])
    stage = replace(stage, validation=labelled_tickets(stage.validation, space, "validation"))
    # synthetic tickets come last, so that the rows of real ones are what they are without them
    training = encode_tickets(stage, [*stage.train, *stage.synthetic], space)
    validation = encode_tickets(stage, stage.validation, space)
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
        weights=sampling_weights(stage.train, space, settings, stage.synthetic),
        head_parameters=lambda name: ".heads." in name,
        packed=stage.packed,
        tensorboard=config.tensorboard,
        section=f"{CLASSIFIER}.training",
    )
    result = train(job, stage.checkpoints)
    logits = compute_logits(model, validation, range(len(validation.prompts)), stage, as_served=True)
    other_tensors = save_adapter(stage, model)
    if not processes.is_first():
        return stage.folder
    parts = LabelledParts(stage.train, stage.validation, space, stage.synthetic)
    fitted = fit_on_validation(logits, parts, settings, stage.data)
    heads = {name.removeprefix(HEADS_KEY): tensor for name, tensor in other_tensors.items()}
    with disk_guard(stage.partial):
        save_file(heads, stage.partial / HEADS)
        space.save(stage.partial / LABELS)
        fitted.calibration.save(stage.partial / CALIBRATION)
        if fitted.decoder is not None:
            fitted.decoder.save(stage.partial / JOINT)
    return finish(
        stage,
        result,
        calibrated=fitted.reports,
        automated=fitted.automated,
        decode=fitted.decode,
        examples=effective_examples(stage.train, space, settings, stage.synthetic),
        max_length=settings.training.max_length,
    )


def build_model(stage: Stage, space: LabelSpace) -> PeftModel:
    """Return the base with a fresh adapter and fresh heads."""
    config = stage.config
    weights = class_weights(stage.train, space, config.classifier)
    loss = ClassifierLoss.for_training(
        config.classifier, {column: None if w is None else torch.tensor(w) for column, w in weights.items()}
    )
    device = pick_device()
    options = load_options(config.base, device)
    base = stage.base_folder
    with readable_base(base):
        model = label_model_class(find_family(base)).from_pretrained(
            base, space=space, **first_blocks(base, config.classifier.layers), **options
        )
    model.heads.float()  # the library casts what it initialises to the base's format
    model.loss = loss.to(device)  # after loading, which builds on the meta device and would leave its buffers empty
    prepare_for_training(model, config.base, stage.recompute)
    return get_peft_model(model, lora_config(config.lora, saved_modules=["heads"]))
