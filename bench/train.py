"""Speed and memory of training: ours beside `transformers.Trainer` as it comes, on the same tickets.

    make bench-train                                                      # the CPU rows
    PYTHONPATH=. python bench/train.py --row shape --row qlora            # the CUDA rows, Qwen2-7B shape, 15 GB of disk
    PYTHONPATH=. python bench/train.py --row shape --row qlora --small    # the same code on the CPU with a tiny shape

Every system trains in a process of its own, and repeats take turns, so that what else the machine does hits all alike.
Seconds run from the first step's start to the last one's end: loading, evaluation and checkpoints are left out.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from backbone.layers.attention import _plain_attention
from bench.shapes import QWEN2_7B, write_random_base
from bench.train_ways import STAGES, measure
from tickets.prepare import PrepareOptions, prepare

SOURCE, SCRATCH = "../shared/data/tickets.csv", Path("runs/bench-train")
TINY = {**QWEN2_7B, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4}
TINY |= {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
PUBLISHED_TICKETS, PUBLISHED_EPOCHS = 19_782, 3
# what the CPU rows share: one evaluation, after the last step
ONCE = [f"{stage}.training.evaluations_per_epoch=1" for stage in STAGES]
PUBLISHED_FLAGS = ["base.gradient_checkpointing=true", *(f"{stage}.training.packing=false" for stage in STAGES)]
PUBLISHED_FLAGS += [f"{stage}.training.batch_tickets=4" for stage in STAGES]
PUBLISHED_FLAGS += [f"{stage}.training.accumulation=8" for stage in STAGES]


def main() -> None:
    """Print the rows that were asked for, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", action="append", choices=list(ROWS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="a tiny shape in place of the 7B one")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments, overrides = parser.parse_known_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.worker, overrides)))
        return
    if not (SCRATCH / "data").is_dir():
        prepare(PrepareOptions(source=SOURCE, out=SCRATCH / "data", languages=("en",)))
    print("| figure | measured | |\n| --- | --- | --- |")
    for row in arguments.row or ["classifier", "generator"]:
        ROWS[row](arguments.repeats, arguments.small)


def _classifier(repeats: int, small: bool) -> None:
    # a budget of 16 tickets of mean length: as many steps as 16 tickets a batch make
    overrides = [f"data.path={SCRATCH / 'data'}", "data.max_train=600", "classifier.training.epochs=1", *ONCE]
    overrides += ["classifier.training.batch_tokens=2912", "classifier.training.batch_tickets=24"]
    found = _measure(["classifier:ours", "classifier:grouped", "classifier:plain"], overrides, repeats)
    ours, grouped, plain = (found[name] for name in found)
    losses = " / ".join(f"{one['validation_loss']:.3f}" for one in (ours, grouped, plain))
    for name, other in (("group_by_length", grouped), ("no grouping", plain)):
        rates = f"{ours['tickets_per_second']:.1f} / {other['tickets_per_second']:.1f} tickets/s"
        print(f"| classifier, ours / Trainer, {name} | {_ratio(ours, other, 'tickets_per_second')} | {rates} |")
    print(f"| validation loss after it, ours / grouped / plain | | {losses} |", flush=True)


def _generator(repeats: int, small: bool) -> None:
    base = SCRATCH / "vocabulary"
    if not (base / "config.json").is_file():
        write_random_base(base, TINY)
    overrides = [f"data.path={SCRATCH / 'data'}", f"base.path={base}", "generator.training.max_steps=6"]
    overrides += ["generator.training.batch_tokens=2560", "generator.training.batch_tickets=8", *ONCE]
    found = _measure(["generator:ours", "generator:full"], overrides, repeats)
    ours, full = (found[name] for name in found)
    rates = f"{ours['loss_tokens_per_second']:.0f} / {full['loss_tokens_per_second']:.0f} tokens/s"
    print(
        f"| generator, 152,064 tokens, ours / full logits | {_ratio(ours, full, 'loss_tokens_per_second')} | {rates} |"
    )
    sizes = f"{ours['peak'] / 1e9:.2f} / {full['peak'] / 1e9:.2f} GB"
    print(f"| the same, peak memory | {ours['peak'] / full['peak']:.2f} | {sizes} |")
    print(f"| the same, mean training loss | | {ours['training_loss']:.4f} / {full['training_loss']:.4f} |", flush=True)


def _shape(repeats: int, small: bool) -> None:
    base, common = _large_base(small), _large_config(small)
    for stage in STAGES:
        overrides = [*common, f"base.path={base}"]
        flags = [f"{stage}.training.max_steps={4 if small else 30}"]
        found = _measure([f"{stage}:ours"], [*overrides, *flags], repeats)[f"{stage}:ours"]
        flags = [f"{stage}.training.max_steps={1 if small else 4}", *PUBLISHED_FLAGS]
        theirs = _measure([f"{stage}:published"], [*overrides, *flags], repeats)[f"{stage}:published"]
        share = found["useful_flops"] / found["product_flops"]
        rates = f"{found['useful_flops'] / 1e12:.3g} / {found['product_flops'] / 1e12:.3g} TFLOP/s"
        print(f"| {stage}, useful FLOP/s / rate of products | {share:.2f} | {rates} |")
        rates = f"{found['tickets_per_second']:.1f} / {theirs['tickets_per_second']:.1f} tickets/s"
        print(f"| {stage}, ours / the published flags | {_ratio(found, theirs, 'tickets_per_second')} | {rates} |")
        minutes = PUBLISHED_TICKETS * PUBLISHED_EPOCHS / found["tickets_per_second"] / 60
        print(f"| {stage}, minutes for {PUBLISHED_EPOCHS} epochs of {PUBLISHED_TICKETS:,} tickets | {minutes:.1f} | |")
        print(f"| {stage}, peak memory | {found['peak'] / 1e9:.1f} GB | |", flush=True)


def _qlora(repeats: int, small: bool) -> None:
    overrides = [*_large_config(small), f"base.path={_large_base(small)}", "base.precision=nf4"]
    for stage in STAGES:
        flags = [f"{stage}.training.batch_tokens=2048", f"{stage}.training.max_steps={1 if small else 10}"]
        found = _measure([f"{stage}:ours"], [*overrides, *flags, "base.gradient_checkpointing=true"], 1)
        print(f"| {stage}, NF4, peak memory | {found[f'{stage}:ours']['peak'] / 1e9:.1f} GB | |", flush=True)


def _attention(repeats: int, small: bool) -> None:
    """Forwards and backwards on one thread of a CPU, in bf16, about 2,900 tokens with heads as the mini base has."""
    torch.set_num_threads(1)
    for length in (96, 182, 256, 384, 512):
        batch = 2912 // length
        query, key, value = (
            torch.randn(batch, heads, length, 64, dtype=torch.bfloat16, requires_grad=True) for heads in (4, 2, 2)
        )
        allowed = torch.ones(length, length, dtype=torch.bool).tril().expand(batch, 1, -1, -1)
        module: Any = SimpleNamespace(num_key_value_groups=2, is_causal=True)
        seconds = []
        for attend in (_plain_attention, partial(sdpa_attention_forward, module)):
            times = []
            for _ in range(5 * repeats):
                start = time.thread_time()
                output = attend(query, key, value, allowed, scaling=0.125)
                found = output if isinstance(output, torch.Tensor) else output[0]
                found.sum().backward()
                times.append(time.thread_time() - start)
            seconds.append(statistics.median(times))
        rates = f"{1000 * seconds[0]:.0f} / {1000 * seconds[1]:.0f} ms"
        print(f"| attention, {length} tokens, plain products / torch | {seconds[0] / seconds[1]:.2f} | {rates} |")


ROWS: dict[str, Callable[[int, bool], None]] = {
    "attention": _attention,
    "classifier": _classifier,
    "generator": _generator,
    "shape": _shape,
    "qlora": _qlora,
}


def _large_base(small: bool) -> Path:
    base = SCRATCH / ("tiny" if small else "qwen2-7b")
    if not (base / "config.json").is_file():
        write_random_base(base, TINY if small else QWEN2_7B)
    return base


def _large_config(small: bool) -> list[str]:
    overrides = [f"data.path={SCRATCH / 'data'}", "base.precision=bf16", "base.compute=bf16", "lora.rank=64", *ONCE]
    for stage in STAGES:
        budget = 1024 if small else 16384
        overrides += [f"{stage}.training.max_length=1024", f"{stage}.training.batch_tokens={budget}"]
        overrides += [f"{stage}.training.batch_tickets={8 if small else 64}"]
    return overrides


def _measure(names: Sequence[str], overrides: Sequence[str], repeats: int) -> dict[str, dict[str, float]]:
    """Medians of each worker's figures over repeats that take turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            command = [sys.executable, __file__, "--worker", name, *overrides]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(run.stdout.splitlines()[-1]))
            print(f"{name}: {found[name][-1]}", file=sys.stderr)
    return {
        name: {key: statistics.median(one[key] for one in figures) for key in figures[0]}
        for name, figures in found.items()
    }


def _ratio(ours: dict[str, float], other: dict[str, float], key: str) -> str:
    return f"{ours[key] / other[key]:.2f}"


if __name__ == "__main__":
    main()
