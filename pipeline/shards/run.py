"""`duet predict-batch --out FOLDER/`: many files answered, each into a file of its own, by any number of workers.

The file of answers appears when it is whole, so what is there is done: going on means answering what is missing. Two
workers at the same file write the same answers, and the later file replaces the earlier one.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from backbone.remote.addresses import is_url
from backbone.remote.places import Place
from backbone.runs.files import writable
from backbone.runs.locks import hold, release
from pipeline.answer_lines import SourceRow
from pipeline.batch_rows import answers_plan
from pipeline.engine_choice import EngineChoice
from pipeline.model_folder import ModelFolder
from pipeline.predict import open_resolved
from pipeline.shards.folder import MAKING, Finished, check_folder, clear, finish, finished_parts, has_plan, has_success
from pipeline.shards.options import ShardsOptions
from pipeline.shards.plan import Plan
from pipeline.shards.sources import find_shards
from pipeline.shards.tables import has_wildcard
from pipeline.shards.worker import Answered, Job, Piece, ShardWorker
from pipeline.shipped import open_to_answer
from tickets.sources import refuse_overlap


def answer_shards(options: ShardsOptions, model: Path | None, choice: EngineChoice) -> Finished | None:
    """Answer all files of a source into a folder of Parquet files.

    Returns:
        What the folder holds; None where other commands have not written their share of it yet.

    Raises:
        InputError: an unusable source, model or folder, unfinished answers of another source or model, or another
            process that is writing them.
        WorkError: the disk is full, a store or a cluster failed, or no worker stays alive.
    """
    out = Place.parse(options.out, "--out")
    check_folder(out)
    opened = open_to_answer(model, choice)
    if options.similar:
        open_resolved(opened)
    _refuse_overlap(options.source, out, opened)
    with _held(out, options):
        if options.restart:
            clear(out)
        plan = Plan(find_shards(options, opened, out), answers_plan(options, opened, choice))
        if not plan.check_same(out):
            plan.save(out)
        elif has_success(out):
            print(f"all is answered in {out.address}; --restart starts over", file=sys.stderr)
            return finish(out, plan, {})
        answered = _answer_missing(Job(options, model, choice, plan.digest), opened, plan, out)
        _tell(answered.values())
        return finish(out, plan, {name: facts.sha256 for name, facts in answered.items()})


def _answer_missing(job: Job, opened: ModelFolder, plan: Plan, out: Place) -> dict[str, Answered]:
    """Answer the shards of this command's share that have no answers yet; returns what was answered by part."""
    share = job.options.share
    shards = [shard for shard in plan.shards if share is None or share.holds(shard.number)]
    done = finished_parts(out, plan.digest, {shard.part for shard in shards})
    missing = [shard for shard in shards if shard.part not in done]
    if done:
        print(f"going on after {len(done):,} of {len(shards):,} files of answers in {out.address}", file=sys.stderr)
    if not missing:
        return {}
    answered: dict[str, Answered] = {}
    with Progress(len(shards), len(done)) as progress:
        if job.options.ray:
            from pipeline.shards.on_ray import answer_on_ray

            for shard, facts in answer_on_ray(job, ShardWorker(job, opened), missing, progress):
                answered[shard.part] = facts
                progress.count_shard()
            return answered
        worker = ShardWorker(job, opened)
        for shard in missing:
            answered[shard.part] = worker.answer(Piece(shard), progress.count_row)
            progress.count_shard()
    return answered


class Progress:
    """A bar of files, with tickets and their rate beside it."""

    def __init__(self, shards: int, done: int) -> None:
        self._bar = tqdm(total=shards, initial=done, desc="answering", unit="file", file=sys.stderr, disable=None)
        self._tickets = 0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def count_row(self, _row: SourceRow) -> None:
        """Count a ticket."""
        self.count_rows(1)

    def count_rows(self, rows: int) -> None:
        """Count tickets."""
        self._tickets += rows
        rate = self._tickets / max(self._bar.format_dict["elapsed"], 1e-9)
        self._bar.set_postfix_str(f"{self._tickets:,} tickets, {rate:.1f}/s", refresh=False)
        self._bar.update(0)

    def count_shard(self) -> None:
        """Count a file of answers."""
        self._bar.update(1)

    def tell(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.clear()
        print(line, file=sys.stderr)


@contextmanager
def _held(out: Place, options: ShardsOptions) -> Iterator[None]:
    """Keep other commands from the folder, where it is on this machine; those with another share may write beside."""
    if not out.is_local:
        yield
        return
    share = options.share
    lock = out.local / f"_share-{share.number}-of-{share.count}" if share else out.local / "_all"
    is_new = not out.local.exists()
    with writable(out.local, "--out"):
        out.local.mkdir(parents=True, exist_ok=True)
        hold(lock)
    try:
        yield
    finally:
        release(lock)
        if is_new and not has_plan(out):  # nothing came of it
            (out / MAKING).remove()
            with suppress(OSError):
                out.local.rmdir()


def _refuse_overlap(source: str, out: Place, opened: ModelFolder) -> None:
    if not out.is_local:
        return
    refuse_overlap([opened.path, *opened.any_stage.base_places()], [out.local], "--out")
    if not is_url(source):
        place = Place.parse(source, "SOURCE")
        refuse_overlap([place.parent.local if has_wildcard(place) else place.local], [out.local], "--out")


def _tell(answered: Iterable[Answered]) -> None:
    """Print the notes of the reading, each once, and how many replies are no whole reply."""
    doubts: Counter[str] = Counter()
    notes: dict[str, None] = {}
    for facts in answered:
        doubts.update(facts.doubts)
        notes |= dict.fromkeys(facts.notes)
    for note in notes:
        print(note, file=sys.stderr)
    for doubt, count in doubts.items():
        print(f"warning: {count:,} of the replies {doubt}", file=sys.stderr)
