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
from functools import partial
from pathlib import Path
from typing import Any

from backbone.prompts import PromptEncoder
from bench.cpu_tools import (
    bandwidth,
    common,
    in_process,
    labels_per_second,
    medians,
    memory,
    mini_bundle,
    quietly,
    read_per_token,
    warm,
)
from bench.cpu_work import QUANT, RANK, STAGES, Work, engine, load_work, make_files, timed, tokens
from engines.cores import usable_cores
from engines.protocols import SharedPrefix
from engines.writing import write_all


def row_answers(scratch: Path, count: int) -> dict[str, Any]:
    """Time labels and the full answer, one ticket at a time, both systems on our engine, prefixes computed."""
    encoder, work = load_work(scratch, count)
    long_prefix = common([ticket.single.ids for ticket in work])
    ours: dict[str, list[float]] = {"labels": [], "answer": [], "answer, read once": []}
    single: dict[str, list[float]] = {"labels": [], "labels and tags": [], "answer": []}
    two = engine(scratch, encoder, encoder.prefix)
    warm(two, work)
    for ticket in work:
        labels, reply = _both_stages(two, encoder, [ticket])
        ours["labels"].append(labels)
        ours["answer"].append(labels + reply)
        ours["answer, read once"].append(sum(_both_stages(two, encoder, [ticket], once=True)))
    del two
    alone = engine(scratch, encoder, long_prefix)
    warm(alone, work)
    for ticket in work:
        marks: list[float] = []
        start = time.perf_counter()
        total = tokens(ticket.labels_and_tags + ticket.heading + ticket.reply)
        write_all(alone, [ticket.single.ids], "generator", total, lambda *_, m=marks: m.append(time.perf_counter()))
        single["labels"].append(marks[ticket.labels - 1] - start)
        single["labels and tags"].append(marks[ticket.labels_and_tags - 1] - start)
        single["answer"].append(marks[-1] - start)
    return {"two-stage": medians(ours), "single-prompt": medians(single), "tickets": count}


def _both_stages(two: Any, encoder: PromptEncoder, work: Sequence[Work], once: bool = False) -> tuple[float, float]:
    """Return the seconds for all labels and all replies; with `once` replies reuse the KV cache of the labels."""
    classifier, generator = [ticket.classifier.ids for ticket in work], [ticket.generator.ids for ticket in work]
    counts = [encoder.ticket_end(ids) for ids in generator]
    limits = [tokens(ticket.reply) for ticket in work]
    shared_prefix = SharedPrefix("classifier", counts) if once else None
    return (
        timed(lambda: two.encode_and_cache(classifier, "classifier", counts if once else [0] * len(work))),
        timed(lambda: write_all(two, generator, "generator", limits, shared_prefix=shared_prefix)),
    )


def row_batch(scratch: Path, count: int, once: bool = False) -> dict[str, Any]:
    """Measure our answers per hour, all tickets at once; every ticket read once or for each stage."""
    encoder, work = load_work(scratch, count)
    max_rows = min(count, 64)
    two = engine(scratch, encoder, encoder.prefix, sequences=max_rows, cells=max_rows * 320)
    warm(two, work[:1])
    labels, replies = _both_stages(two, encoder, work, once)
    return {"tickets": count, "labels s": labels, "replies s": replies, "per hour": 3600 * count / (labels + replies)}


def row_default(scratch: Path, count: int, **settings: Any) -> dict[str, Any]:
    """Measure answers per hour of the single prompt through llama-cpp-python's `Llama()`, ticket by ticket."""
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
    for ticket in work:
        token_count = ticket.labels_and_tags + ticket.heading + ticket.reply
        prompt = list(ticket.single.ids)
        seconds.append(timed(partial(model.create_completion, prompt, max_tokens=token_count, temperature=0.0)))
    model.reset()
    ids = (list(work[0].single.ids) * 8)[:256]
    prefill = len(ids) / timed(lambda: model.eval(ids))
    return {"tickets": count, "per hour": 3600 * count / sum(seconds), "prefill tokens/s": prefill}


def row_threads(scratch: Path, count: int) -> dict[str, Any]:
    """Measure the same with all cores for decoding and flash attention."""
    cores = usable_cores()
    return row_default(scratch, count, n_threads=cores, n_threads_batch=cores, flash_attn=True)


def row_rates(scratch: Path, _count: int) -> dict[str, Any]:
    """Measure prefill, decoding, bandwidth and resident memory, without and with repacking."""
    size = (scratch / f"base.{QUANT}.gguf").stat().st_size
    rates: dict[str, Any] = {"bandwidth GB/s": bandwidth(), "file GB": size / 1e9}
    rates["token GB"] = read_per_token(scratch)
    for name, options in (("plain", {}), ("repacked", {"repack": True}), ("read, not mapped", {"map_file": False})):
        asked = ["--row", "_rates", "--scratch", str(scratch), "--options", json.dumps(options)]
        rates[name] = json.loads(in_process(asked))
    return rates


def row__rates(scratch: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Measure one setting of `rates`."""
    encoder, work = load_work(scratch, 2)
    llama = engine(scratch, encoder, encoder.prefix, sequences=1, cells=2048, **options)
    warm(llama, work)
    resident = memory("self")["VmRSS"]
    ids = (list(work[0].single.ids) * 8)[:256]
    labels = timed(lambda: llama.encode([ids], "classifier"))
    prefill = 256 / timed(lambda: llama._prefill([(ids, 0, len(STAGES))]))  # those before hold the prefixes
    llama._context.forget(len(STAGES))
    marks: list[float] = []
    write_all(llama, [work[0].generator.ids], "generator", tokens(33), lambda *_: marks.append(time.perf_counter()))
    decode = 32 / (marks[-1] - marks[0])
    return {"prefill": prefill, "prefill with labels": 256 / labels, "decode": decode, "resident GB": resident}


def row_decode(scratch: Path, _count: int) -> dict[str, Any]:
    """Measure the decoding of several sequences together, tokens/s."""
    encoder, work = load_work(scratch, 64)
    rates = {}
    for max_rows in (8, 32, 64):
        many = engine(scratch, encoder, encoder.prefix, sequences=max_rows, cells=max_rows * 64)
        prompts = [ticket.generator.ids[:24] for ticket in work[:max_rows]]
        marks: list[float] = []
        write_all(many, prompts, "generator", tokens(12), lambda *_, m=marks: m.append(time.perf_counter()))
        steady = marks[max_rows:]  # after every sequence has its first token
        rates[str(max_rows)] = (len(steady) - 1) / (steady[-1] - steady[0])
        del many
    return rates


def row_onnx(scratch: Path, count: int) -> dict[str, Any]:
    """Measure labels per second on the mini bundle, same batches: torch fp32, ONNX fp32, ONNX int8, GGUF."""
    from backbone.dataset import load_part, resolve_data
    from backbone.runs.layout import CLASSIFIER
    from engines.kv_allocator import ContextSizes
    from engines.llama import LlamaEngine
    from engines.onnx import OnnxEngine
    from pipeline.engine_choice import EngineChoice
    from pipeline.export.bundle import ONNX_FP32, ONNX_INT8
    from pipeline.model_folder import open_model
    from pipeline.two_stage import load_two_stage

    bundle = mini_bundle(scratch)
    model = open_model(bundle)
    encoder = model.stages[CLASSIFIER].encoder
    prompts = [encoder.classifier_prompt(t, 512).ids for t in load_part(resolve_data("sample"), "test", count)]
    adapter = {CLASSIFIER: bundle / "classifier.lora.gguf"}
    sizes = ContextSizes(max_rows=16, cells=8192)
    engines: dict[str, Any] = {
        "torch fp32": load_two_stage(model, labels_only=True, choice=EngineChoice("torch")).label_engine,
        "ONNX fp32": OnnxEngine(bundle / ONNX_FP32),
        "ONNX int8": OnnxEngine(bundle / ONNX_INT8),
        "GGUF q8_0": LlamaEngine(bundle / "base.q8_0.gguf", adapter, {CLASSIFIER: encoder.prefix}, (), sizes),
    }
    rates: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(5):  # in turn, so that what else the machine does falls on all of them
        for name, backend in engines.items():
            rates[name].append(labels_per_second(backend, prompts))
    return {"tickets": len(prompts), **{name: statistics.median(values) for name, values in rates.items()}}


def row_cold(scratch: Path, _count: int) -> dict[str, Any]:
    """Measure the seconds from starting a process to its labels, median of five, mini bundle."""
    bundle = mini_bundle(scratch)
    example = "tickets/sample/examples/network.txt"
    seconds = {}
    for name in ("onnx", "llama", "torch"):
        command = [sys.executable, "cli.py", "predict", example, "--labels-only", "--model", str(bundle)]
        seconds[name] = statistics.median(timed(partial(quietly, [*command, "--engine", name])) for _ in range(5))
    return seconds


def row_export(scratch: Path, count: int) -> dict[str, Any]:
    """Measure seconds and peak memory of `duet export` of a run on the 7B shape, checked on so many tickets.

    Resident memory counts the pages of mapped files; memory without files is reported beside it, sampled once a second.
    """
    from bench.shapes import QWEN2_7B, write_random_run

    run, out = scratch / "run", scratch / "bundle"
    if not (run / "generator").is_dir():
        write_random_run(scratch / "base", QWEN2_7B, RANK, run)
    command = [sys.executable, "cli.py", "export", "--model", str(run), "--out", str(out), "--quant", QUANT]
    start = time.perf_counter()
    anonymous_peak = peak = 0.0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen([*command, "--check", str(count)], stdout=output, stderr=output)
        while process.poll() is None:
            resident = memory(process.pid)
            anonymous_peak, peak = (
                max(anonymous_peak, resident.get("RssAnon", 0.0)),
                max(peak, resident.get("VmHWM", 0.0)),
            )
            time.sleep(1)
        seconds = time.perf_counter() - start
        output.seek(0)
        output_lines = output.read().splitlines()
    return {
        "tickets": count,
        "seconds": seconds,
        "peak GB": peak,
        "peak without mapped files GB": anonymous_peak,
        "exit code": process.returncode,
        "last line": output_lines[-1] if output_lines else "",
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
            result = json.loads(in_process(["--row", name, "--scratch", str(arguments.scratch)]))
            (arguments.scratch / f"{name}.json").write_text(json.dumps(result, indent=2))
            print(name, json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
