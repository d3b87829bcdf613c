"""Every CUDA row of docs/benchmarks.md, one after the other, with one command.

    make bench-gpu                                   # all rows that are missing
    PYTHONPATH=. python bench/gpu.py --row liger     # one of them again
    PYTHONPATH=. python bench/gpu.py --small         # the same code on a CPU: a tiny shape, so figures mean nothing

Weights are random, of the shape of Qwen2-7B: speed and memory are those of the real ones. Needs one GPU with 48 GB,
20 GB of disk, and no network. Tickets are those of ../shared/data where it is there, else the built-in ones. Each row
has a process of its own and 8 minutes. A row that is done is kept under runs/bench-gpu, and not measured again on that
GPU. The table goes to docs/benchmarks.md; a row that failed is told in one line there.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from backbone.runs.files import read_json, write_json
from backbone.runs.folder import package_versions
from bench.gpu_rows import PREPARATION, ROWS, SCRATCH, measure_row

DOCUMENT = Path("docs/benchmarks.md")
BEGIN, END = "<!-- make bench-gpu -->\n", "<!-- end of make bench-gpu -->\n"
_MINUTES = 8
_GPU_BYTES, _DISK_BYTES = 44e9, 20e9


def main() -> None:
    """Measure what is missing and write the table; exit code 1 where a row failed, 2 where the machine does not do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--row", action="append", choices=list(ROWS), help="measure again; all that are missing without"
    )
    parser.add_argument("--small", action="store_true", help="a tiny shape, on a CPU too; only prints")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure_row(arguments.worker, arguments.small)))
        return
    wrong = None if arguments.small else _wrong_with_machine()
    if wrong:
        sys.exit(_told(f"error: {wrong}", 2))
    folder = SCRATCH / ("small" if arguments.small else torch.cuda.get_device_name().replace(" ", "-"))
    folder.mkdir(parents=True, exist_ok=True)
    row_names = arguments.row or [name for name in ROWS if not _is_measured(folder / f"{name}.json")]
    for name in tqdm([PREPARATION, *row_names] if row_names else [], desc="rows", disable=None):
        result = _measure(name, arguments.small)
        if name != PREPARATION:
            write_json(folder / f"{name}.json", result)
        elif "failed" in result:
            sys.exit(_told(f"error: the weights could not be written: {result['failed']}", 1))
    text = _table(folder)
    print(text)
    if not arguments.small:
        _write(text)
    failed = not all(map(_is_measured, folder.glob("*.json")))
    sys.exit(1 if failed else 0)


def _wrong_with_machine() -> str | None:
    """Return what this machine lacks; None where it will do."""
    if not torch.cuda.is_available():
        return "no GPU was found (torch.cuda.is_available() is false); install torch for CUDA with `make gpu`"
    size = torch.cuda.get_device_properties(0).total_memory
    if size < _GPU_BYTES:
        return f"the GPU has {size / 1e9:.0f} GB; the rows of a 7B in bf16 need one with 48 GB"
    SCRATCH.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(SCRATCH).free
    if free < _DISK_BYTES:
        return f"{SCRATCH}: {free / 1e9:.0f} GB of disk are free, expected 20; free some, or link the folder elsewhere"
    return None


def _is_measured(path: Path) -> bool:
    return path.is_file() and "failed" not in read_json(path)


def _measure(name: str, small: bool) -> dict[str, Any]:
    """Return a row's cells from a process of its own, or in one line why there are none."""
    command = [sys.executable, __file__, "--worker", name, *(["--small"] if small else [])]
    facts = {"machine": _machine(), "versions": package_versions()}
    log = SCRATCH / f"{name}.log"
    with log.open("w", encoding="utf-8") as said:
        # a session of its own: a row starts trainings, which have to end with it
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True)
        try:
            output, _ = process.communicate(timeout=60 * _MINUTES)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return {**facts, "failed": f"not done after {_MINUTES} minutes; {log}"}
    if process.returncode:
        lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
        last = lines[-1][:300] if lines else f"exit code {process.returncode}"
        return {**facts, "failed": f"{last}; {log}"}
    return {**facts, "cells": json.loads(output.splitlines()[-1])}


def _machine() -> str:
    if not torch.cuda.is_available():
        return platform.machine()
    return f"{torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"


def _table(folder: Path) -> str:
    """Return all rows that were measured, as Markdown."""
    results = {name: read_json(path) for name in ROWS if (path := folder / f"{name}.json").is_file()}
    machines = sorted({str(one["machine"]) for one in results.values()})
    versions = sorted({f"torch {one['versions']['torch']}" for one in results.values()})
    lines = [f"{'; '.join(machines)}, {'; '.join(versions)}, {date.today()}.", ""]
    lines += ["| figure | aim | measured | |", "| --- | --- | --- | --- |"]
    for name, result in results.items():
        if "failed" in result:
            lines.append(f"| {name} | | failed | {result['failed'].replace('|', '/')} |")
        else:
            lines += [f"| {' | '.join(cell)} |" for cell in result["cells"]]
    return "\n".join(lines)


def _write(text: str) -> None:
    """Put the table between its marks."""
    before, _, from_table = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    after = from_table.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}{text}\n{END}{after}", encoding="utf-8")


def _told(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
