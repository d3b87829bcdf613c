"""Running the systems over the test tickets: what each said is kept as it comes, so that a comparison can go on."""

import gc
import hashlib
import json
import re
import statistics
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from backbone.progress import track
from backbone.runs import disk_guard, read_json, write_json
from eval.systems import Output, ReferenceSystem, System
from tickets.schema import Ticket, ticket_to_json

_TOGETHER = 16
_MIB = 2**20


@dataclass(frozen=True)
class Cost:
    """What a system's answers took on this machine.

    Attributes:
        labels_s, answer_s: median seconds of one ticket by itself; None where it was not timed.
        per_hour: tickets in batches, replies included where the system writes them.
        memory_mib: peak that the system added: allocated on the CUDA device, or resident on the CPU.
        tokens: written per ticket, mean.
    """

    labels_s: float | None
    answer_s: float | None
    per_hour: float
    memory_mib: float | None
    tokens: float


@dataclass(frozen=True)
class Answered:
    """A system and all it said, in the order of the tickets."""

    system: System
    outputs: Sequence[Output]
    cost: Cost


def run_system(system: System, tickets: Sequence[Ticket], folder: Path, timed: int) -> Answered:
    """Answer all tickets, going on from what an earlier call left in `folder`.

    Args:
        timed: how many tickets are also answered one at a time, for latencies.
    """
    path = folder / f"{_slug(system.name)}-{_digest(system, tickets)}.jsonl"
    costs = path.with_suffix(".cost.json")
    with disk_guard(folder):
        folder.mkdir(parents=True, exist_ok=True)
        outputs = _kept(path, tickets)
        if len(outputs) < len(tickets) or not costs.is_file():
            with _peak_memory() as peak:
                system.load()
                outputs += _answer_rest(system, tickets[len(outputs) :], path)
                latencies = [system.latency(ticket) for ticket in tickets[:timed]]
            system.unload()
            found = [latency for latency in latencies if latency]
            record = {
                "labels_s": statistics.median(latency.labels for latency in found) if found else None,
                "answer_s": statistics.median(latency.answer for latency in found) if found else None,
                "memory_mib": None if isinstance(system, ReferenceSystem) else peak[0] / _MIB,
            }
            write_json(costs, record)
    seconds = sum(output.seconds for output in outputs)
    tokens = sum(output.tokens for output in outputs) / len(outputs)
    cost = Cost(per_hour=3600 * len(outputs) / max(seconds, 1e-9), tokens=tokens, **read_json(costs))
    return Answered(system, outputs, cost)


def _answer_rest(system: System, tickets: Sequence[Ticket], path: Path) -> list[Output]:
    outputs: list[Output] = []
    together = len(tickets) if isinstance(system, ReferenceSystem) else _TOGETHER
    with path.open("a", encoding="utf-8") as out:
        for start in track(range(0, len(tickets), max(together, 1)), system.name):
            found = system.answer(tickets[start : start + together])
            out.writelines(json.dumps(asdict(output), ensure_ascii=False) + "\n" for output in found)
            out.flush()
            outputs += found
    return outputs


def _kept(path: Path, tickets: Sequence[Ticket]) -> list[Output]:
    """The outputs that are there already; a line that was cut off, and what follows it, is dropped."""
    if not path.is_file():
        return []
    outputs: list[Output] = []
    whole = 0
    with path.open("rb") as lines:
        for ticket, line in zip(tickets, lines, strict=False):
            output = _output(line)
            if output is None or output.id != ticket.id:
                break
            outputs.append(output)
            whole += len(line)
    with path.open("rb+") as file:
        file.truncate(whole)
    if outputs:
        print(f"{path.name}: {len(outputs):,} of {len(tickets):,} tickets were answered before", file=sys.stderr)
    return outputs


def _output(line: bytes) -> Output | None:
    try:
        record: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        return Output(**{**record, "tags": tuple(record["tags"])})
    except (ValueError, TypeError, KeyError):
        return None


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-")


def _digest(system: System, tickets: Sequence[Ticket]) -> str:
    digest = hashlib.sha256(system.key.encode())
    for ticket in tickets:
        digest.update(ticket_to_json(ticket).encode())
    if isinstance(system, ReferenceSystem):
        for ticket in system.train:
            digest.update(ticket_to_json(ticket).encode())
    return digest.hexdigest()[:12]


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Bytes that the block added at its peak, in a list of one: of the CUDA device, else of the process."""
    import torch  # before anything is measured: its libraries are not a system's

    gc.collect()
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    process = psutil.Process()
    before, over, peak = process.memory_info().rss, threading.Event(), [0.0]

    def watch() -> None:
        while not over.wait(0.05):
            peak[0] = max(peak[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()
        if on_cuda:
            peak[0] = float(torch.cuda.max_memory_allocated())
