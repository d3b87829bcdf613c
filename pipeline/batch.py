"""`duet predict-batch`: answer every ticket of a file, in order and exactly once, whatever interrupts it.

Answers grow in `OUT.partial`, one JSON line each, and take the name `OUT` when all are there. The rows answered so far
are a prefix of the source, so going on means comparing ids row by row. Of every id eight bytes are kept, to
tell repeated ones.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from tqdm import tqdm

from backbone.runs.files import disk_guard, read_json, writable, write_json
from backbone.runs.folder import partial_folder
from backbone.runs.layout import MANIFEST
from backbone.runs.locks import hold, release
from engines.addresses import without_credentials
from engines.protocols import TicketsRefused
from pipeline.engine_choice import EngineChoice
from pipeline.model_folder import ModelFolder, open_model
from pipeline.predict import answer_to_dict
from pipeline.two_stage import TwoStage, load_two_stage
from tickets.cleaning import Cleaner
from tickets.errors import InputError
from tickets.readers import estimate_steps
from tickets.rows import Source, UniqueIds
from tickets.schema import Answer, Ticket
from tickets.sources import same_file, source_fingerprint
from tickets.terminal import escape_controls

_WINDOW = 4  # tickets read ahead per place in the engine, so that places refill


@dataclass(frozen=True)
class BatchOptions:
    """What to answer and how the source is read; as `duet prepare` has it."""

    source: str
    out: Path
    preset: str | None = None
    maps: tuple[str, ...] = ()
    cleaning: tuple[bool | None, bool, bool] = (
        None,
        True,
        True,
    )  # escapes (None: as the source means it), HTML, quotes
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
        InputError: an unusable source, model or file, unfinished answers of another source or model, or another process
            that is writing them.
        WorkError: the disk is full.
    """
    partial = partial_folder(options.out)
    if options.out.is_dir():
        raise InputError(f"{options.out}: is a folder, expected a JSONL file to write; choose another --out")
    if same_file(options.source, options.out) or same_file(options.source, partial):
        raise InputError(f"{options.out}: is what is to be answered; choose another --out")
    if options.out.exists() and not options.restart and not partial.exists():
        raise InputError(f"{options.out}: exists; choose another --out, or start over with --restart")
    source, cleaner = Source.open(options.source, options.preset, options.maps), Cleaner(*options.cleaning)
    cleaner.decide_escapes(source.sample)
    rows = _rows(source, cleaner)
    opened = open_model(model)
    plan = _plan(options, opened, choice)
    with disk_guard(partial), _locked(options.out, partial) as file:
        plan_path = options.out.with_name(options.out.name + ".plan")
        if options.restart:
            file.truncate(0)
        _check_plan(file, partial, plan_path, plan)
        done, line = _skip_answered(file, partial, rows)
        system = load_two_stage(opened, options.labels_only, choice)
        answered = done
        with _bar(options.source, line) as bar:

            def count_row(row: _Row) -> None:
                nonlocal answered, line
                answered += 1
                rate = (answered - done) / max(bar.format_dict["elapsed"], 1e-9)
                bar.set_postfix_str(f"{answered:,} tickets, {rate:.1f}/s", refresh=False)
                bar.update(row.line - line)
                line = row.line

            # what is read once must stay in the context from the labels to the reply
            size = choice.together * (1 if system.caching_encoder else _WINDOW)
            while window := list(islice(rows, size)):
                _answer(file, system, window, count_row)
        partial.replace(options.out)
        plan_path.unlink(missing_ok=True)
    return answered


@contextmanager
def _locked(out: Path, partial: Path) -> Iterator[BinaryIO]:
    """Open the file of answers for reading and appending, with no other process at it."""
    with writable(partial, "--out"):
        partial.parent.mkdir(parents=True, exist_ok=True)
        hold(out)
    try:
        with writable(partial, "--out"):
            file = partial.open("a+b")
        with file:
            yield file
    finally:
        release(out)


def _rows(source: Source, cleaner: Cleaner) -> Iterator[_Row]:
    """The rows of the source with ids that are unique: a repeated one gets `#2` and so on."""
    ids = UniqueIds()
    for number, row in enumerate(source.rows, start=1):
        ticket = None if row.fault else source.ticket(source.cells(row), number, cleaner)
        name = (ticket.id if ticket else "") or f"{number:06d}"
        if source.columns.id:
            name = ids.unique(name)
        if ticket is None or not (ticket.body or ticket.subject):
            yield _Row(row.line, name, None, row.fault or "no text")
        else:
            yield _Row(row.line, name, Ticket(name, ticket.subject, ticket.body, ticket.language), "")


def _answer(file: BinaryIO, system: TwoStage, window: Sequence[_Row], on_row: Callable[[_Row], None]) -> None:
    """Answer a window of rows; `on_row` hears of every row when its line, and those before it, are on the disk.

    Answers become ready in any order and are written in that of the rows, so some wait for their turn. A row that a
    server refuses gets a line that says so.
    """
    ready: dict[int, dict[str, Any]] = {
        i: {"id": row.id, "error": f"line {row.line}: {row.fault}"} for i, row in enumerate(window) if not row.ticket
    }
    places = [i for i in range(len(window)) if i not in ready]
    written = 0

    def write() -> None:
        nonlocal written
        first = written
        while written in ready:
            line = escape_controls(json.dumps(ready.pop(written), ensure_ascii=False, allow_nan=False))
            file.write(line.encode("utf-8", "backslashreplace") + b"\n")
            written += 1
        file.flush()
        os.fsync(file.fileno())
        for row in window[first:written]:
            on_row(row)

    def collect(place: int, answer: Answer) -> None:
        record = answer_to_dict(answer)
        del record["timings"]  # of the whole window, so of no ticket
        ready[places[place]] = record
        if answer.reply is not None:  # labels come all at once
            write()

    try:
        system.answer([row.ticket for row in window if row.ticket], on_answer=collect)
    except TicketsRefused as error:
        for place, reason in error.reasons.items():
            row = window[places[place]]
            ready[places[place]] = {"id": row.id, "error": f"line {row.line}: {reason}"}
    write()


def _skip_answered(file: BinaryIO, partial: Path, rows: Iterator[_Row]) -> tuple[int, int]:
    """Move past the rows that have an answer; returns how many, and the line of the last. A torn line is cut off."""
    done = end = at = 0
    file.seek(0)
    for line in file:
        if not line.endswith(b"\n"):
            break
        try:
            answered = json.loads(line)["id"]
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{partial}: line {done + 1} is no answer; start over with --restart") from None
        row = next(rows, None)
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


def _plan(options: BatchOptions, opened: ModelFolder, choice: EngineChoice) -> dict[str, Any]:
    """Return what decides the answers."""
    manifests = {name: stage.path / MANIFEST for name, stage in opened.stages.items()}
    if opened.bundle:
        manifests["bundle"] = opened.path / MANIFEST
    return {
        "source": options.source,
        "content": source_fingerprint(options.source),
        "preset": options.preset,
        "map": list(options.maps),
        "cleaning": list(options.cleaning),
        "labels_only": options.labels_only,
        "model": {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in manifests.items()},
        "engine": choice.kind,
        "endpoint": [without_credentials(part) for part in choice.endpoint or ()],
    }


def _check_plan(file: BinaryIO, partial: Path, path: Path, plan: dict[str, Any]) -> None:
    """Refuse to go on with answers that came about otherwise; note the plan of new ones."""
    if file.seek(0, os.SEEK_END) == 0:
        write_json(path, plan)
        return
    old = read_json(path)
    differing = [key for key in plan if old.get(key) != plan[key]]
    if differing:
        raise InputError(
            f"{partial}: unfinished answers with another {', '.join(differing)} ({path}); use the same, choose another "
            "--out, or start over with --restart"
        )


def _bar(source: str, line: int) -> "tqdm[Any]":
    total = estimate_steps(source)
    bar_format = "{desc}: {percentage:3.0f}%|{bar}| {remaining} left{postfix}"
    return tqdm(total=total, desc="answering", file=sys.stderr, bar_format=bar_format, disable=None, initial=line)
