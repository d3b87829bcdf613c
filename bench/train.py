"""Speed and memory of training: ours beside `transformers.Trainer` as it comes, on the same tickets.

    make bench-train      # the CPU rows; those of CUDA are in bench/gpu.py

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
from tickets.preparation.prepare import PrepareOptions, prepare

SOURCE, SCRATCH = "../shared/data/tickets.csv", Path("runs/bench-train")
TINY = {**QWEN2_7B, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4}
TINY |= {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
# what the rows share: one evaluation, after the last step
ONCE = [f"{stage}.training.evaluations_per_epoch=1" for stage in STAGES]


def main() -> None:
    """Print the rows that were asked for, as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", action="append", choices=list(ROWS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments, overrides = parser.parse_known_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.worker, overrides)))
        return
    if not (SCRATCH / "data").is_dir():
        prepare(PrepareOptions(source=SOURCE, out=SCRATCH / "data", languages=("en",)))
    print("| figure | measured | |\n| --- | --- | --- |")
    for row in arguments.row or ["classifier", "generator"]:
        ROWS[row](arguments.repeats)


def _classifier(repeats: int) -> None:
    # a budget of 16 tickets of mean length: as many steps as 16 tickets a batch make
    overrides = [f"data.path={SCRATCH / 'data'}", "data.max_train=600", "classifier.training.epochs=1", *ONCE]
    overrides += ["classifier.training.batch_tokens=2912", "classifier.training.batch_tickets=24"]
    medians = measured(["classifier:ours", "classifier:grouped", "classifier:plain"], overrides, repeats)
    ours, grouped, plain = (medians[name] for name in medians)
    losses = " / ".join(f"{figures['validation_loss']:.3f}" for figures in (ours, grouped, plain))
    for name, other in (("group_by_length", grouped), ("no grouping", plain)):
        rates = f"{ours['tickets_per_second']:.1f} / {other['tickets_per_second']:.1f} tickets/s"
        print(f"| classifier, ours / Trainer, {name} | {_ratio(ours, other, 'tickets_per_second')} | {rates} |")
    print(f"| validation loss after it, ours / grouped / plain | | {losses} |", flush=True)


def _generator(repeats: int) -> None:
    base = SCRATCH / "vocabulary"
    if not (base / "config.json").is_file():
        write_random_base(base, TINY)
    overrides = [f"data.path={SCRATCH / 'data'}", f"base.path={base}", "generator.training.max_steps=6"]
    overrides += ["generator.training.batch_tokens=2560", "generator.training.batch_tickets=8", *ONCE]
    medians = measured(["generator:ours", "generator:full"], overrides, repeats)
    ours, full = (medians[name] for name in medians)
    rates = f"{ours['loss_tokens_per_second']:.0f} / {full['loss_tokens_per_second']:.0f} tokens/s"
    print(
        f"| generator, 152,064 tokens, ours / full logits | {_ratio(ours, full, 'loss_tokens_per_second')} | {rates} |"
    )
    sizes = f"{ours['peak'] / 1e9:.2f} / {full['peak'] / 1e9:.2f} GB"
    print(f"| the same, peak memory | {ours['peak'] / full['peak']:.2f} | {sizes} |")
    print(f"| the same, mean training loss | | {ours['training_loss']:.4f} / {full['training_loss']:.4f} |", flush=True)


def _attention(repeats: int) -> None:
    """Time forwards and backwards on one thread of a CPU, in bf16, 2,900 tokens with heads as the mini base has."""
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
                attended = output if isinstance(output, torch.Tensor) else output[0]
                attended.sum().backward()
                times.append(time.thread_time() - start)
            seconds.append(statistics.median(times))
        rates = f"{1000 * seconds[0]:.0f} / {1000 * seconds[1]:.0f} ms"
        print(f"| attention, {length} tokens, plain products / torch | {seconds[0] / seconds[1]:.2f} | {rates} |")


ROWS: dict[str, Callable[[int], None]] = {
    "attention": _attention,
    "classifier": _classifier,
    "generator": _generator,
}


def measured(names: Sequence[str], overrides: Sequence[str], repeats: int) -> dict[str, dict[str, float]]:
    """Return the medians of each worker's figures over repeats that take turns."""
    by_worker: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            command = [sys.executable, __file__, "--worker", name, *overrides]
            run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            by_worker[name].append(json.loads(run.stdout.splitlines()[-1]))
            print(f"{name}: {by_worker[name][-1]}", file=sys.stderr)
    return {
        name: {key: statistics.median(repeat[key] for repeat in figures) for key in figures[0]}
        for name, figures in by_worker.items()
    }


def _ratio(ours: dict[str, float], other: dict[str, float], key: str) -> str:
    return f"{ours[key] / other[key]:.2f}"


if __name__ == "__main__":
    main()
