"""`duet check`: validate a run without starting it and show what it would train on."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from backbone.base import find_base
from backbone.config import RunConfig
from backbone.dataset import load_part, load_synthetic, resolve_data
from backbone.device import computes_bf16, on_cuda, resolve_formats, uses_liger
from backbone.prompts import PromptEncoder
from backbone.runs.layout import BASELINE, CLASSIFIER, GENERATOR
from backbone.training.balance import effective_examples
from backbone.training.cost import (
    CAUSAL_STAGES,
    Shape,
    free_memory,
    memory,
    operations,
    packs,
    product_rate,
    recomputes,
    stage_settings,
)
from backbone.training.selection import LOSS, check_select_by
from backbone.training.stage import check_output
from classifier.evaluation import selectable_metrics
from classifier.label_checks import check_decode, labelled_tickets, validation_warnings
from engines.cores import usable_cores
from generator.samples import reply_sample
from generator.single_prompt.format import single_prompt_encoder, single_prompt_sample
from tickets.labels import LabelSpace
from tickets.schema import Ticket

_STAGES = (CLASSIFIER, GENERATOR, BASELINE)
_CHECKPOINTS = 2
_SAMPLE = 2000  # tickets encoded for lengths: the check has to answer in seconds
# share of the rate of its matrix products that a whole step reaches: docs/benchmarks.md; on CUDA a guess
_EFFICIENCY = {("cpu", "fp32"): 0.5, ("cpu", "bf16"): 0.27, ("cuda", "fp32"): 0.5, ("cuda", "bf16"): 0.5}


def check(config: RunConfig) -> str:
    """Verify everything that a run needs, and return it as text for a terminal.

    Raises:
        InputError: what would stop the run.
    """
    config = config.model_copy(update={"base": resolve_formats(config.base)})
    data = resolve_data(config.data.path)
    train = load_part(data, "train", config.data.max_train)
    validation = load_part(data, "validation", config.data.max_validation)
    space = LabelSpace.learn(train, config.classifier.columns, config.classifier.max_tags)
    learnt, judged = (
        labelled_tickets(part, space, name) for part, name in ((train, "training"), (validation, "validation"))
    )
    check_decode(space, config.classifier.decode)
    synthetic = load_synthetic(data, learnt)
    examples = effective_examples(learnt, space, config.classifier, synthetic)
    check_select_by(CLASSIFIER, config.classifier.training, selectable_metrics(space, judged))
    for stage in CAUSAL_STAGES:
        check_select_by(stage, stage_settings(config, stage), [LOSS])
    base = find_base(config.base.path, config.base.revision)  # last: a hub id is downloaded here
    for stage in _STAGES:
        check_output(config, stage, data, base)
    encoder = PromptEncoder(base, config.prompt.instruction)
    shapes = {stage: Shape.load(base, config, stage) for stage in _STAGES}
    sections = [
        _describe_base(config, base, shapes[GENERATOR]),
        _describe_labels(train, validation, space, examples, synthetic),
        _describe_lengths(config, train, encoder),
        _describe_sample(config, train, encoder),
        _describe_active(config, shapes),
        _describe_cost(
            config, shapes, _token_counts(config, train, synthetic, encoder, single_prompt_encoder(base, space, config))
        ),
    ]
    return "\n\n".join(sections)


def _describe_base(config: RunConfig, base: Path, shape: Shape) -> str:
    total = shape.linear + shape.embedding
    adapter = shape.per_rank * config.lora.rank
    slow = "bf16" in (config.base.precision, config.base.compute) and not computes_bf16()
    warning = (
        "\n         warning: this machine has no arithmetic for bf16; base.precision=auto and compute=auto are faster"
    )
    return (
        f"base     {config.base.path} in {config.base.precision}: {total / 1e9:.3g} billion parameters\n"
        f"         {base}\n"
        f"adapter  rank {config.lora.rank}, alpha {config.lora.scale:g}: {adapter / 1e6:.3g} million parameters "
        f"({adapter / total:.2%} of the base)" + (warning if slow else "")
    )


def _describe_labels(
    train: Sequence[Ticket],
    validation: Sequence[Ticket],
    space: LabelSpace,
    examples: Mapping[str, Mapping[str, Mapping[str, float]]],
    synthetic: Sequence[Ticket],
) -> str:
    lines = [f"data     {len(train):,} training and {len(validation):,} validation tickets"]
    if synthetic:
        lines.append(f"         and {len(synthetic):,} synthetic tickets, which train the classifier alone")
    for column, classes in examples.items():
        shown = ", ".join(
            f"{label} {_example_text(examples_of_label)}"
            for label, examples_of_label in sorted(classes.items(), key=lambda p: -p[1]["tickets"])
        )
        lines.append(f"{column:<9}{len(classes)} classes: {shown}")
        lines += [
            f"         warning: {label} has {examples_of_label['tickets']} training tickets; it will hardly be learnt"
            for label, examples_of_label in classes.items()
            if examples_of_label["tickets"] < 5
        ]
    lines += [f"         warning: {text}" for text in validation_warnings(validation, space)]
    unlabelled = sum(not space.is_labelled(ticket) for ticket in train)
    if unlabelled:
        lines.append(f"         {unlabelled:,} training tickets have no label; they train the generator alone")
    if any(round(f["effective"]) != f["tickets"] for classes in examples.values() for f in classes.values()):
        also = " and synthetic tickets" if synthetic else ""
        lines.append(f"         N>M: N tickets count as M in an epoch, by class weights and sampling{also}")
    lines.append(f"tags     {len(space.tags)} learnt")
    without = sum(not ticket.reply for ticket in train)
    if without:
        lines.append(f"replies  {without:,} training tickets have none; the generator leaves them out")
    if without == len(train):
        lines.append("         warning: none has one: train-cls will work, train-gen will not")
    return "\n".join(lines)


def _example_text(examples: Mapping[str, float]) -> str:
    tickets, effective = round(examples["tickets"]), round(examples["effective"])
    return f"{tickets:,}" if tickets == effective else f"{tickets:,}>{effective:,}"


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
    """Return one generator sample, with the part that carries loss marked: what the two adapters see."""
    ticket = next((t for t in train if t.reply), train[0])
    labels = {column: ticket.labels[column] for column in config.classifier.columns if column in ticket.labels}
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


def _describe_active(config: RunConfig, shapes: Mapping[str, Shape]) -> str:
    """Return which of the ways to train faster or in less memory will be in use on this machine."""
    lines = ["active   " + ", ".join(_everywhere(config))]
    for stage in _STAGES:
        parts = ["packed batches" if packs(config, stage, on_cuda()) else "padded batches bucketed by length"]
        parts.append("activations recomputed" if recomputes(config, stage, shapes[stage]) else "activations kept")
        if stage == CLASSIFIER and config.classifier.layers:
            parts.append(f"blocks 1 to {config.classifier.layers} of the base")
        if stage in CAUSAL_STAGES:
            parts.append("vocabulary head at reply tokens alone")
        if stage == GENERATOR and config.generator.uses_classifier_prefix:
            parts.append("tickets read by the classifier's adapter")
        if uses_liger():
            parts.append("Liger kernels")
        lines.append(f"         {stage:<11}{', '.join(parts)}")
    return "\n".join(lines)


def _everywhere(config: RunConfig) -> list[str]:
    parts = [f"{config.base.compute} products", "fused AdamW"]
    parts += ["TF32", "2 data workers, pinned memory"] if on_cuda() else []
    return parts + (["NF4 weights, double quantisation"] if config.base.precision == "nf4" else [])


def _describe_cost(config: RunConfig, shapes: Mapping[str, Shape], counts: Mapping[str, tuple[float, float]]) -> str:
    gib = 1024**3
    program = "" if on_cuda() else " + the program"
    lines = [f"memory   estimated, weights + adapter and optimizer + activations{program}"]
    recompute = {stage: recomputes(config, stage, shapes[stage]) for stage in _STAGES}
    for stage in _STAGES:
        needed = memory(config, stage, shapes[stage], recompute[stage])
        parts = [needed.weights / gib, needed.trained / gib, needed.activations / gib]
        parts += [needed.program / gib] if needed.program else []
        shown = " + ".join(f"{part:.2g}" if part < 1 else f"{part:.1f}" for part in parts)
        lines.append(f"         {stage:<11}{shown} = {needed.total / gib:.1f} GiB of {free_memory() / gib:.0f} free")
    efficiency = _EFFICIENCY["cuda" if on_cuda() else "cpu", config.base.compute]
    products = product_rate(config, shapes[GENERATOR], config.generator.training.batch_tokens)
    measured = f"{products / 1e9:,.0f} GFLOP/s of this machine's matrix products"
    lines.append(f"time     estimated for an epoch, at {efficiency:.0%} of the {measured}")
    lines += _busy()
    rate = products * efficiency
    for stage in _STAGES:
        tokens, read = counts[stage]
        seconds = operations(config, stage, shapes[stage], tokens, read, recompute[stage]) / rate
        lines.append(f"         {stage:<11}{_span(seconds)} for {tokens / 1e6:.3g} million tokens")
    disk = sum(shapes[stage].per_rank for stage in (CLASSIFIER, GENERATOR)) * config.lora.rank * (4 + _CHECKPOINTS * 12)
    free = shutil.disk_usage(_existing_parent(config.folder)).free
    lines.append(f"disk     about {disk / gib:.1f} GiB for adapters and checkpoints, {free / gib:.0f} GiB free")
    if disk > free:
        lines.append("         warning: not enough; free some space or set output to another disk")
    return "\n".join(lines)


def _busy() -> list[str]:
    """Return a warning where other processes take the cores that were measured."""
    if on_cuda() or not hasattr(os, "getloadavg"):
        return []
    load, cores = os.getloadavg()[0], usable_cores()
    if load < cores / 2:
        return []
    return [f"         warning: measured beside others (load {load:.1f} on {cores} cores); alone it is faster"]


def _token_counts(
    config: RunConfig,
    train: Sequence[Ticket],
    synthetic: Sequence[Ticket],
    encoder: PromptEncoder,
    single: PromptEncoder,
) -> dict[str, tuple[float, float]]:
    """Estimate, for an epoch of every stage, all tokens and those that are labelled or predicted from."""
    sample = train[:: max(1, len(train) // _SAMPLE)]
    scale = len(train) / len(sample)
    limits = {stage: stage_settings(config, stage).max_length for stage in _STAGES}
    columns = config.classifier.columns
    prompts = sum(len(encoder.classifier_prompt(ticket, limits[CLASSIFIER]).ids) for ticket in sample)
    more = (len(train) + len(synthetic)) / len(train)  # about as long as the others
    counts = {CLASSIFIER: (more * scale * prompts, more * len(train))}
    answered = [ticket for ticket in sample if ticket.reply]
    samples = {
        GENERATOR: [
            reply_sample(encoder, t, {c: t.labels[c] for c in columns if c in t.labels}, limits[GENERATOR])
            for t in answered
        ],
        BASELINE: [single_prompt_sample(single, t, columns, limits[BASELINE])[:2] for t in answered],
    }
    for stage, pairs in samples.items():
        predicted = scale * sum(len(completion) for _, completion in pairs)
        counts[stage] = (predicted + scale * sum(len(prompt) for prompt, _ in pairs), predicted)
    return counts


def _span(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
