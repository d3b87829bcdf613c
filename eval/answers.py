"""Run the systems over the test tickets; answers are saved as they come, so that a comparison can be resumed."""

import gc
import hashlib
import math
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from backbone.process_memory import peak_resident
from backbone.progress import track
from backbone.runs.files import disk_guard, open_own, writable, write_json
from eval.bootstrap import Score, median_score
from eval.saved_keys import from_saved, to_saved
from eval.systems import TOGETHER, Output, ReferenceSystem, System
from tickets.errors import InputError
from tickets.own_json import decode_own, own_records, read_own
from tickets.schema import Ticket, ticket_to_json
from tickets.terminal import json_text

ANSWERS = "answers"  # folder of what each system said, and the name of the file of all of it
_MIB = 2**20
_OUTPUT = TypeAdapter(Output)
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _SystemAnswer(BaseModel):
    """The answer of one system to a ticket."""

    labels: dict[str, str]
    tags: list[str]
    reply: str | None


class _ReferenceAnswer(BaseModel):
    """The labels, tags and reply that people gave."""

    labels: dict[str, str]
    tags: list[str]
    reply: str


class _Record(BaseModel):
    """A ticket of a comparison with all answers."""

    id: str
    subject: str
    body: str
    true: _ReferenceAnswer
    systems: dict[str, _SystemAnswer]


class _Times(BaseModel):
    """What was measured of a system."""

    timed: int
    labels_s: list[Seconds]
    answer_s: list[Seconds]
    memory_mib: Seconds | None


@dataclass(frozen=True)
class Cost:
    """What a system's answers took on this machine.

    Attributes:
        labels_s, answer_s: median seconds of one ticket by itself; None where it was not timed.
        seconds: of one ticket, median over batches, replies included where the system writes them.
        memory_mib: peak of a process of its own that answers one batch: allocated on CUDA, or resident on the CPU.
        prompt_tokens, written_tokens: per ticket, mean.
        truncated: share of tickets that were cut to fit.
    """

    labels_s: Score | None
    answer_s: Score | None
    seconds: Score
    memory_mib: float | None
    prompt_tokens: float
    written_tokens: float
    truncated: float


@dataclass(frozen=True)
class SystemAnswers:
    """A system and all its answers, in the order of the tickets."""

    system: System
    outputs: Sequence[Output]
    cost: Cost


def run_system(system: System, tickets: Sequence[Ticket], folder: Path, timed: int) -> SystemAnswers:
    """Answer all tickets, going on from what an earlier call left in `folder`.

    Args:
        timed: how many tickets are also answered one at a time, for latencies.
    """
    path = folder / f"{_slug(system.kind)}-{_digest(system, tickets)}.jsonl"  # a name may change with what is beside it
    costs = path.with_suffix(".times.json")
    with disk_guard(folder):
        with writable(path, "--out"):
            folder.mkdir(parents=True, exist_ok=True)
            open_own(path, "ab").close()
        outputs = _kept(path, tickets)
        if len(outputs) < len(tickets):
            system.load()
            outputs += _answer_rest(system, tickets[len(outputs) :], path)
        measured = _kept_times(costs, timed)
        if measured is None:
            measured = {"timed": timed, **_measure(system, tickets, timed)}
            write_json(costs, measured)
        _free(system)
    outputs = [system.reread(output) for output in outputs]
    cost = Cost(
        labels_s=median_score(measured["labels_s"]) if measured["labels_s"] else None,
        answer_s=median_score(measured["answer_s"]) if measured["answer_s"] else None,
        seconds=median_score([seconds for seconds, _ in groupby(output.seconds for output in outputs)]),
        memory_mib=measured["memory_mib"],
        prompt_tokens=statistics.mean(output.prompt_tokens for output in outputs),
        written_tokens=statistics.mean(output.written_tokens for output in outputs),
        truncated=statistics.mean(output.truncated for output in outputs),
    )
    return SystemAnswers(system, outputs, cost)


def read_answers(comparison: Path) -> list[dict[str, Any]]:
    """Read what every system answered, a record per ticket.

    Raises:
        InputError: not there, or damaged.
    """
    path = comparison / f"{ANSWERS}.jsonl"
    try:
        records: list[dict[str, Any]] = list(own_records(path))
        for record in records:
            _Record.model_validate(record)
        if not records or any(record["systems"].keys() != records[0]["systems"].keys() for record in records):
            raise ValueError("no tickets with the answers of the same systems in it")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not readable ({_fault(error)}); expected what `duet compare` writes; run it again with "
            f"--out {comparison}"
        ) from None
    return records


def systems_with_replies(comparison: Path, records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Return the systems of a comparison that write replies: those of these names, or all.

    Raises:
        InputError: one of these names writes none, or none does.
    """
    writing = [name for name, answer in records[0]["systems"].items() if answer["reply"] is not None]
    unknown = [name for name in names if name not in writing]
    if unknown or not writing:
        raise InputError(
            f"found system {unknown[0] if unknown else 'without replies'!r}, expected systems of {comparison} that "
            f"write replies: {'; '.join(writing) or 'none'}"
        )
    return list(dict.fromkeys(names)) or writing


def _fault(error: Exception) -> str:
    """Return what is wrong with a record, in a line."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))[:100]}: {first['msg']}"


def _kept_times(path: Path, timed: int) -> dict[str, Any] | None:
    """Return what an earlier call measured on so many tickets, where that is readable."""
    try:
        times = _Times.model_validate(read_own(path), strict=True)
    except (OSError, ValueError, InputError):
        return None
    return times.model_dump() if times.timed == timed else None


def _measure(system: System, tickets: Sequence[Ticket], timed: int) -> dict[str, Any]:
    """Return the latencies of the first tickets, one by one, and memory."""
    if isinstance(system, ReferenceSystem):
        return {"labels_s": [], "answer_s": [], "memory_mib": None}
    if timed:
        print(f"{system.name}: timing {timed:,} tickets one by one, then memory", file=sys.stderr)
    system.load()
    latencies = [latency for ticket in tickets[:timed] if (latency := system.latency(ticket))]
    _free(system)
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        memory = process.submit(_peak_memory, system, tickets[:TOGETHER]).result() if timed else None
    return {
        "labels_s": [latency.labels for latency in latencies if latency.labels is not None],
        "answer_s": [latency.answer for latency in latencies],
        "memory_mib": memory,
    }


def _free(system: System) -> None:
    """Give its memory back, that of the CUDA device too: the next process may need it."""
    system.unload()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def _peak_memory(system: System, tickets: Sequence[Ticket]) -> float:
    """Return the peak MiB of this process after answering some tickets."""
    import torch

    system.answer(tickets)
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / _MIB
    return peak_resident() / _MIB


def _answer_rest(system: System, tickets: Sequence[Ticket], path: Path) -> list[Output]:
    outputs: list[Output] = []
    batch_size = len(tickets) if isinstance(system, ReferenceSystem) else TOGETHER
    with path.open("a", encoding="utf-8") as out:
        for start in track(range(0, len(tickets), max(batch_size, 1)), system.name):
            answered = system.answer(tickets[start : start + batch_size])
            out.writelines(json_text(to_saved(output)) + "\n" for output in answered)
            out.flush()
            outputs += answered
    return outputs


def _kept(path: Path, tickets: Sequence[Ticket]) -> list[Output]:
    """Return the outputs that are there already; a line that was cut off, and what follows it, is dropped."""
    if not path.is_file():
        return []
    outputs: list[Output] = []
    kept_bytes = 0
    with path.open("rb") as lines:
        for ticket, line in zip(tickets, lines, strict=False):
            output = _output(line)
            if output is None or output.id != ticket.id:
                break
            outputs.append(output)
            kept_bytes += len(line)
    with path.open("rb+") as file:
        file.truncate(kept_bytes)
    if outputs:
        print(f"{path.name}: {len(outputs):,} of {len(tickets):,} tickets were answered before", file=sys.stderr)
    return outputs


def _output(line: bytes) -> Output | None:
    try:
        output = _OUTPUT.validate_python(from_saved(decode_own(line))) if line.endswith(b"\n") else None
        sound = (
            output is not None
            and 0 <= output.seconds < math.inf
            and min(output.prompt_tokens, output.written_tokens) >= 0
        )
        return output if sound else None
    except (ValueError, TypeError, AttributeError):
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
