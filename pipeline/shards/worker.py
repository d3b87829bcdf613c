"""Answering shards with one open model: what this process does, and every worker of a cluster."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from backbone.remote.places import Place
from backbone.runs.layout import CLASSIFIER, LABELS
from pipeline.answer_lines import Lines, SourceRow, error_record
from pipeline.batch_rows import answer_rows, answers_plan, source_rows
from pipeline.engine_choice import EngineChoice
from pipeline.model_folder import ModelFolder
from pipeline.predict import open_resolved
from pipeline.shards.cut import read_cut
from pipeline.shards.folder import PIECES
from pipeline.shards.options import ShardsOptions
from pipeline.shards.part_file import PartWriter, read_answers
from pipeline.shards.plan import Shard, read_plan
from pipeline.shipped import open_to_answer
from pipeline.two_stage import TwoStage, load_two_stage
from tickets.errors import InputError
from tickets.formats.archives import named_as
from tickets.labels import LabelSpace
from tickets.preparation.rows import Source
from tickets.terminal import json_text


@dataclass(frozen=True)
class Job:
    """What all workers of a command share.

    Attributes:
        model: folder or address; None for a shipped model.
        plan: digest of the plan.
    """

    options: ShardsOptions
    model: Path | None
    choice: EngineChoice
    plan: str

    @property
    def out(self) -> Place:
        """The folder of answers."""
        return Place.parse(self.options.out, "--out")


@dataclass(frozen=True)
class Piece:
    """Rows of a shard that are answered together.

    Attributes:
        first, end: the first row, and the one behind the last; None for all that are left.
    """

    shard: Shard
    first: int = 0
    end: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole shard."""
        return self.first == 0 and self.end is None

    def halves(self, rows: int) -> "tuple[Piece, Piece]":
        """Return its first and second half; it has so many rows, two at least."""
        middle = self.first + rows // 2
        return Piece(self.shard, self.first, middle), Piece(self.shard, middle, self.first + rows)

    def place(self, out: Place) -> Place:
        """Return the file of its answers."""
        if self.is_whole:
            return out / self.shard.part
        return (
            out / PIECES / f"{self.shard.part.removesuffix('.parquet')}-rows-{self.first}-{self.end or 'end'}.parquet"
        )


@dataclass(frozen=True)
class Answered:
    """What became of a piece.

    Attributes:
        errors: rows that hold an error and no answer.
        sha256: of the file.
        doubts: how many replies are no whole reply, by what is wrong with them.
        notes: what is to be said of the reading.
    """

    rows: int
    errors: int
    sha256: str
    doubts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class ShardWorker:
    """Answers shards, one after the other."""

    def __init__(self, job: Job, opened: ModelFolder) -> None:
        self._job, self._opened = job, opened
        self._resolved = open_resolved(opened) if job.options.similar else None
        self._system: TwoStage | None = None

    @classmethod
    def open(cls, job: Job) -> "ShardWorker":
        """Open the model on a machine that was only told of the job, and see that it has what the command has.

        Raises:
            InputError: another model, another version, or a folder of answers that this machine does not see.
        """
        opened = open_to_answer(job.model, job.choice)
        plan = read_plan(job.out)
        if plan is None or plan.digest != job.plan:
            raise InputError(
                f"{job.out.address}: is not the folder of the command; expected one that all machines share"
            )
        facts = answers_plan(job.options, opened, job.choice)
        if json_text(facts) != json_text(dict(plan.facts)):
            differing = ", ".join(key for key in facts if facts[key] != plan.facts.get(key))
            raise InputError(f"{opened.path}: another {differing} than where the command runs; expected the same files")
        worker = cls(job, opened)
        worker.system()
        return worker

    def system(self) -> TwoStage:
        """Return the model, loaded the first time."""
        options = self._job.options
        if self._system is None:
            choice, contacts = self._job.choice, options.allowed_contacts
            self._system = load_two_stage(self._opened, options.labels_only, choice, contacts)
        return self._system

    def answer(self, piece: Piece, on_row: Callable[[SourceRow], None] = lambda row: None) -> Answered:
        """Answer the rows of a piece and write their file, which appears when it is whole.

        Args:
            on_row: hears of every answered row.

        Raises:
            DuetError: a file cannot be read or written, or the model cannot answer.
        """
        system, options = self.system(), self._job.options
        writer = self._writer(piece)
        resolved, count = self._resolved, options.similar
        similar = (lambda ticket: resolved.similar_as_dicts(ticket, count)) if resolved else None
        lines = Lines(writer.add, on_row, similar)
        with self._rows(piece.shard) as (rows, notes):
            piece_rows = islice(rows, piece.first, piece.end)
            answer_rows(piece_rows, system, options.labels_only, self._job.choice.together, lines)
            return self._save(piece, writer, lines.doubts, tuple(notes()))

    def give_up(self, piece: Piece, reason: str) -> Answered:
        """Write the file of a piece whose rows cannot be answered: every row gets the reason."""
        writer = self._writer(piece)
        with self._rows(piece.shard) as (rows, _):
            writer.add([error_record(row, reason) for row in islice(rows, piece.first, piece.end)])
        return self._save(piece, writer)

    def count(self, piece: Piece) -> int:
        """Return how many rows a piece has."""
        with self._rows(piece.shard) as (rows, _):
            return sum(1 for _ in islice(rows, piece.first, piece.end))

    def join(self, shard: Shard, pieces: Sequence[Piece]) -> Answered:
        """Put the answers of pieces, given in their order, together to those of their shard."""
        whole = Piece(shard)
        writer = self._writer(whole)
        places = [piece.place(self._job.out) for piece in pieces]
        for place in places:
            with place.open() as file:
                writer.add(list(read_answers(file)))
        answered = self._save(whole, writer)
        for place in places:
            place.remove()
        return answered

    def _writer(self, piece: Piece) -> PartWriter:
        return PartWriter(self._columns, self._job.plan, piece.shard.source)

    @cached_property
    def _columns(self) -> Sequence[str]:
        return list(LabelSpace.load(self._opened.stages[CLASSIFIER].path / LABELS).columns)

    def _save(
        self, piece: Piece, writer: PartWriter, doubts: Counter[str] | None = None, notes: tuple[str, ...] = ()
    ) -> Answered:
        content = writer.content()
        piece.place(self._job.out).write(content)
        return Answered(writer.rows, writer.errors, sha256(content).hexdigest(), dict(doubts or {}), notes)

    @contextmanager
    def _rows(self, shard: Shard) -> Iterator[tuple[Iterator[SourceRow], Callable[[], Sequence[str]]]]:
        """Open a shard; yields its rows, and what returns the notes on the reading once they are read."""
        place = Place.parse(shard.address, "SOURCE")
        if shard.is_cut:
            with place.open() as file:
                yield read_cut(file), tuple
            return
        if place.fingerprint() != shard.content:
            raise InputError(f"{shard.address}: has changed since the command began; start over with --restart")
        options = self._job.options
        with on_this_machine(place, shard.address) as name, named_as(name, shard.address):
            source = Source.open(name, options.preset, options.maps, keep=(), encoding=options.encoding)
            cleaner = options.cleaning(self._opened).cleaner(options.escapes)
            cleaner.decide_escapes(source.sample)
            yield source_rows(source, cleaner, unnamed=f"{place.name}:"), source.log.all_notes


@contextmanager
def on_this_machine(place: Place | None, source: str) -> Iterator[str]:
    """Yield the name of a source that can be read here: of a file on a store, that of a copy.

    Args:
        place: where the source is; None for what is not a file, such as the id of a dataset.
    """
    if place is None or place.is_local:
        yield place.path if place else source
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / place.name
        place.copy_to(path)
        yield str(path)
