"""The ways of training that bench/train.py compares, each run once in a process of its own."""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import Trainer

import backbone.training.job
import classifier.model
import classifier.train
import generator.causal
import generator.model
import generator.train
from backbone.base import find_base
from backbone.batches import IGNORE, pad_left
from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.device import on_cuda, resolve_formats
from backbone.layers import lora
from backbone.process_memory import peak_resident
from backbone.training import loop
from backbone.training.cost import Shape, operations, product_rate
from backbone.training.job import TrainingJob
from backbone.training.trainer import StageTrainer

_TICKETS = 16  # in the library's batches
_OURS = ("ours", "without-liger", "compiled")
STAGES: dict[str, Callable[[RunConfig], Path]] = {
    "classifier": classifier.train.train_classifier,
    "generator": generator.train.train_generator,
}


class _Trained(Exception):
    """Ends a stage after its training."""


class _Meter:
    """Counts what the training steps of this process do, and how long they take."""

    def __init__(self) -> None:
        self.tickets = self.tokens = self.loss_tokens = 0
        self._losses: list[float] = []
        self._started = self._ended = 0.0

    @property
    def seconds(self) -> float:
        """From the first step's start to the last one's end."""
        return self._ended - self._started

    def around(self, step: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """Return `training_step`, metered."""

        def metered(trainer: Any, model: Any, inputs: dict[str, Any], *rest: Any, **options: Any) -> torch.Tensor:
            self._started = self._started or time.perf_counter()
            positions = inputs["position_ids"]
            mask = inputs.get("attention_mask")
            self.tickets += positions.shape[0] if mask is not None else int((positions == 0).sum())
            self.tokens += positions.numel() if mask is None else int(mask.sum())
            labels = inputs.get("shift_labels", inputs.get("labels"))
            self.loss_tokens += 0 if labels is None else int((labels != IGNORE).sum())
            loss = step(trainer, model, inputs, *rest, **options)
            self._losses.append(float(loss))  # waits for the device
            self._ended = time.perf_counter()
            return loss

        return metered

    def figures(self) -> dict[str, float]:
        """Return the rates over the measured seconds, and the mean loss of a step."""
        return {
            "tickets_per_second": self.tickets / self.seconds,
            "loss_tokens_per_second": self.loss_tokens / self.seconds,
            "training_loss": statistics.mean(self._losses),
        }


class LibraryBatches(StageTrainer):
    """Our stage with the library's own batches: a fixed number of tickets, in random order or grouped by length."""

    strategy = "random"

    def __init__(self, job: TrainingJob, *rest: Any, **options: Any) -> None:
        super().__init__(job, *rest, **options)
        self.train_dataset = [{"row": i, "input_ids": range(length)} for i, length in enumerate(job.lengths)]
        self.data_collator = lambda items: job.collate([item["row"] for item in items])
        self.args.train_sampling_strategy = self.strategy
        self._train_batch_size = _TICKETS if job.config.accumulation == 1 else self.args.per_device_train_batch_size
        self.args.eval_steps = self.args.save_steps = 10**9  # the evaluation after the last step is enough

    def get_train_dataloader(self) -> Any:
        """Return the library's own."""
        return Trainer.get_train_dataloader(self)


def _full_batch(samples: Any, rows: Sequence[int], pad_id: int, packed: bool, weighted: bool = True) -> dict[str, Any]:
    """Return what most people give to a causal model: labels over the whole width, logits everywhere."""
    sequences = [[*samples.prompts[row], *samples.completions[row]] for row in rows]
    batch: dict[str, Any] = dict(pad_left(sequences, pad_id))
    labels = torch.full_like(batch["input_ids"], IGNORE)
    for i, row in enumerate(rows):
        labels[i, -len(samples.completions[row]) :] = torch.tensor(samples.completions[row])
    return batch | {"labels": labels, "use_cache": False}


class _ReadsAfterwards:
    """Mixed into the last block: it is computed at every position, as the library has it, and read at some."""

    def forward(self, hidden_states: torch.Tensor, positions: torch.Tensor | None = None, **rest: Any) -> torch.Tensor:
        """Map (batch, seq, hidden) to the same, or to (1, positions, hidden)."""
        states: torch.Tensor = super().forward(hidden_states, **rest)
        return states if positions is None else states.flatten(0, 1)[positions].unsqueeze(0)


def _install_nothing(decoder: Any) -> None:
    """Leave attention, norms and blocks to the library; only read the last block at the wanted positions."""
    block = decoder.layers[-1]
    block.__class__ = type("Last", (_ReadsAfterwards, type(block)), {})


def measure(name: str, overrides: Sequence[str]) -> dict[str, float]:
    """Train once in one of the ways and return its figures.

    Ways: ours; grouped and plain, with the library's batches; full, with full logits; published, with both, plain. All
    these but ours have torch's attention, Qwen2's norms, peft's own layers and a last block that is computed
    everywhere. Two more are ours: without-liger, also where its kernels are installed, and compiled, by torch.
    """
    stage, _, way = name.partition(":")
    if way == "without-liger":
        backbone.training.job.uses_liger = lambda: False
    if way == "compiled":
        os.environ["ACCELERATE_DYNAMO_BACKEND"] = "inductor"
    meter = _Meter()
    Trainer.training_step = meter.around(Trainer.training_step)
    if way not in _OURS:
        classifier.model.install = generator.model.install = _install_nothing
        lora.FusedLoraLinear = peft.tuners.lora.Linear
    if way in ("grouped", "plain", "published"):
        loop.StageTrainer = LibraryBatches
        LibraryBatches.strategy = "group_by_length" if way == "grouped" else "random"
    if way in ("full", "published"):
        generator.causal.reply_model_class = lambda family: family.transformers_class("ForCausalLM")
        generator.causal.CausalSamples.batch = _full_batch
    figures: dict[str, float] = {}

    def train(job: TrainingJob, folder: Path) -> Any:
        if stage != "classifier" or on_cuda():  # figures of speed alone
            job = replace(job, evaluate=lambda: {"loss": 1.0, "train_loss": 1.0})
        figures["validation_loss"] = loop.train(job, folder).best["eval_loss"]
        raise _Trained

    classifier.train.train = generator.train.train = train
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(_Trained):
        config = load_config(None, [*overrides, f"output={folder}/run"])
        config = config.model_copy(update={"base": resolve_formats(config.base)})
        STAGES[stage](config)
    figures["peak"] = float(torch.cuda.max_memory_allocated() if on_cuda() else peak_resident())
    shape = Shape.load(find_base(config.base.path), config)
    positions = meter.tickets if stage == "classifier" else meter.loss_tokens
    useful = operations(config, stage, shape, meter.tokens, positions, recompute=False)
    figures["useful_flops"] = useful / meter.seconds
    figures["product_flops"] = product_rate(config, shape, getattr(config, stage).training.batch_tokens)
    return figures | meter.figures()
