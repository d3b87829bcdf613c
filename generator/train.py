"""Train the generator adapter on replies alone and write a run folder."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import set_seed

from backbone import processes
from backbone.config import RunConfig
from backbone.prompts import label_text, ticket_text
from backbone.runs import disk_guard, read_json
from backbone.selection import LOSS, check_select_by
from backbone.stage import CLASSIFIER, GENERATOR, LABELS, RUN, SAMPLES, Stage, finish, open_stage, save_adapter
from backbone.training import train
from generator.causal import CausalSamples, build_model, causal_job, save_samples, write_completions
from generator.multitask import REPLY
from generator.rouge import rouge_l
from generator.samples import LabelNoise, conditioning_labels, reply_sample, with_replies
from tickets.labels import LabelSpace
from tickets.schema import Ticket


def train_generator(config: RunConfig, restart: bool = False) -> Path:
    """Train by `config` and return the run folder, config.folder / "generator"."""
    settings = config.generator
    check_select_by(GENERATOR, settings.training, [LOSS])
    confusions = _confusions(config.folder / CLASSIFIER)
    stage = open_stage(GENERATOR, config, restart, confusions=json.dumps(confusions))
    noise = _label_noise(stage, confusions)
    training, validation = with_replies(stage.train, "training"), with_replies(stage.validation, "validation")
    train_set = encode_replies(stage, training, noise)
    validation_set = encode_replies(stage, validation, noise)
    set_seed(config.seed)  # before the model is built: the adapter starts from it
    model = build_model(stage)
    result = train(causal_job(stage, model, settings.training, train_set, validation_set), stage.checkpoints)
    answered = validation[: settings.rouge_sample]
    written = write_completions(model, stage, validation_set.prompts[: len(answered)], config.decoding)
    save_adapter(stage, model)
    if not processes.is_first():
        return stage.folder
    with disk_guard(stage.partial):
        LabelSpace(noise.classes).save(stage.partial / LABELS)
        save_samples(stage.partial / SAMPLES, answered, written)
    score = {"rouge_l": rouge_l(written, [ticket.reply for ticket in answered]), "replies": len(answered)}
    return finish(stage, result, generated=score, max_length=settings.training.max_length)


def encode_replies(stage: Stage, tickets: Sequence[Ticket], noise: LabelNoise) -> CausalSamples:
    """Encode tickets; replies are cut to half of max_length, tickets to what is left."""
    limit = stage.config.generator.training.max_length
    columns = stage.config.classifier.columns
    rng = np.random.default_rng((stage.config.seed, len(tickets)))
    shown = [conditioning_labels(ticket, columns, noise, stage.config.generator, rng) for ticket in tickets]
    texts = [[ticket_text(t), label_text(labels), t.reply] for t, labels in zip(tickets, shown, strict=True)]
    pairs = stage.tokens.rows(
        [stage.encoder.fingerprint, "generator", limit, texts],
        lambda: [reply_sample(stage.encoder, t, labels, limit) for t, labels in zip(tickets, shown, strict=True)],
    )
    completions = [completion for _, completion in pairs]
    return CausalSamples([prompt for prompt, _ in pairs], completions, [[REPLY] * len(ids) for ids in completions])


def _confusions(folder: Path) -> dict[str, dict[str, Any]]:
    """By column, the classes and the validation confusion matrix of a classifier run; empty where there is none."""
    if not (folder / RUN).is_file():
        return {}
    reports = read_json(folder / RUN)["calibrated"]
    return {
        column: {"classes": list(classes), "matrix": reports[column]["confusion"]}
        for column, classes in LabelSpace.load(folder / LABELS).columns.items()
    }


def _label_noise(stage: Stage, confusions: Mapping[str, Mapping[str, Any]]) -> LabelNoise:
    """From the classifier run beside this one, where there is one."""
    if confusions:
        return LabelNoise.from_confusions(
            {column: tuple(found["classes"]) for column, found in confusions.items()},
            {column: found["matrix"] for column, found in confusions.items()},
        )
    folder = stage.config.folder / CLASSIFIER
    print(
        f"no classifier in {folder} yet: label noise is drawn from class shares; train-cls first for its confusions",
        file=sys.stderr,
    )
    return LabelNoise.from_shares(stage.train, stage.config.classifier.columns)
