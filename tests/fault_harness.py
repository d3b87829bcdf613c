"""Trains or exports in forked children that are killed or run out of disk, again and again, until the work is done.

    python tests/fault_harness.py MODE COUNT STAGE KEY=VALUE ...

MODE is `kill` (SIGKILL at COUNT random moments of a run, or of several), `killwrite` (a run for every COUNT-th file
operation, SIGKILL there) or `full` (the same, but the operation fails with ENOSPC). Imports happen once; every
attempt is a fork. The folder of the run is `output`; the stage `export` makes a bundle there of the run `trained`
beside it. Prints a JSON object with the number of attempts that were cut short; ends with an error where a run does
not go on by itself or ends with other weights than an undisturbed one.
"""

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # no thread pool may exist when a process forks

import torch

from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.runs.layout import PLAN
from classifier.train import train_classifier
from generator.single_prompt.train import train_baseline
from generator.train import train_generator
from pipeline.export.export import export
from pipeline.export.options import ExportOptions
from tickets.errors import DuetError


def _export(config: RunConfig) -> str:
    return export(ExportOptions(config.folder.with_name("trained"), config.folder / "export", quant="f16", check=4))


WORK = {"classifier": train_classifier, "generator": train_generator, "baseline": train_baseline, "export": _export}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SECONDS = 120.0  # of one attempt; more is a hang


def main() -> None:
    """Cut runs short and let them end; what they end with must be what an undisturbed run ends with."""
    mode, count, stage, *overrides = sys.argv[1:]
    torch.set_num_threads(1)
    config = load_config(None, overrides)
    duration = _whole_run(stage, overrides)
    cut = _kill_at_random(int(count), stage, config, duration) if mode == "kill" else 0
    if mode != "kill":
        cut = _fail_at_each(int(count), mode, stage, config)
    print(json.dumps({"cut": cut, "seconds": duration}))


def _kill_at_random(count: int, stage: str, config: RunConfig, duration: float) -> int:
    """Runs that are killed until `count` kills hit one that was still going; returns how many that were."""
    rng = random.Random(0)
    cut = 0
    while cut < count:
        child = _forked(stage, config)
        time.sleep(rng.uniform(0.05, 0.6) * duration)
        if os.waitpid(child, os.WNOHANG)[0] == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            cut += 1
        else:  # it came to its end between two kills: another one
            _finish(stage, config)
            _compare(stage, config, f"after {cut} kills")
            shutil.rmtree(config.folder)
    _finish(stage, config)
    return cut


def _fail_at_each(step: int, mode: str, stage: str, config: RunConfig) -> int:
    """A run for every `step`-th file operation, which fails or is its end, and which then has to go on by itself."""
    cut = 0
    for number in range(1, 10_000, step):
        shutil.rmtree(config.folder, ignore_errors=True)
        child = _forked(stage, config, (number, mode))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0 and number > _operations(config):
            return cut  # the run has no more of them
        if status not in (0, 1, -signal.SIGKILL):
            sys.exit(f"operation {number}: ended with status {status}")
        cut += 1
        _finish(stage, config)
        _compare(stage, config, f"operation {number}")
    return cut


def _compare(stage: str, config: RunConfig, when: str) -> None:
    """End with an error unless the adapter, or every file of an export, is byte for byte what it should be."""
    ours, whole = (folder / stage for folder in (config.folder, config.folder.with_name(f"{config.folder.name}.whole")))
    names = [Path("adapter/adapter_model.safetensors")]
    if stage == "export":
        names = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
        found = {path.relative_to(ours) for path in ours.rglob("*") if path.is_file()}
        # a kill right after the renaming leaves the plan, which nobody reads there
        if found - {Path(PLAN)} != set(names):
            sys.exit(f"{when}: other files")
    for name in names:
        if (ours / name).read_bytes() != (whole / name).read_bytes():
            sys.exit(f"{when}: another {name}")


def _operations(config: RunConfig) -> int:
    """How many file operations the last run counted."""
    return int((config.folder.parent / "operations").read_text(encoding="utf-8") or 0)


def _finish(stage: str, config: RunConfig) -> None:
    if not (config.folder / stage).is_dir() and os.waitpid(_forked(stage, config), 0)[1] != 0:
        sys.exit("the run did not go on by itself")


def _forked(stage: str, config: RunConfig, fault: tuple[int, str] | None = None) -> int:
    """A child that trains; returns its number."""
    child = os.fork()
    if child == 0:
        if fault is not None:
            _fail_at(*fault, config.folder)
        os._exit(_attempt(stage, config))
    return child


def _whole_run(stage: str, overrides: list[str]) -> float:
    """Seconds of a run that nobody cuts short, in `output`.whole, whose weights are what the others must reach."""
    output = next(value for value in overrides if value.startswith("output="))
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        os._exit(_attempt(stage, load_config(None, [*overrides, f"{output}.whole"])))
    if os.waitpid(child, 0)[1] != 0:
        sys.exit("the undisturbed run failed")
    return time.perf_counter() - start


def _attempt(stage: str, config: RunConfig) -> int:
    signal.alarm(int(SECONDS))
    try:
        WORK[stage](config)
    except DuetError as error:
        print(f"{error.exit_code}: {error}", file=sys.stderr)
        return int(error.exit_code)
    except BaseException as error:
        print(f"not one line: {type(error).__name__}: {error}", file=sys.stderr)
        return 3
    return 0


def _fail_at(number: int, mode: str, below: Path) -> None:
    """Kill this process, or fail with a full disk, at the `number`-th creation, renaming or removal of a file."""
    seen = 0
    root = str(below.resolve())
    tally = os.open(below.parent / "operations", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event == "open":
            path, mode_text, flags = arguments
            counted = bool((flags or 0) & WRITES) and not (isinstance(mode_text, str) and mode_text.startswith("r"))
        else:
            path = arguments[0] if arguments else ""
            counted = event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir")
        if not counted or root not in str(Path(os.fsdecode(path)).absolute() if isinstance(path, str | bytes) else ""):
            return
        if mode == "full" and event not in ("open", "os.mkdir"):
            return  # a full disk lets files be renamed and removed
        seen += 1
        os.pwrite(tally, str(seen).encode(), 0)
        if seen == number and mode == "killwrite":
            os.kill(os.getpid(), signal.SIGKILL)
        if seen == number:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
