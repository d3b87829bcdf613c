"""What a run says of its own training: losses, curves, loss by segment, size and cost."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open

from backbone.architecture import find_family
from backbone.runs.files import read_json
from backbone.runs.layout import ADAPTER, ADAPTER_WEIGHTS, HEADS, METRICS, RUN
from generator.single_prompt.format import REPLY, TAGS, TEMPLATE
from pipeline.model_folder import StageFolder
from tickets.errors import InputError
from tickets.own_json import own_records
from tickets.plain_reason import plain_reason

# the Trainer counts 6 operations per weight and token; frozen weights need no gradient of their own
_LORA_SHARE = 4 / 6


@dataclass(frozen=True)
class LossSegment:
    """One kind of what a model writes: its shares of all tokens and of all loss, and its losses in nats per token."""

    tokens: float
    loss: float
    validation: float
    training: float


@dataclass(frozen=True)
class TrainingFacts:
    """One run.

    Attributes:
        base, family: the name that its base was given, and the base's family; empty where the base is gone.
        curve: (epoch, loss) of the optimised loss; `validation` and `training` are (epoch, loss) in evaluation mode.
        segments: of what is written, by name; labels together.
        reply: of the reply alone, what can be compared across systems; None for a classifier.
        flops: estimated floating-point operations of training, padding and recomputation included; NaN if unknown.
    """

    stage: str
    base: str
    family: str
    rank: int
    epochs: float
    learning_rate: float
    validation_loss: float
    training_loss: float
    ratio: float
    curve: Sequence[tuple[float, float]]
    validation: Sequence[tuple[float, float]]
    training: Sequence[tuple[float, float]]
    segments: Mapping[str, LossSegment]
    reply: LossSegment | None
    trained_parameters: int
    seconds: float
    flops: float


def training_facts(stage: StageFolder) -> TrainingFacts:
    """Read what a run recorded.

    Raises:
        InputError: it did not record that.
    """
    try:
        return _facts(stage)
    except (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{stage.path}: {RUN} or {METRICS} is not what training writes ({plain_reason(error)}); train the run again"
        ) from None


def _facts(stage: StageFolder) -> TrainingFacts:
    record, config = read_json(stage.path / RUN), stage.config
    best, history = record["best"], _history(stage.path)
    settings = getattr(config, record["stage"]).training
    segments = _segments(best)
    return TrainingFacts(
        stage=record["stage"],
        base=stage.base.name,
        family=_family(stage),
        rank=config.lora.rank,
        epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        validation_loss=best["eval_loss"],
        training_loss=best["eval_train_loss"],
        ratio=record["loss_ratio"],
        curve=[(row["epoch"], row["loss"]) for row in history if "loss" in row],
        validation=[(row["epoch"], row["eval_loss"]) for row in history if "eval_loss" in row],
        training=[(row["epoch"], row["eval_train_loss"]) for row in history if "eval_loss" in row],
        segments=segments,
        reply=segments.get(REPLY),
        trained_parameters=sum(map(_parameters, [stage.path / ADAPTER / ADAPTER_WEIGHTS, stage.path / HEADS])),
        seconds=record["seconds"],
        flops=(1.0 if record.get("recomputed") else _LORA_SHARE)
        * next((row["total_flos"] for row in reversed(history) if "total_flos" in row), float("nan")),
    )


def _family(stage: StageFolder) -> str:
    with suppress(InputError):
        return find_family(stage.base_folder()).name
    return ""


def _segments(best: Mapping[str, Any]) -> dict[str, LossSegment]:
    held_out, seen = best.get("eval_segments", {}), best.get("eval_train_segments", {})
    groups: dict[str, list[str]] = {}
    for name in held_out:
        groups.setdefault(name if name in (TEMPLATE, TAGS, REPLY) else "labels", []).append(name)
    tokens = sum(found["tokens"] for found in held_out.values())
    loss = sum(found["tokens"] * found["loss"] for found in held_out.values())
    return {
        group: LossSegment(
            tokens=sum(held_out[name]["tokens"] for name in names) / tokens,
            loss=sum(held_out[name]["tokens"] * held_out[name]["loss"] for name in names) / loss,
            validation=_mean(held_out, names),
            training=_mean(seen, names),
        )
        for group, names in groups.items()
    }


def _mean(segments: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> float:
    tokens = sum(segments[name]["tokens"] for name in names if name in segments)
    return sum(segments[name]["tokens"] * segments[name]["loss"] for name in names if name in segments) / max(tokens, 1)


def _history(folder: Path) -> list[dict[str, Any]]:
    """Return what was measured during training; nothing for a published run, which leaves it out."""
    return list(own_records(folder / METRICS)) if (folder / METRICS).exists() else []


def _parameters(path: Path) -> int:
    """Return numbers in a safetensors file; 0 where there is none."""
    if not path.is_file():
        return 0
    with safe_open(path, "numpy") as tensors:
        sizes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]  # noqa: SIM118  # not a mapping
    return sum(map(math.prod, sizes))
