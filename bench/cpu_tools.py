"""Measuring processes, memory and bandwidth for the CPU rows."""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.cpu_work import QUANT, Work, timed, tokens
from engines.writing import write_all


def in_process(arguments: list[str]) -> str:
    """Run this script and return the last line it prints."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1]


def quietly(command: list[str]) -> None:
    """Run a command without its output."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def warm(engine: Any, work: Sequence[Work]) -> None:
    """Read the weights once and compute the prefixes."""
    engine.encode([work[0].classifier.ids[:24]], "classifier")
    write_all(engine, [work[0].generator.ids[:24]], "generator", tokens(1))


def medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of every list."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def common(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the ids that all rows begin with."""
    n = 0
    while all(row[n] == rows[0][n] for row in rows):
        n += 1
    return list(rows[0][:n])


def bandwidth() -> float:
    """Return GB/s of reading memory with all cores."""
    import torch

    block = torch.ones(1 << 29)
    block.sum()
    return max(block.numel() * 4 / timed(lambda: block.sum()) / 1e9 for _ in range(5))


def read_per_token(scratch: Path) -> float:
    """Return GB that one token of one sequence reads: all weights but the table of embeddings, and the adapter."""
    from gguf import GGUFReader

    tensors = [t for name in (f"base.{QUANT}.gguf", "generator.lora.gguf") for t in GGUFReader(scratch / name).tensors]
    return float(sum(tensor.n_bytes for tensor in tensors if tensor.name != "token_embd.weight")) / 1e9


def memory(process: int | str) -> dict[str, float]:
    """Return what the kernel says of a process's memory, GB, by its own names; nothing when the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    parts = [line.split() for line in lines if line.endswith(" kB")]
    return {part[0].rstrip(":"): int(part[1]) * 1024 / 1e9 for part in parts}


def labels_per_second(engine: Any, prompts: Sequence[Sequence[int]]) -> float:
    """Return the rate of labelling prompts, 64 at a time."""
    batches = [prompts[i : i + 64] for i in range(0, len(prompts), 64)]
    return len(prompts) / timed(lambda: np.concatenate([engine.encode(batch, "classifier") for batch in batches]))


def mini_bundle(scratch: Path) -> Path:
    """Export the shipped mini model as a bundle, unless that was done before."""
    from pipeline.export.export import export
    from pipeline.export.options import ExportOptions

    out = scratch / "mini"
    if not out.is_dir():
        scratch.mkdir(parents=True, exist_ok=True)
        export(ExportOptions(None, out, quant="q8_0", onnx=True))
    return out
