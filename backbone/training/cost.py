"""What training will cost, from the shape of the base alone: memory, operations, and what follows from them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbone.architecture import linear_sizes, read_shape
from backbone.config import ALL_LINEAR, RunConfig, TrainingConfig
from backbone.device import on_cuda
from backbone.load import check_blocks, unquantised_bytes
from backbone.runs.layout import CLASSIFIER
from backbone.training import processes

CAUSAL_STAGES = ("generator", "baseline")  # stages that train through the vocabulary head
_WEIGHT_BYTES = {"fp32": 4.0, "bf16": 2.0, "nf4": 0.52}  # per parameter of a linear layer; nf4 with double quantisation
_TRAINED_BYTES = 16  # fp32 weight, gradient and two AdamW moments
_LOGIT_BYTES = 1 << 29  # the slice of logits that is at hand, and its gradient
# Peak of a training on the CPU beyond the rest of the estimate: 1.0 GB for the mini, 1.9 and 2.2 for SmolLM2.
_PROGRAM_BYTES = 2.0e9
_HEADROOM = 0.9  # of the free memory: the estimate is one, and memory fragments
_TIMED_SECONDS = 0.3
_CPU_ROWS = 256  # enough for a CPU to reach its rate; a 7B-shaped product of thousands takes it seconds


@dataclass(frozen=True)
class Shape:
    """Parameter counts from a config.json."""

    linear: int
    embedding: int
    hidden: int
    layers: int
    intermediate: int
    vocabulary: int
    per_rank: int  # adapter parameters per unit of rank

    @classmethod
    def of(cls, config: dict[str, Any], targets: Sequence[str]) -> "Shape":
        """Count the parameters of a base by its config.json."""
        hidden, layers, inner = config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]
        sizes = {name.rpartition(".")[2]: size for name, size in linear_sizes(config).items()}
        copies = 1 if config.get("tie_word_embeddings") else 2
        return cls(
            linear=layers * sum(a * b for a, b in sizes.values()),
            embedding=copies * hidden * config["vocab_size"],
            hidden=hidden,
            layers=layers,
            intermediate=inner,
            vocabulary=config["vocab_size"],
            per_rank=layers * sum(sum(sizes[name]) for name in targets),
        )

    @classmethod
    def load(cls, base: Path, config: RunConfig, stage: str = "") -> "Shape":
        """Return the shape of a base under a run's adapter.

        For the classifier, that is the shape of the blocks that it uses.

        Raises:
            InputError: the base has fewer blocks.
        """
        shape = read_shape(base)
        if stage == CLASSIFIER and config.classifier.layers:
            check_blocks(base, config.classifier.layers)
            shape["num_hidden_layers"] = config.classifier.layers
        return cls.of(shape, ALL_LINEAR if config.lora.targets == "all-linear" else config.lora.targets)


@dataclass(frozen=True)
class Memory:
    """Estimated bytes of one stage's training, per device.

    Attributes:
        weights: frozen ones.
        trained: adapter, gradients and optimizer.
        program: on a CPU, the program itself and freed memory that it keeps for the next batch.
    """

    weights: float
    trained: float
    activations: float
    program: float

    @property
    def total(self) -> float:
        return self.weights + self.trained + self.activations + self.program


def stage_settings(config: RunConfig, stage: str) -> TrainingConfig:
    """Return how a stage is optimised."""
    settings: TrainingConfig = getattr(config, stage).training
    return settings


def memory(config: RunConfig, stage: str, shape: Shape, recompute: bool) -> Memory:
    """Return the memory that a stage needs, with or without recomputing activations."""
    weights = shape.linear * _WEIGHT_BYTES[config.base.precision]
    weights += shape.embedding * float(unquantised_bytes(config.base))
    if stage == "generator" and config.generator.uses_classifier_prefix:
        weights += shape.per_rank * config.lora.rank * 4  # the classifier's adapter, at this run's rank
    width = 4 if config.base.compute == "fp32" else 2
    # what one layer keeps for the backward pass: inputs of norms, attention and linear layers, what the adapters hold
    # between their two products, and with dropout their own inputs and masks (a test measures it)
    dropped = 1.5 if config.lora.dropout else 0.0  # inputs of adapters after it, and masks of a byte
    attention = (7 + 4 * dropped) * shape.hidden + 4 * config.lora.rank
    forward = (3 + 2 * dropped) * shape.hidden + (5 + dropped) * shape.intermediate + 3 * config.lora.rank
    per_layer = attention + forward
    # the last feed-forward part runs where states are read: nowhere to speak of, or at the reply, about half of a row
    last = attention + (forward / 2 if stage in CAUSAL_STAGES else 0.0)
    stored_values = shape.layers * shape.hidden + per_layer if recompute else (shape.layers - 1) * per_layer + last
    tokens = stage_settings(config, stage).batch_tokens / processes.world_size()
    logits = min(_LOGIT_BYTES, 8 * shape.vocabulary * tokens)
    return Memory(
        weights=weights,
        trained=float(shape.per_rank * config.lora.rank * _TRAINED_BYTES),
        activations=tokens * stored_values * width + (logits if stage in CAUSAL_STAGES else 0.0),
        program=0.0 if on_cuda() else _PROGRAM_BYTES,
    )


def free_memory() -> float:
    """Return bytes free on the device that trains."""
    import psutil
    import torch

    return float(torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available)


def recomputes(config: RunConfig, stage: str, shape: Shape, available: float | None = None) -> bool:
    """Return whether a stage recomputes activations: as configured, or when keeping them would not fit."""
    setting = config.base.gradient_checkpointing
    if setting != "auto":
        return setting
    room = free_memory() if available is None else available
    return memory(config, stage, shape, recompute=False).total > _HEADROOM * room


def packs(config: RunConfig, stage: str, on_cuda: bool) -> bool:
    """Return whether a stage packs its batches: as configured, or where a kernel for it makes it the faster way."""
    setting = stage_settings(config, stage).packing
    return on_cuda and config.base.compute == "bf16" if setting == "auto" else setting


def operations(config: RunConfig, stage: str, shape: Shape, tokens: float, read: float, recompute: bool) -> float:
    """Return floating-point operations of training on `tokens`, of which `read` are predicted or labelled from.

    Four per frozen parameter and token: two forward, two for the gradient of the input, none for the weight's own; six
    per adapter parameter; two more of each where activations are recomputed. The feed-forward part of the last layer,
    and the vocabulary head, run at the tokens that are read. Attention is left out: under 3 % at the length of tickets.
    """
    extra = 2 if recompute else 0
    adapter = shape.per_rank * config.lora.rank
    last = 3 * shape.hidden * shape.intermediate
    head = 4 * shape.vocabulary * shape.hidden * read if stage in CAUSAL_STAGES else 0.0
    frozen = tokens * (shape.linear - last) + read * last
    return (4 + extra) * frozen + (6 + extra) * adapter * tokens + head


def product_rate(config: RunConfig, shape: Shape, tokens: int) -> float:
    """Measure operations per second of this device, on products of the base's own shape in the compute format."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens = tokens if device.type == "cuda" else min(tokens, _CPU_ROWS)
    dtype = torch.float32 if config.base.compute == "fp32" else torch.bfloat16
    left = torch.randn(tokens, shape.hidden, dtype=dtype, device=device)
    right = torch.randn(shape.intermediate, shape.hidden, dtype=dtype, device=device)

    def seconds() -> float:
        started = time.perf_counter()
        torch.nn.functional.linear(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    fastest, end = seconds(), time.perf_counter() + _TIMED_SECONDS
    while time.perf_counter() < end:  # the first products load kernels, and other processes get in between
        fastest = min(fastest, seconds())
    return 2.0 * tokens * shape.hidden * shape.intermediate / fastest
