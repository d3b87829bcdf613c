"""What the generator and the single prompt share: causal samples, their losses by segment, and the job."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model

from backbone.adapters import LowRank
from backbone.architecture import find_family
from backbone.batches import causal_batch
from backbone.config import DecodingConfig, TrainingConfig
from backbone.dataset import training_sample
from backbone.device import autocast, pick_device
from backbone.layers.lora import set_classifier_prefix
from backbone.load import load_options, readable_base
from backbone.progress import track
from backbone.training.adapted import lora_config, prepare_for_training
from backbone.training.evaluation import evaluate_rows
from backbone.training.job import TrainingJob
from backbone.training.stage import Stage
from engines.torch_generate import generate_ids
from generator.model import reply_model_class
from generator.single_prompt.format import UNLABELLED
from tickets.schema import Ticket
from tickets.terminal import json_text

_REPLY_BATCH = 16


@dataclass(frozen=True)
class CausalSamples:
    """Prompt ids, completion ids, the segment of every completion id and, where given, its weight in the loss.

    Attributes:
        prefix_lengths: leading ids of every prompt under the classifier's adapter; None for no prefix.
    """

    prompts: list[Sequence[int]]
    completions: list[list[int]]
    segments: list[list[str]]
    weights: list[list[float]] | None = None
    prefix_lengths: list[int] | None = None

    @property
    def lengths(self) -> list[int]:
        """Tokens of prompt and completion."""
        return [len(p) + len(c) for p, c in zip(self.prompts, self.completions, strict=True)]

    def batch(self, rows: Sequence[int], pad_id: int, packed: bool, weighted: bool = True) -> dict[str, Any]:
        """Return a batch of some rows, packed or padded."""
        weights = [self.weights[row] for row in rows] if self.weights and weighted else None
        prompts, completions = [self.prompts[row] for row in rows], [self.completions[row] for row in rows]
        prefix_lengths = [self.prefix_lengths[row] for row in rows] if self.prefix_lengths else None
        return causal_batch(prompts, completions, pad_id, weights, packed, prefix_lengths)


def build_model(stage: Stage, classifier: Mapping[str, LowRank] | None = None) -> PeftModel:
    """Return the base as a causal model with a fresh adapter, which begins where that of the `classifier` ends."""
    config = stage.config
    base = stage.base_folder
    with readable_base(base):
        model = reply_model_class(find_family(base)).from_pretrained(base, **load_options(config.base, pick_device()))
    prepare_for_training(model, config.base, stage.recompute)
    adapted = get_peft_model(model, lora_config(config.lora))
    if classifier is not None:
        model.adapter_mask = set_classifier_prefix(adapted, classifier)
    return adapted


def causal_job(
    stage: Stage,
    model: PeftModel,
    settings: TrainingConfig,
    training: CausalSamples,
    validation: CausalSamples,
    sampling: Sequence[float] | None = None,
) -> TrainingJob:
    """Return the training of an adapter on completions; `sampling` are the odds of drawing each sample."""
    sample = training_sample(len(training.prompts), settings.loss_sample, stage.config.seed)

    def evaluate() -> dict[str, Any]:
        held_out = _segment_losses(model, stage, settings, validation, range(len(validation.prompts)))
        seen = _segment_losses(model, stage, settings, training, sample)
        loss, train_loss = _mean(held_out), _mean(seen)
        return {
            "loss": loss,
            "train_loss": train_loss,
            "ratio": loss / max(train_loss, 1e-9),
            "perplexity": math.exp(min(loss, 50.0)),
            "segments": held_out,
            "train_segments": seen,
        }

    return TrainingJob(
        model=model,
        lengths=training.lengths,
        collate=lambda rows: training.batch(rows, stage.encoder.pad_id, stage.packed),
        evaluate=evaluate,
        config=settings,
        compute=stage.config.base.compute,
        seed=stage.config.seed,
        weights=sampling,
        packed=stage.packed,
        tensorboard=stage.config.tensorboard,
        section=f"{stage.name}.training",
    )


def write_completions(
    model: PeftModel, stage: Stage, prompts: Sequence[Sequence[int]], decoding: DecodingConfig
) -> list[str]:
    """Return what the model really writes after some prompts."""
    written: list[str] = []
    adapter_mask = model.get_base_model().adapter_mask
    model.eval()
    for start in track(range(0, len(prompts), _REPLY_BATCH), "validation replies"):
        with torch.inference_mode(), autocast(stage.config.base, model.device):
            some = prompts[start : start + _REPLY_BATCH]
            masked = (adapter_mask, [stage.encoder.ticket_end(ids) for ids in some]) if adapter_mask else None
            pad, end = stage.encoder.pad_id, stage.encoder.end_id
            ids = generate_ids(model, some, decoding, pad, end, masked_prefix=masked)
        written += [stage.encoder.decode(row) for row in ids]
    return written


def save_samples(path: Path, tickets: Sequence[Ticket], written: Sequence[str]) -> None:
    """Write what was generated beside the true replies, one JSON object per ticket and line."""
    rows = [
        {"id": ticket.id, "reference": ticket.reply, "generated": text}
        for ticket, text in zip(tickets, written, strict=True)
    ]
    path.write_text("".join(json_text(row) + "\n" for row in rows), encoding="utf-8")


def _segment_losses(
    model: PeftModel, stage: Stage, settings: TrainingConfig, samples: CausalSamples, rows: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Return by segment `tokens`, and `loss`, the mean cross-entropy per token in nats, without weights."""

    def read(output: Any, batch_rows: list[int]) -> list[list[float]]:
        losses = iter(output.losses.tolist())  # row by row, in the order of the completions' ids
        return [[next(losses) for _ in samples.completions[rows[i]]] for i in batch_rows]

    results = evaluate_rows(
        model,
        lengths=[samples.lengths[row] for row in rows],
        batch_tokens=settings.batch_tokens,
        collate=lambda some: samples.batch([rows[i] for i in some], stage.encoder.pad_id, stage.packed, weighted=False),
        read=read,
        context=lambda: autocast(stage.config.base, model.device),
    )
    totals: dict[str, list[float]] = {}
    for row, losses in zip(rows, results, strict=True):
        for segment, loss in zip(samples.segments[row], losses, strict=True):
            if segment == UNLABELLED:
                continue
            total = totals.setdefault(segment, [0, 0.0])
            total[0] += 1
            total[1] += loss
    return {segment: {"tokens": tokens, "loss": loss / tokens} for segment, (tokens, loss) in totals.items()}


def _mean(segments: dict[str, dict[str, float]]) -> float:
    """Return the mean loss per token over all segments."""
    tokens = sum(segment["tokens"] for segment in segments.values())
    return sum(segment["tokens"] * segment["loss"] for segment in segments.values()) / max(tokens, 1)
