"""Train the generator adapter on replies alone and write a run folder."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel, get_peft_model
from transformers import Qwen2ForCausalLM, set_seed

from backbone.base import autocast, load_options, lora_config, pick_device, prepare_for_training
from backbone.batching import IGNORE, causal_batch
from backbone.buckets import length_buckets
from backbone.config import RunConfig
from backbone.dataset import training_sample
from backbone.progress import track
from backbone.runs import disk_guard, read_json
from backbone.stage import CLASSIFIER, GENERATOR, LABELS, RUN, Stage, finish, open_stage, save_adapter
from backbone.training import TrainingJob, train
from engines.torch import generate_ids
from generator.rouge import rouge_l
from generator.samples import LabelNoise, conditioning_labels, reply_sample, with_replies
from tickets.labels import LabelSpace
from tickets.schema import Ticket

_REPLY_BATCH = 16


@dataclass(frozen=True)
class EncodedReplies:
    """Prompt and completion ids of every ticket."""

    prompts: list[tuple[int, ...]]
    completions: list[list[int]]

    @property
    def lengths(self) -> list[int]:
        """Tokens of prompt and completion."""
        return [len(p) + len(c) for p, c in zip(self.prompts, self.completions, strict=True)]


def train_generator(config: RunConfig, restart: bool = False) -> Path:
    """Train by `config` and return the run folder, config.folder / "generator"."""
    stage = open_stage(GENERATOR, config, restart)
    settings = config.generator
    noise = _label_noise(stage)
    training, validation = with_replies(stage.train, "training"), with_replies(stage.validation, "validation")
    train_set = encode_replies(stage, training, noise)
    validation_set = encode_replies(stage, validation, noise)
    set_seed(config.seed)  # before the model is built: the adapter starts from it
    model = build_model(stage)
    sample = training_sample(len(training), settings.training.loss_sample, config.seed)
    job = TrainingJob(
        model=model,
        lengths=train_set.lengths,
        collate=lambda rows: _batch(train_set, rows, stage.encoder.pad_id),
        evaluate=lambda: _evaluate(model, stage, train_set, validation_set, sample),
        config=settings.training,
        compute=config.base.compute,
        seed=config.seed,
    )
    result = train(job, stage.checkpoints)
    score = _generated_rouge(model, stage, validation, validation_set)
    save_adapter(stage, model)
    with disk_guard(stage.partial):
        LabelSpace(noise.classes).save(stage.partial / LABELS)
        (stage.partial / "samples.jsonl").write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in score.pop("samples")), encoding="utf-8"
        )
    return finish(stage, result, generated=score, max_length=settings.training.max_length)


def build_model(stage: Stage) -> PeftModel:
    """The base as a causal model with a fresh adapter."""
    config = stage.config
    model = Qwen2ForCausalLM.from_pretrained(stage.base_folder, **load_options(config.base, pick_device()))
    prepare_for_training(model, config.base)
    return get_peft_model(model, lora_config(config.lora))


def encode_replies(stage: Stage, tickets: Sequence[Ticket], noise: LabelNoise) -> EncodedReplies:
    """Encode tickets; replies are cut to half of max_length, tickets to what is left."""
    limit = stage.config.generator.training.max_length
    columns = stage.config.classifier.columns
    rng = np.random.default_rng((stage.config.seed, len(tickets)))
    pairs = [
        reply_sample(
            stage.encoder, ticket, conditioning_labels(ticket, columns, noise, stage.config.generator, rng), limit
        )
        for ticket in tickets
    ]
    return EncodedReplies([prompt for prompt, _ in pairs], [completion for _, completion in pairs])


def _label_noise(stage: Stage) -> LabelNoise:
    """From the classifier run beside this one, where there is one."""
    folder = stage.config.folder / CLASSIFIER
    if (folder / RUN).is_file():
        classes = LabelSpace.load(folder / LABELS).columns
        reports = read_json(folder / RUN)["calibrated"]
        return LabelNoise.from_confusions(classes, {column: reports[column]["confusion"] for column in classes})
    print(
        f"no classifier in {folder} yet: label noise is drawn from class shares; train-cls first for its confusions",
        file=sys.stderr,
    )
    return LabelNoise.from_shares(stage.train, stage.config.classifier.columns)


def _batch(replies: EncodedReplies, rows: Sequence[int], pad_id: int) -> dict[str, Any]:
    return causal_batch([replies.prompts[r] for r in rows], [replies.completions[r] for r in rows], pad_id)


def _evaluate(
    model: PeftModel, stage: Stage, training: EncodedReplies, validation: EncodedReplies, sample: Sequence[int]
) -> dict[str, float]:
    loss = _mean_loss(model, stage, validation, range(len(validation.prompts)))
    train_loss = _mean_loss(model, stage, training, sample)
    return {
        "loss": loss,
        "train_loss": train_loss,
        "ratio": loss / max(train_loss, 1e-9),
        "perplexity": math.exp(min(loss, 50.0)),
    }


def _mean_loss(model: PeftModel, stage: Stage, replies: EncodedReplies, rows: Sequence[int]) -> float:
    """Mean cross-entropy per reply token, in nats."""
    rows = list(rows)
    total, count = 0.0, 0
    buckets = length_buckets([replies.lengths[row] for row in rows], stage.config.generator.training.batch_tokens)
    for bucket in track(buckets, "evaluating"):
        batch = _batch(replies, [rows[i] for i in bucket], stage.encoder.pad_id)
        batch = {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        tokens = int((batch["labels"] != IGNORE).sum())
        with autocast(stage.config.base, model.device):
            total += float(model(**batch, use_cache=False).loss) * tokens
        count += tokens
    return total / max(count, 1)


def _generated_rouge(
    model: PeftModel, stage: Stage, tickets: Sequence[Ticket], replies: EncodedReplies
) -> dict[str, Any]:
    """ROUGE-L of replies really generated for the first validation tickets, and those replies."""
    count = min(stage.config.generator.rouge_sample, len(tickets))
    written: list[str] = []
    model.eval()
    for start in track(range(0, count, _REPLY_BATCH), "validation replies"):
        prompts = replies.prompts[start : min(start + _REPLY_BATCH, count)]
        with torch.inference_mode(), autocast(stage.config.base, model.device):
            ids = generate_ids(model, prompts, stage.config.decoding, stage.encoder.pad_id, stage.encoder.end_id)
        written += [stage.encoder.decode(row) for row in ids]
    references = [ticket.reply for ticket in tickets[:count]]
    samples = [
        {"id": ticket.id, "reference": ticket.reply, "generated": text}
        for ticket, text in zip(tickets, written, strict=False)
    ]
    return {"rouge_l": rouge_l(written, references), "replies": count, "samples": samples}
