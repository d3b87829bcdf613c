"""`duet predict-batch`: answer every ticket of a file, in order and exactly once, whatever interrupts it.

Answers grow in `OUT.partial`, one JSON line each, and take the name `OUT` when all are there. The rows answered so far
are a prefix of the source, so going on means comparing ids row by row and needs no list of them in memory.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from backbone.runs import MANIFEST, disk_guard, partial_folder, read_json, write_json
from pipeline.engines import EngineChoice
from pipeline.model_folder import open_model
from pipeline.predict import answer_to_dict
from pipeline.two_stage import TwoStage, load_two_stage
from tickets.cleaning import Cleaner
from tickets.errors import InputError
from tickets.readers import estimate_steps
from tickets.rows import Source
from tickets.schema import Ticket

_WINDOW = 4  # tickets read ahead per place in the engine, so that places refill


@dataclass(frozen=True)
class BatchOptions:
    """What to answer and how the source is read; as `duet prepare` has it."""

    source: str
    out: Path
    preset: str | None = None
    maps: tuple[str, ...] = ()
    cleaning: tuple[bool, bool, bool] = (True, True, True)  # escapes, HTML, quotes
    labels_only: bool = False
    restart: bool = False


@dataclass(frozen=True)
class _Row:
    """A row of the source: a ticket, or why it is none."""

    line: int
    id: str
    ticket: Ticket | None
    fault: str


def predict_batch(options: BatchOptions, model: Path | None, choice: EngineChoice) -> int:
    """Answer all tickets of a source into a JSONL file; returns how many rows it has.

    A row that holds no ticket gets a line with its id and `error`, so that lines and rows correspond.

    Raises:
        InputError: an unusable source or model, or unfinished answers of another source or model.
        WorkError: the disk is full.
    """
    if options.out.exists() and not options.restart:
        raise InputError(f"{options.out}: exists; choose another --out, or start over with --restart")
    rows = _rows(options)
    partial = partial_folder(options.out)
    plan_path = options.out.with_name(options.out.name + ".plan")
    _check_plan(partial, plan_path, _plan(options, model, choice), options.restart)
    done, line = _skip_answered(partial, rows)
    system = load_two_stage(model, options.labels_only, choice)
    count = done
    with disk_guard(partial), partial.open("ab") as file, _bar(options.source, line) as bar:
        while window := list(islice(rows, _WINDOW * choice.together)):
            _write(file, system, window)
            count += len(window)
            bar.set_postfix_str(f"{count:,} tickets, {(count - done) / max(bar.format_dict['elapsed'], 1e-9):.1f}/s")
            bar.update(window[-1].line - line)
            line = window[-1].line
    partial.replace(options.out)
    plan_path.unlink(missing_ok=True)
    return count


def _rows(options: BatchOptions) -> Iterator[_Row]:
    """The rows of the source with ids that are unique: a repeated one gets `#2` and so on."""
    source = Source.open(options.source, options.preset, options.maps)
    cleaner = Cleaner(*options.cleaning)
    seen: dict[bytes, int] = {}
    for number, row in enumerate(source.rows, start=1):
        ticket = None if row.fault else source.ticket(source.cells(row), number, cleaner)
        name = (ticket.id if ticket else "") or f"{number:06d}"
        if source.columns.id:
            digest = hashlib.blake2b(name.encode(), digest_size=8).digest()  # ids may be long, and there may be many
            seen[digest] = seen.get(digest, 0) + 1
            name += f"#{seen[digest]}" if seen[digest] > 1 else ""
        if ticket is None or not (ticket.body or ticket.subject):
            yield _Row(row.line, name, None, row.fault or "no text")
        else:
            yield _Row(row.line, name, Ticket(name, ticket.subject, ticket.body, ticket.language), "")


def _write(file: BinaryIO, system: TwoStage, window: list[_Row]) -> None:
    """Answer a window of rows and append its lines, on disk before the next one begins."""
    answers = iter(system.answer([row.ticket for row in window if row.ticket]))
    for row in window:
        record: dict[str, Any]
        if row.ticket:
            record = answer_to_dict(next(answers))
            del record["timings"]  # of the whole window, so of no ticket
        else:
            record = {"id": row.id, "error": f"line {row.line}: {row.fault}"}
        file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _skip_answered(partial: Path, rows: Iterator[_Row]) -> tuple[int, int]:
    """Move past the rows that have an answer; returns how many, and the line of the last. A torn line is cut off."""
    if not partial.exists():
        return 0, 0
    done = end = at = 0
    with partial.open("r+b") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            row = next(rows, None)
            answered = json.loads(line)["id"]
            if row is None or row.id != answered:
                raise InputError(
                    f"{partial}: line {done + 1} answers {answered!r}, but the source has "
                    f"{row.id if row else 'no more rows'!r} there; it has changed since; start over with --restart"
                )
            done, end, at = done + 1, end + len(line), row.line
        file.truncate(end)
    if done:
        print(f"going on after {done:,} answered tickets in {partial}", file=sys.stderr)
    return done, at


def _plan(options: BatchOptions, model: Path | None, choice: EngineChoice) -> dict[str, Any]:
    """What decides the answers."""
    stages = open_model(model).stages
    sums = {name: hashlib.sha256((stage.path / MANIFEST).read_bytes()).hexdigest() for name, stage in stages.items()}
    return {
        "source": options.source,
        "preset": options.preset,
        "map": list(options.maps),
        "cleaning": list(options.cleaning),
        "labels_only": options.labels_only,
        "model": sums,
        "engine": choice.kind,
        "endpoint": list(choice.endpoint or ()),
    }


def _check_plan(partial: Path, path: Path, plan: dict[str, Any], restart: bool) -> None:
    if restart:
        partial.unlink(missing_ok=True)
    if partial.exists():
        old = read_json(path)
        differing = [key for key in plan if old.get(key) != plan[key]]
        if differing:
            raise InputError(
                f"{partial}: unfinished answers with another {', '.join(differing)}; use the same, choose another "
                "--out, or start over with --restart"
            )
    with disk_guard(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, plan)


def _bar(source: str, line: int) -> "tqdm[Any]":
    total = estimate_steps(source)
    bar_format = "{desc}: {percentage:3.0f}%|{bar}| {postfix}, {remaining} left"
    return tqdm(total=total, desc="answering", file=sys.stderr, bar_format=bar_format, disable=None, initial=line)
