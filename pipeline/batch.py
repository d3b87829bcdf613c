"""`duet predict-batch`: answer every ticket of a file, in order and exactly once, whatever interrupts it.

Answers grow in `OUT.partial`, one JSON line each, and take the name `OUT` when all are there. The rows answered so far
are a prefix of the source, so going on means comparing ids row by row. Of every id eight bytes are kept, to
tell repeated ones.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from backbone.runs.files import disk_guard, open_own, part_of, read_json, writable, write_json
from backbone.runs.folder import partial_folder
from backbone.runs.locks import hold, lock_files, release
from pipeline.answer_lines import Lines, SourceRow
from pipeline.batch_rows import AnswerOptions, answer_rows, answers_plan, source_rows
from pipeline.engine_choice import EngineChoice
from pipeline.model_folder import ModelFolder
from pipeline.predict import open_resolved
from pipeline.shipped import open_to_answer
from pipeline.two_stage import load_two_stage
from tickets.errors import InputError
from tickets.formats.readers import estimate_steps
from tickets.own_json import decode_own
from tickets.preparation.rows import Source
from tickets.sources import holds, output_path, refuse_overlap, source_fingerprint
from tickets.terminal import json_text, whole_characters

_LONGEST_ANSWER = 1 << 24  # bytes of a line


@dataclass(frozen=True)
class BatchOptions(AnswerOptions):
    """What to answer, and the file to write."""

    out: Path
    restart: bool = False


def predict_batch(options: BatchOptions, model: Path | None, choice: EngineChoice) -> int:
    """Answer all tickets of a source into a JSONL file; returns how many rows it has.

    A row that holds no ticket gets a line with its id and `error`, so that lines and rows correspond.

    Raises:
        InputError: an unusable source, model or file, unfinished answers of another source or model, or another process
            that is writing them.
        WorkError: the disk is full.
    """
    options = replace(options, out=output_path(options.out, "--out"))  # `~` in it too
    partial, plan_path = partial_folder(options.out), options.out.with_name(options.out.name + ".plan")
    _check_out(options.out)
    written = [options.out, partial, plan_path, part_of(plan_path), *lock_files(options.out)]
    if any(holds(options.source, path) for path in written):
        raise InputError(f"{options.out}: is what is to be answered, or inside of it; choose another --out")
    if options.out.exists() and not options.restart and not partial.exists():
        raise InputError(f"{options.out}: exists; choose another --out, or start over with --restart")
    source = Source.open(options.source, options.preset, options.maps, keep=(), encoding=options.encoding)
    opened = open_to_answer(model, choice)
    refuse_overlap([opened.path, *opened.any_stage.base_places()], written, "--out")
    _check_replaced(options.out)
    if not plan_path.exists():  # whatever is there was not begun by this command
        _check_replaced(partial)
    resolved = open_resolved(opened) if options.similar else None
    cleaner = options.cleaning(opened).cleaner(options.escapes)
    cleaner.decide_escapes(source.sample)
    told: set[str] = set()
    _tell_notes(source, told)
    rows = source_rows(source, cleaner)
    plan = _plan(options, opened, choice)
    with disk_guard(partial), _locked(options.out, partial) as file:
        if options.restart:
            file.truncate(0)
        _check_plan(file, partial, plan_path, plan)
        done, line = _skip_answered(file, partial, rows)
        system = load_two_stage(opened, options.labels_only, choice, options.allowed_contacts)
        answered = done
        with _bar(options.source, line) as bar:

            def count_row(row: SourceRow) -> None:
                nonlocal answered, line
                answered += 1
                rate = (answered - done) / max(bar.format_dict["elapsed"], 1e-9)
                bar.set_postfix_str(f"{answered:,} tickets, {rate:.1f}/s", refresh=False)
                bar.update(row.line - line)
                line = row.line

            similar = (lambda ticket: resolved.similar_as_dicts(ticket, options.similar)) if resolved else None
            lines = Lines(lambda records: _append(file, records), count_row, similar)
            answer_rows(rows, system, options.labels_only, choice.together, lines)
        partial.replace(options.out)
        plan_path.unlink(missing_ok=True)
    _tell_notes(source, told)  # what the rows behind the first ones added
    for doubt, count in lines.doubts.items():
        print(f"warning: {count:,} of the replies {doubt}", file=sys.stderr)
    return answered


def _check_out(out: Path) -> None:
    """Raise InputError where no file can be: a folder, pipe, device or socket is there."""
    if out.is_dir():
        raise InputError(f"{out}: is a folder, expected a JSONL file to write; choose another --out")
    if out.exists() and not out.is_file():
        raise InputError(f"{out}: is a pipe, device or socket, expected a JSONL file to write; choose another --out")


def _check_replaced(out: Path) -> None:
    """Raise InputError where a file of something else than answers would be lost; of a link it is the link alone."""
    if out.is_symlink() or not out.exists():
        return
    with out.open("rb") as file:
        first = file.readline(_LONGEST_ANSWER)
    with suppress(ValueError, TypeError, KeyError):
        if not first or decode_own(first)["id"] is not None:
            return
    raise InputError(f"{out}: holds something else than answers, which would be lost; choose another --out")


def _tell_notes(source: Source, told: set[str]) -> None:
    """Print what is to be said of the reading, each note once; what it says of replies means nothing here."""
    for note in source.log.all_notes():
        if note not in told:
            told.add(note)
            print(note, file=sys.stderr)


@contextmanager
def _locked(out: Path, partial: Path) -> Iterator[IO[bytes]]:
    """Open the file of answers for reading and appending, with no other process at it."""
    with writable(partial, "--out"):
        partial.parent.mkdir(parents=True, exist_ok=True)
        hold(out)
    try:
        with writable(partial, "--out"):
            file = open_own(partial, "a+b")
        with file:
            yield file
    finally:
        release(out)


def _append(file: IO[bytes], records: Sequence[Mapping[str, Any]]) -> None:
    for record in records:
        file.write(json_text(record).encode("utf-8", "backslashreplace") + b"\n")
    file.flush()
    os.fsync(file.fileno())


def _skip_answered(file: IO[bytes], partial: Path, rows: Iterator[SourceRow]) -> tuple[int, int]:
    """Move past the rows that have an answer; returns how many, and the line of the last. A torn line is cut off."""
    done = end = at = 0
    file.seek(0)
    for line in file:
        if not line.endswith(b"\n"):
            break
        try:
            answered = decode_own(line)["id"]
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
    source = {"source": whole_characters(options.source), "content": source_fingerprint(options.source)}
    return {**source, **answers_plan(options, opened, choice)}


def _check_plan(file: IO[bytes], partial: Path, path: Path, plan: dict[str, Any]) -> None:
    """Refuse to go on with answers that came about otherwise; note the plan of new ones."""
    if file.seek(0, os.SEEK_END) == 0:
        write_json(path, plan)
        return
    old = read_json(path, "the plan of unfinished answers; start over with --restart, or choose another --out")
    known = ("source",) if plan["content"] else ()  # its content tells it, however it is spelt
    differing = [key for key in plan if key not in known and old.get(key) != plan[key]]
    if differing:
        raise InputError(
            f"{partial}: unfinished answers with another {', '.join(differing)} ({path}); use the same, choose another "
            "--out, or start over with --restart"
        )


def _bar(source: str, line: int) -> "tqdm[Any]":
    total = estimate_steps(source)
    bar_format = "{desc}: {percentage:3.0f}%|{bar}| {remaining} left{postfix}"
    return tqdm(total=total, desc="answering", file=sys.stderr, bar_format=bar_format, disable=None, initial=line)
