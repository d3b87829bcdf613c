"""Trains in forked children that are killed or run out of disk, again and again, until the run is done.

    python tests/fault_harness.py MODE COUNT STAGE KEY=VALUE ...

MODE is `kill` (SIGKILL after a random time), `killwrite` (SIGKILL at the n-th file operation of the run, n counting up)
or `full` (the n-th fails with ENOSPC). Imports happen once; every attempt is a fork. The folder of the run is `output`.
Prints a JSON object with the number of attempts that were cut short.
"""

import errno
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # no thread pool may exist when a process forks

import torch

from backbone.config import RunConfig, load_config
from classifier.train import train_classifier
from generator.train import train_generator
from generator.train_baseline import train_baseline
from tickets.errors import DuetError

TRAIN = {"classifier": train_classifier, "generator": train_generator, "baseline": train_baseline}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
SECONDS = 120.0  # of one attempt; more is a hang


def main() -> None:
    """Run attempts until one ends by itself."""
    mode, count, stage, *overrides = sys.argv[1:]
    torch.set_num_threads(1)
    config = load_config(None, overrides)
    duration = _whole_run(stage, overrides)
    rng = random.Random(0)
    cut = 0
    for attempt in range(10 * int(count) + 100):
        child = os.fork()
        if child == 0:
            if mode != "kill" and cut < int(count):
                _fail_at(1 + 2 * attempt, mode, config.folder.parent)
            os._exit(_attempt(stage, config))
        if mode == "kill" and cut < int(count):
            time.sleep(rng.uniform(0.05, 0.6) * duration)
            if os.waitpid(child, os.WNOHANG)[0] == 0:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                cut += 1
                continue
            break
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            break
        if status not in (1, -signal.SIGKILL):
            sys.exit(f"attempt {attempt} ended with status {status}")
        cut += 1
    print(json.dumps({"cut": cut, "seconds": duration}))


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
        TRAIN[stage](config)
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
        if seen == number and mode == "killwrite":
            os.kill(os.getpid(), signal.SIGKILL)
        if seen == number:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
