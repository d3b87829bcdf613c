"""Train the single prompt: one adapter that writes labels, tags and reply from one prompt."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transformers import set_seed

from backbone.config import RunConfig
from backbone.prompts import single_prompt_text
from backbone.runs.files import disk_guard
from backbone.runs.layout import BASELINE, LABELS, SAMPLES
from backbone.training import processes
from backbone.training.adapted import save_adapter
from backbone.training.balance import class_weights, effective_examples, sampling_weights
from backbone.training.loop import train
from backbone.training.selection import LOSS, check_select_by
from backbone.training.stage import Stage, finish, open_stage
from generator.causal import CausalSamples, build_model, causal_job, save_samples, write_completions
from generator.rouge import rouge_l
from generator.samples import with_replies
from generator.single_prompt.format import (
    UNLABELLED,
    single_prompt_decoding,
    single_prompt_encoder,
    single_prompt_sample,
    target_parts,
)
from generator.single_prompt.parse import parse_output
from tickets.labels import LabelSpace
from tickets.schema import Ticket


def train_baseline(config: RunConfig, restart: bool = False) -> Path:
    """Train by `config` and return the run folder, config.folder / "baseline"."""
    settings = config.baseline
    check_select_by(BASELINE, settings.training, [LOSS])
    stage = open_stage(BASELINE, config, restart)
    training, validation = with_replies(stage.train, "training"), with_replies(stage.validation, "validation")
    space = LabelSpace.learn(training, config.classifier.columns, config.classifier.max_tags)
    stage = replace(stage, encoder=single_prompt_encoder(stage.base_folder, space, config))
    weights = class_weights(training, space, settings)
    train_set = encode_outputs(stage, training, space, weights)
    validation_set = encode_outputs(stage, validation, space)
    sampling = sampling_weights(training, space, settings)
    set_seed(config.seed)  # before the model is built: the adapter starts from it
    model = build_model(stage)
    result = train(causal_job(stage, model, settings.training, train_set, validation_set, sampling), stage.checkpoints)
    answered = validation[: settings.rouge_sample]
    written = write_completions(model, stage, validation_set.prompts[: len(answered)], single_prompt_decoding(config))
    replies = [parse_output(text, space).reply for text in written]
    save_adapter(stage, model)
    if not processes.is_first():
        return stage.folder
    with disk_guard(stage.partial):
        space.save(stage.partial / LABELS)
        save_samples(stage.partial / SAMPLES, answered, written)
    score = {"rouge_l": rouge_l(replies, [ticket.reply for ticket in answered]), "replies": len(answered)}
    examples = effective_examples(training, space, settings)
    return finish(stage, result, generated=score, examples=examples, max_length=settings.training.max_length)


def encode_outputs(
    stage: Stage,
    tickets: Sequence[Ticket],
    space: LabelSpace,
    weights: dict[str, list[float] | None] | None = None,
) -> CausalSamples:
    """Encode tickets; with class weights, the tokens of a label weigh as much as its class."""
    limit = stage.config.baseline.training.max_length
    columns = tuple(space.columns)
    texts = [[single_prompt_text(ticket), target_parts(ticket, columns)] for ticket in tickets]
    rows = stage.tokens.rows(
        [stage.encoder.fingerprint, "baseline", limit, texts],
        lambda: [single_prompt_sample(stage.encoder, ticket, columns, limit) for ticket in tickets],
    )
    prompts, completions, segments = zip(*rows, strict=True)
    by_column = {column: column_weights for column, column_weights in (weights or {}).items() if column_weights}
    token_weights = None
    if by_column or any(UNLABELLED in names for names in segments):
        token_weights = []
        for ticket, names in zip(tickets, segments, strict=True):
            ids = space.label_ids(ticket)
            of_segment = {column: by_column[column][ids[column]] for column in by_column if ids[column] >= 0}
            of_segment[UNLABELLED] = 0.0
            token_weights.append([of_segment.get(name, 1.0) for name in names])
    return CausalSamples(list(prompts), list(completions), list(segments), token_weights)
