"""Speed and memory of the CPU bundle on the full Qwen2-7B shape, and of labels on the mini bundle.

    make bench-cpu                                    # everything; over an hour on two cores, 35 GB of scratch disk
    python bench/cpu.py --row answers --tickets 5     # one row

Weights are random: speed does not depend on them, but they never emit an end token, so every system writes exactly as
many tokens as the real label block and the real reply of the ticket have. Both systems run on the same Q4_K_M base with
rank-32 adapters. Every row runs in a process of its own; results are kept as JSON files in the scratch folder.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backbone.config import DecodingConfig
from backbone.config_file import load_config
from backbone.prompts import Prompt, PromptEncoder
from engines.cores import usable_cores
from engines.protocols import SharedPrefix
from generator.single_prompt.format import REPLY, TAGS, baseline_encoder, multitask_sample
from tickets.cleaning import Cleaner
from tickets.labels import LabelSpace
from tickets.rows import Source
from tickets.schema import Ticket

TICKETS = Path("../shared/data/tickets.csv")
STAGES = ("classifier", "generator")
QUANT = "q4_k_m"
RANK = 32
COLUMNS = ("type", "queue", "priority")


@dataclass(frozen=True)
class Work:
    """One ticket as both systems see it, with the lengths they have to write."""

    classifier: Prompt
    generator: Prompt
    single: Prompt
    labels: int
    labels_and_tags: int
    heading: int
    reply: int


def load_work(scratch: Path, count: int) -> tuple[PromptEncoder, list[Work]]:
    """The English tickets of median length, encoded."""
    source, cleaner = Source.open(str(TICKETS)), Cleaner()
    tickets = [source.ticket(source.cells(row), i, cleaner) for i, row in enumerate(source.rows, start=1)]
    tickets = [ticket for ticket in tickets if ticket.language == "en" and ticket.reply]
    config = load_config(None)
    two_stage = PromptEncoder(scratch / "base", config.prompt.instruction)
    single = baseline_encoder(scratch / "base", LabelSpace.learn(tickets, COLUMNS), config)
    work = [_work(ticket, two_stage, single) for ticket in tickets]
    work.sort(key=lambda one: len(one.classifier.ids) + one.reply)
    middle = len(work) // 2
    return two_stage, work[middle - count // 2 : middle - count // 2 + count]


def _work(ticket: Ticket, two_stage: PromptEncoder, single: PromptEncoder) -> Work:
    labels = {column: ticket.labels[column] for column in COLUMNS}
    prompt, written, segments = multitask_sample(single, ticket, COLUMNS, 2048)
    tags, reply = segments.index(TAGS), segments.index(REPLY)
    tags_end = len(segments) - segments[::-1].index(TAGS)
    return Work(
        two_stage.classifier_prompt(ticket, 1024),
        two_stage.generator_prompt(ticket, labels, 1024),
        Prompt(prompt, False),
        labels=tags - len(two_stage.encode_text("\n- Tags:")),
        labels_and_tags=tags_end,
        heading=reply - tags_end,
        reply=len(written) - reply,
    )


def make_files(scratch: Path) -> None:
    """Base, quantised GGUF and adapters, unless they are there."""
    from backbone.gguf_files import write_adapter, write_base
    from bench.shapes import QWEN2_7B, random_adapter, write_random_base
    from engines.llama_api import quantize

    scratch.mkdir(parents=True, exist_ok=True)
    if not (scratch / "base" / "config.json").is_file():
        write_random_base(scratch / "base", QWEN2_7B)
    for seed, stage in enumerate(STAGES):
        if not (scratch / f"{stage}.lora.gguf").is_file():
            write_adapter(random_adapter(QWEN2_7B, RANK, seed), scratch / f"{stage}.lora.gguf", scratch / "base", stage)
    target, half = scratch / f"base.{QUANT}.gguf", scratch / "base.f16.gguf"
    if not target.is_file():
        write_base(scratch / "base", half, "Qwen2-7B shape, random")
        quantize(half, target, QUANT)
        half.unlink()


def engine(scratch: Path, encoder: PromptEncoder, prefix: Sequence[int], **options: Any) -> Any:
    """The llama engine with both adapters; the single-prompt system uses the generator's."""
    from engines.llama import LlamaEngine
    from engines.llama_api import LlamaOptions

    adapters = {stage: scratch / f"{stage}.lora.gguf" for stage in STAGES}
    prefixes = {"classifier": encoder.prefix, "generator": list(prefix)}
    return LlamaEngine(scratch / f"base.{QUANT}.gguf", adapters, prefixes, (), LlamaOptions(**options))


def timed(action: Callable[[], Any]) -> float:
    """Seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def tokens(count: int) -> DecodingConfig:
    """Write exactly so many: random weights never end."""
    return DecodingConfig(max_new_tokens=count)


def row_answers(scratch: Path, count: int) -> dict[str, Any]:
    """Time to labels and to the full answer, one ticket at a time, both systems on our engine, prefixes computed."""
    encoder, work = load_work(scratch, count)
    long_prefix = _common([one.single.ids for one in work])
    ours: dict[str, list[float]] = {"labels": [], "answer": [], "answer, read once": []}
    single: dict[str, list[float]] = {"labels": [], "labels and tags": [], "answer": []}
    two = engine(scratch, encoder, encoder.prefix)
    _warm(two, work)
    for one in work:
        labels, reply = _both_stages(two, encoder, [one])
        ours["labels"].append(labels)
        ours["answer"].append(labels + reply)
        ours["answer, read once"].append(sum(_both_stages(two, encoder, [one], once=True)))
    del two
    alone = engine(scratch, encoder, long_prefix)
    _warm(alone, work)
    for one in work:
        marks: list[float] = []
        start = time.perf_counter()
        total = tokens(one.labels_and_tags + one.heading + one.reply)
        alone.generate([one.single.ids], "generator", total, lambda *_, m=marks: m.append(time.perf_counter()))
        single["labels"].append(marks[one.labels - 1] - start)
        single["labels and tags"].append(marks[one.labels_and_tags - 1] - start)
        single["answer"].append(marks[-1] - start)
    return {"two-stage": _medians(ours), "single-prompt": _medians(single), "tickets": count}


def _both_stages(two: Any, encoder: PromptEncoder, work: Sequence[Work], once: bool = False) -> tuple[float, float]:
    """Seconds for all labels and for all replies; with `once` replies go on from what was read for labels."""
    classifier, generator = [one.classifier.ids for one in work], [one.generator.ids for one in work]
    counts = [encoder.ticket_end(ids) for ids in generator]
    limits, shared_prefix = [tokens(one.reply) for one in work], SharedPrefix("classifier", counts) if once else None
    return (
        timed(lambda: two.encode_and_cache(classifier, "classifier", counts if once else [0] * len(work))),
        timed(lambda: two.generate(generator, "generator", limits, shared_prefix=shared_prefix)),
    )


def row_batch(scratch: Path, count: int, once: bool = False) -> dict[str, Any]:
    """Answers per hour, ours, all tickets at once; every ticket read once or for each stage."""
    encoder, work = load_work(scratch, count)
    places = min(count, 64)
    two = engine(scratch, encoder, encoder.prefix, sequences=places, cells=places * 320)
    _warm(two, work[:1])
    labels, replies = _both_stages(two, encoder, work, once)
    return {"tickets": count, "labels s": labels, "replies s": replies, "per hour": 3600 * count / (labels + replies)}


def row_default(scratch: Path, count: int, **settings: Any) -> dict[str, Any]:
    """Answers per hour, single-prompt through llama-cpp-python's `Llama()`, one ticket after the other."""
    import llama_cpp

    _, work = load_work(scratch, count)
    model = llama_cpp.Llama(
        str(scratch / f"base.{QUANT}.gguf"),
        lora_path=str(scratch / "generator.lora.gguf"),
        n_ctx=1024,
        verbose=False,
        **settings,
    )
    model.create_completion(list(work[0].single.ids), max_tokens=2, temperature=0.0)
    seconds = []
    for one in work:
        wanted = one.labels_and_tags + one.heading + one.reply
        prompt = list(one.single.ids)
        seconds.append(timed(partial(model.create_completion, prompt, max_tokens=wanted, temperature=0.0)))
    model.reset()
    ids = (list(work[0].single.ids) * 8)[:256]
    prefill = len(ids) / timed(lambda: model.eval(ids))
    return {"tickets": count, "per hour": 3600 * count / sum(seconds), "prefill tokens/s": prefill}


def row_threads(scratch: Path, count: int) -> dict[str, Any]:
    """The same with all cores for decoding and flash attention."""
    cores = usable_cores()
    return row_default(scratch, count, n_threads=cores, n_threads_batch=cores, flash_attn=True)


def row_rates(scratch: Path, _count: int) -> dict[str, Any]:
    """Prefill, decoding of one sequence and of several, bandwidth, and resident memory, without and with repacking."""
    size = (scratch / f"base.{QUANT}.gguf").stat().st_size
    found: dict[str, Any] = {"bandwidth GB/s": _bandwidth(), "file GB": size / 1e9}
    found["token GB"] = _read_per_token(scratch)
    for name, options in (("plain", {}), ("repacked", {"repack": True}), ("read, not mapped", {"map_file": False})):
        asked = ["--row", "_rates", "--scratch", str(scratch), "--options", json.dumps(options)]
        found[name] = json.loads(_in_process(asked))
    return found


def row__rates(scratch: Path, options: dict[str, Any]) -> dict[str, Any]:
    """One setting of `rates`."""
    encoder, work = load_work(scratch, 2)
    one = engine(scratch, encoder, encoder.prefix, sequences=1, cells=2048, **options)
    _warm(one, work)
    resident = _memory("self")["VmRSS"]
    ids = (list(work[0].single.ids) * 8)[:256]
    labels = timed(lambda: one.encode([ids], "classifier"))
    prefill = 256 / timed(lambda: one._decode([(ids, 0, one._free[0])]))
    one._context.forget(one._free[0])
    marks: list[float] = []
    one.generate([work[0].generator.ids], "generator", tokens(33), lambda *_: marks.append(time.perf_counter()))
    decode = 32 / (marks[-1] - marks[0])
    return {"prefill": prefill, "prefill with labels": 256 / labels, "decode": decode, "resident GB": resident}


def row_decode(scratch: Path, _count: int) -> dict[str, Any]:
    """Decoding of several sequences together, tokens/s."""
    encoder, work = load_work(scratch, 64)
    found = {}
    for places in (8, 32, 64):
        many = engine(scratch, encoder, encoder.prefix, sequences=places, cells=places * 64)
        prompts = [one.generator.ids[:24] for one in work[:places]]
        marks: list[float] = []
        many.generate(prompts, "generator", tokens(12), lambda *_, m=marks: m.append(time.perf_counter()))
        steady = marks[places:]  # after every sequence has its first token
        found[str(places)] = (len(steady) - 1) / (steady[-1] - steady[0])
        del many
    return found


def row_onnx(scratch: Path, count: int) -> dict[str, Any]:
    """Labels per second on the mini bundle, same batches: torch fp32, ONNX fp32, ONNX int8, GGUF."""
    from backbone.dataset import load_part, resolve_data
    from backbone.runs.layout import CLASSIFIER
    from engines.llama import LlamaEngine
    from engines.llama_api import LlamaOptions
    from engines.onnx import OnnxEngine
    from pipeline.engine_choice import torch_engine
    from pipeline.export.bundle import ONNX_FP32, ONNX_INT8
    from pipeline.model_folder import open_model

    bundle = _mini_bundle(scratch)
    model = open_model(bundle)
    encoder = model.stages[CLASSIFIER].encoder()
    prompts = [encoder.classifier_prompt(t, 512).ids for t in load_part(resolve_data("sample"), "test", count)]
    adapter = {CLASSIFIER: bundle / "classifier.lora.gguf"}
    options = LlamaOptions(sequences=16, cells=8192)
    engines: dict[str, Any] = {
        "torch fp32": torch_engine(model, [CLASSIFIER]),
        "ONNX fp32": OnnxEngine(bundle / ONNX_FP32),
        "ONNX int8": OnnxEngine(bundle / ONNX_INT8),
        "GGUF q8_0": LlamaEngine(bundle / "base.q8_0.gguf", adapter, {CLASSIFIER: encoder.prefix}, (), options),
    }
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(5):  # in turn, so that what else the machine does falls on all of them
        for name, one in engines.items():
            rates[name].append(_labels_per_second(one, prompts))
    return {"tickets": len(prompts), **{name: statistics.median(values) for name, values in rates.items()}}


def row_cold(scratch: Path, _count: int) -> dict[str, Any]:
    """Seconds from starting a process to its labels, median of five, mini bundle."""
    bundle = _mini_bundle(scratch)
    example = "tickets/sample/examples/network.txt"
    found = {}
    for name in ("onnx", "llama", "torch"):
        command = [sys.executable, "cli.py", "predict", example, "--labels-only", "--model", str(bundle)]
        found[name] = statistics.median(timed(partial(_quietly, [*command, "--engine", name])) for _ in range(5))
    return found


def row_export(scratch: Path, count: int) -> dict[str, Any]:
    """`duet export` of a run on the 7B shape, checked on so many tickets: seconds and peak memory of the process.

    Resident memory counts the pages of mapped files; what is not file is told beside it, sampled once a second.
    """
    from bench.shapes import QWEN2_7B, write_random_run

    run, out = scratch / "run", scratch / "bundle"
    if not (run / "generator").is_dir():
        write_random_run(scratch / "base", QWEN2_7B, RANK, run)
    command = [sys.executable, "cli.py", "export", "--model", str(run), "--out", str(out), "--quant", QUANT]
    start = time.perf_counter()
    own = whole = 0.0
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen([*command, "--check", str(count)], stdout=told, stderr=told)
        while process.poll() is None:
            found = _memory(process.pid)
            own, whole = max(own, found.get("RssAnon", 0.0)), max(whole, found.get("VmHWM", 0.0))
            time.sleep(1)
        seconds = time.perf_counter() - start
        told.seek(0)
        said = told.read().splitlines()
    return {
        "tickets": count,
        "seconds": seconds,
        "peak GB": whole,
        "peak without mapped files GB": own,
        "exit code": process.returncode,
        "last line": said[-1] if said else "",
    }


ROWS: dict[str, tuple[Callable[..., dict[str, Any]], int]] = {
    "cold": (row_cold, 1),
    "onnx": (row_onnx, 512),
    "rates": (row_rates, 1),
    "decode": (row_decode, 1),
    "answers": (row_answers, 5),
    "default": (row_default, 4),
    "threads": (row_threads, 4),
    "batch": (row_batch, 64),
    "once": (partial(row_batch, once=True), 64),
    "export": (row_export, 8),
}


def main() -> None:
    """Run the rows that were asked for and print their results as JSON, one line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, default=Path("runs/bench-cpu"))
    parser.add_argument("--row", help="one of " + ", ".join(ROWS))
    parser.add_argument("--tickets", type=int, help="how many tickets the row uses")
    parser.add_argument("--options", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row == "_rates":
        print(json.dumps(row__rates(arguments.scratch, json.loads(arguments.options))))
    elif arguments.row:
        action, usual = ROWS[arguments.row]
        print(json.dumps(action(arguments.scratch, arguments.tickets or usual)))
    else:
        make_files(arguments.scratch)
        for name in ROWS:
            result = json.loads(_in_process(["--row", name, "--scratch", str(arguments.scratch)]))
            (arguments.scratch / f"{name}.json").write_text(json.dumps(result, indent=2))
            print(name, json.dumps(result), flush=True)


def _in_process(arguments: list[str]) -> str:
    """Run this script and return the last line it prints."""
    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1]


def _quietly(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _warm(one: Any, work: Sequence[Work]) -> None:
    """Read the weights once and compute the prefixes."""
    one.encode([work[0].classifier.ids[:24]], "classifier")
    one.generate([work[0].generator.ids[:24]], "generator", tokens(1))


def _medians(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items()}


def _common(rows: Sequence[Sequence[int]]) -> list[int]:
    n = 0
    while all(row[n] == rows[0][n] for row in rows):
        n += 1
    return list(rows[0][:n])


def _bandwidth() -> float:
    """GB/s of reading memory with all cores."""
    import torch

    block = torch.ones(1 << 29)
    block.sum()
    return max(block.numel() * 4 / timed(lambda: block.sum()) / 1e9 for _ in range(5))


def _read_per_token(scratch: Path) -> float:
    """GB that one token of one sequence reads: all weights but the table of embeddings, and the adapter."""
    from gguf import GGUFReader

    tensors = [t for name in (f"base.{QUANT}.gguf", "generator.lora.gguf") for t in GGUFReader(scratch / name).tensors]
    return float(sum(tensor.n_bytes for tensor in tensors if tensor.name != "token_embd.weight")) / 1e9


def _memory(process: int | str) -> dict[str, float]:
    """What the kernel says of a process's memory, GB, by its own names; nothing when the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return {}
    parts = [line.split() for line in lines if line.endswith(" kB")]
    return {part[0].rstrip(":"): int(part[1]) * 1024 / 1e9 for part in parts}


def _labels_per_second(one: Any, prompts: Sequence[Sequence[int]]) -> float:
    batches = [prompts[i : i + 64] for i in range(0, len(prompts), 64)]
    return len(prompts) / timed(lambda: np.concatenate([one.encode(batch, "classifier") for batch in batches]))


def _mini_bundle(scratch: Path) -> Path:
    from pipeline.export.export import ExportOptions, export

    out = scratch / "mini"
    if not out.is_dir():
        scratch.mkdir(parents=True, exist_ok=True)
        export(ExportOptions(None, out, quant="q8_0", onnx=True))
    return out


if __name__ == "__main__":
    main()
