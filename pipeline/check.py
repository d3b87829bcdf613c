"""`duet check`: validate a run without starting it and show what it would train on."""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbone.base import ALL_LINEAR, find_base, read_shape
from backbone.config import RunConfig, TrainingConfig
from backbone.dataset import load_part, resolve_data
from backbone.prompts import PromptEncoder
from backbone.weights import class_weights, sampling_weights
from generator.samples import reply_sample
from tickets.labels import LabelSpace
from tickets.schema import Ticket

_GIB = 1024**3
_WEIGHT_BYTES = {"fp32": 4.0, "bf16": 2.0, "nf4": 0.52}  # per parameter of a linear layer; nf4 with double quantisation
_TRAINED_BYTES = 16  # fp32 weight, gradient and two AdamW moments
_CHECKPOINTS = 2
_SAMPLE = 2000  # tickets encoded for lengths: the check has to answer in seconds


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
        """Count the parameters of a Qwen2 configuration."""
        hidden, layers, inner = config["hidden_size"], config["num_hidden_layers"], config["intermediate_size"]
        head = config.get("head_dim") or hidden // config["num_attention_heads"]
        key_value = head * config["num_key_value_heads"]
        sizes = {
            "q_proj": (hidden, hidden),
            "k_proj": (hidden, key_value),
            "v_proj": (hidden, key_value),
            "o_proj": (hidden, hidden),
            "gate_proj": (hidden, inner),
            "up_proj": (hidden, inner),
            "down_proj": (inner, hidden),
        }
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


def check(config: RunConfig) -> str:
    """Everything a run needs, verified, as text for a terminal.

    Raises:
        InputError: what would stop the run.
    """
    data = resolve_data(config.data.path)
    train = load_part(data, "train", config.data.max_train)
    validation = load_part(data, "validation", config.data.max_validation)
    space = LabelSpace.learn(train, config.classifier.columns, config.classifier.max_tags)
    for ticket in validation:
        space.label_ids(ticket)
    class_weights(train, space, config.classifier)
    sampling_weights(train, space, config.classifier)
    base = find_base(config.base.path, config.base.revision)  # last: a hub id is downloaded here
    encoder = PromptEncoder(base, config.prompt.instruction)
    targets = ALL_LINEAR if config.lora.targets == "all-linear" else config.lora.targets
    shape = Shape.of(read_shape(base), targets)
    sections = [
        _describe_base(config, base, shape),
        _describe_labels(train, validation, space),
        _describe_lengths(config, train, encoder),
        _describe_sample(config, train, encoder),
        _describe_cost(config, shape),
    ]
    return "\n\n".join(sections)


def _describe_base(config: RunConfig, base: Path, shape: Shape) -> str:
    total = shape.linear + shape.embedding
    adapter = shape.per_rank * config.lora.rank
    return (
        f"base     {config.base.path} in {config.base.precision}: {total / 1e9:.3g} billion parameters\n"
        f"         {base}\n"
        f"adapter  rank {config.lora.rank}, alpha {config.lora.scale:g}: {adapter / 1e6:.3g} million parameters "
        f"({adapter / total:.2%} of the base)"
    )


def _describe_labels(train: Sequence[Ticket], validation: Sequence[Ticket], space: LabelSpace) -> str:
    lines = [f"data     {len(train):,} training and {len(validation):,} validation tickets"]
    for column, classes in space.columns.items():
        counts = Counter(ticket.labels[column] for ticket in train)
        shown = ", ".join(f"{label} {counts[label]:,}" for label in sorted(classes, key=lambda name: -counts[name]))
        lines.append(f"{column:<9}{len(classes)} classes: {shown}")
        lines += [
            f"         warning: {label} has {counts[label]} training tickets; it will hardly be learnt"
            for label in classes
            if counts[label] < 5
        ]
    lines.append(f"tags     {len(space.tags)} learnt")
    without = sum(not ticket.reply for ticket in train)
    if without:
        lines.append(f"replies  {without:,} training tickets have none; the generator leaves them out")
    if without == len(train):
        lines.append("         warning: none has one: train-cls will work, train-gen will not")
    return "\n".join(lines)


def _describe_lengths(config: RunConfig, train: Sequence[Ticket], encoder: PromptEncoder) -> str:
    step = max(1, len(train) // _SAMPLE)
    sample = train[::step]
    limit = config.classifier.training.max_length
    lengths = sorted(((len(encoder.classifier_prompt(t, 1 << 20).ids), t.id) for t in sample), reverse=True)
    cut = sum(length > limit for length, _ in lengths)
    longest = ", ".join(f"{name} ({length:,})" for length, name in lengths[:3])
    median = lengths[len(lengths) // 2][0]
    return (
        f"lengths  prompt tokens of {len(sample):,} tickets: median {median:,}, longest {longest}\n"
        f"         {cut / len(sample):.1%} are longer than max_length {limit:,} and will be cut"
    )


def _describe_sample(config: RunConfig, train: Sequence[Ticket], encoder: PromptEncoder) -> str:
    """One generator sample, with the part that carries loss marked: what the two adapters see."""
    ticket = next((t for t in train if t.reply), train[0])
    labels = {column: ticket.labels[column] for column in config.classifier.columns}
    limit = config.generator.training.max_length
    prompt, reply = reply_sample(encoder, ticket, labels, limit)
    text = encoder.decode_all(prompt)
    return (
        f"sample   ticket {ticket.id}: {len(prompt)} prompt tokens without loss, {len(reply)} reply tokens with loss\n"
        + _indented(text, "  . ")
        + "\n"
        + _indented(encoder.decode_all(reply), "  L ")
        + f"\n         classifier: the prompt up to its own assistant opening; targets {labels}"
    )


def _indented(text: str, mark: str) -> str:
    return "\n".join(mark + line for line in text.strip("\n").split("\n"))


def _describe_cost(config: RunConfig, shape: Shape) -> str:
    stages = {"classifier": config.classifier.training, "generator": config.generator.training}
    adapter = shape.per_rank * config.lora.rank
    weights = shape.linear * _WEIGHT_BYTES[config.base.precision]
    weights += shape.embedding * (4.0 if config.base.precision == "fp32" else 2.0)
    lines = ["memory   estimated, weights + adapter and optimizer + activations"]
    for name, training in stages.items():
        activations = _activation_bytes(config, shape, training, has_vocabulary_head=name == "generator")
        parts = [weights / _GIB, adapter * _TRAINED_BYTES / _GIB, activations / _GIB]
        lines.append(f"         {name:<11}{' + '.join(f'{part:.1f}' for part in parts)} = {sum(parts):.1f} GiB")
    disk = 2 * adapter * (4 + _CHECKPOINTS * 12)
    free = shutil.disk_usage(_existing_parent(config.folder)).free
    lines.append(f"disk     about {disk / _GIB:.1f} GiB for adapters and checkpoints, {free / _GIB:.0f} GiB free")
    if disk > free:
        lines.append("         warning: not enough; free some space or set output to another disk")
    return "\n".join(lines)


def _activation_bytes(config: RunConfig, shape: Shape, training: TrainingConfig, has_vocabulary_head: bool) -> float:
    """What one batch keeps for the backward pass: inputs of norms, attention and linear layers, and the logits."""
    width = 4 if config.base.compute == "fp32" else 2
    inputs = 6 * shape.hidden + shape.intermediate  # of the seven linear layers
    per_layer = 10 * shape.hidden + 5 * shape.intermediate + (1.5 * inputs if config.lora.dropout else 0)
    kept = shape.layers * shape.hidden + per_layer if config.base.gradient_checkpointing else shape.layers * per_layer
    # bf16 logits, their fp32 copy and its gradient, at reply positions: about half of the tokens
    logits = shape.vocabulary * (width + 8) / 2 if has_vocabulary_head else 0
    return float(training.batch_tokens * (kept * width + logits))


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
