"""Train the generator adapter on replies alone and write a run folder."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import set_seed

from backbone.adapters import LowRank, read_adapter
from backbone.base import BaseIdentity
from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.prompts import label_text, ticket_text
from backbone.runs.files import disk_guard, read_json, sha256
from backbone.runs.folder import verify
from backbone.runs.layout import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    BASE,
    CLASSIFIER,
    CLASSIFIER_PREFIX,
    CONFIG,
    GENERATOR,
    LABELS,
    RUN,
    SAMPLES,
)
from backbone.training import processes
from backbone.training.adapted import save_adapter
from backbone.training.loop import train
from backbone.training.selection import LOSS, check_select_by
from backbone.training.stage import Stage, finish, open_stage
from generator.causal import CausalSamples, build_model, causal_job, save_samples, write_completions
from generator.rouge import rouge_l
from generator.samples import LabelNoise, conditioning_labels, reply_sample, with_replies
from generator.single_prompt.format import REPLY
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.plain_reason import plain_reason
from tickets.schema import Ticket


def train_generator(config: RunConfig, restart: bool = False) -> Path:
    """Train by `config` and return the run folder, config.folder / "generator"."""
    settings = config.generator
    check_select_by(GENERATOR, settings.training, [LOSS])
    confusions = _confusions(config.folder / CLASSIFIER)
    prefix_run = _prefix_classifier(config)
    prefix = {CLASSIFIER_PREFIX: sha256(prefix_run / ADAPTER / ADAPTER_WEIGHTS)} if prefix_run else {}
    stage = open_stage(GENERATOR, config, restart, confusions=json.dumps(confusions), **prefix)
    noise = _label_noise(stage, confusions)
    training, validation = with_replies(stage.train, "training"), with_replies(stage.validation, "validation")
    train_set = encode_replies(stage, training, noise)
    validation_set = encode_replies(stage, validation, noise)
    set_seed(config.seed)  # before the model is built: the adapter starts from it
    model = build_model(stage, _prefix_changes(stage, prefix_run) if prefix_run else None)
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
    return finish(stage, result, generated=score, max_length=settings.training.max_length, **prefix)


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
    prompts, completions = [prompt for prompt, _ in pairs], [completion for _, completion in pairs]
    uses_prefix = stage.config.generator.uses_classifier_prefix
    lengths = [stage.encoder.ticket_end(ids) for ids in prompts] if uses_prefix else None
    return CausalSamples(prompts, completions, [[REPLY] * len(ids) for ids in completions], prefix_lengths=lengths)


def _prefix_classifier(config: RunConfig) -> Path | None:
    """Return the finished classifier run whose adapter processes the tickets; None where the generator's own does."""
    if not config.generator.uses_classifier_prefix:
        return None
    folder = config.folder / CLASSIFIER
    if not (folder / RUN).is_file():
        raise InputError(
            f"generator.reading is classifier, but {folder} holds no finished run; run `duet train-cls` with the same "
            "configuration first, or set generator.reading=own"
        )
    verify(folder)
    return folder


def _prefix_changes(stage: Stage, classifier: Path) -> dict[str, LowRank]:
    """Read the classifier's adapter, after checking that it has this run's base and instruction."""
    base = BaseIdentity.load(classifier / BASE)
    instruction = load_config(classifier / CONFIG, inside=classifier).prompt.instruction
    for what, value, expected in (
        ("base", base.fingerprint, stage.base.fingerprint),
        ("prompt.instruction", instruction, stage.config.prompt.instruction),
    ):
        if value != expected:
            raise InputError(
                f"{classifier}: was trained with another {what} than this generator, which would go on from its "
                "reading; train one of them again on the other's, or set generator.reading=own"
            )
    return read_adapter(classifier / ADAPTER)


def _confusions(folder: Path) -> dict[str, dict[str, Any]]:
    """Return by column the classes and validation confusions of a classifier run; empty where there is none."""
    if not (folder / RUN).is_file():
        return {}
    space = LabelSpace.load(folder / LABELS)
    try:
        reports = read_json(folder / RUN)["calibrated"]
        matrices = {
            column: {"classes": list(classes), "matrix": reports[column]["confusion"]}
            for column, classes in space.columns.items()
        }
        if any(
            np.array(matrix["matrix"], float).shape != (len(matrix["classes"]),) * 2 for matrix in matrices.values()
        ):
            raise ValueError("a matrix of another size")
        return matrices
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / RUN}: no confusions of a classifier ({plain_reason(error)}); train it again"
        ) from None


def _label_noise(stage: Stage, confusions: Mapping[str, Mapping[str, Any]]) -> LabelNoise:
    """Return the label noise of the classifier run beside this one, where there is one."""
    if confusions:
        return LabelNoise.from_confusions(
            {column: tuple(report["classes"]) for column, report in confusions.items()},
            {column: report["matrix"] for column, report in confusions.items()},
        )
    folder = stage.config.folder / CLASSIFIER
    print(
        f"no classifier in {folder} yet: label noise follows class frequencies; run `duet train-cls` first to use "
        "its confusion matrices",
        file=sys.stderr,
    )
    return LabelNoise.from_shares(stage.train, stage.config.classifier.columns)
