"""Answering shards with workers on a Ray cluster.

Ray only starts workers and says which of them have died; what is done is told by the files of answers. A worker is an
actor with a model of its own. Its weights are mapped, so the workers of a machine share them. A piece whose worker dies
is tried again. A shard that kills three workers is halved until one row is left; that row gets an error.
"""

import pickle
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

from pipeline.shards.plan import Shard
from pipeline.shards.ray_cluster import connected, worker_class
from pipeline.shards.worker import Answered, Job, Piece, ShardWorker
from tickets.errors import InputError, WorkError

_PACKAGE = "ticket-duet"
_ATTEMPTS = 3  # workers that a whole shard, or one row, may kill
_FRUITLESS_DEATHS = 12  # workers that may die in a row without anything answered between
_PATIENCE = 600  # seconds without any worker that runs
_TELL_AFTER = 15  # seconds of it


class Progress(Protocol):
    """Hears of what is done."""

    def count_rows(self, rows: int) -> None:
        """Count tickets."""

    def tell(self, line: str) -> None:
        """Print a line."""


def answer_on_ray(
    job: Job, local: ShardWorker, shards: Sequence[Shard], progress: Progress
) -> Iterator[tuple[Shard, Answered]]:
    """Answer shards with the workers of a cluster; yields each when its file of answers is written.

    Args:
        local: joins the halves of shards; it needs no model for that.

    Raises:
        InputError: no cluster there, no node with so many cores, or a worker that has another model or version.
        WorkError: a worker cannot work on, or none stays alive.
    """
    assert job.options.ray is not None
    ray = connected(job.options.ray)
    try:
        yield from _Pool(ray, job, local, shards, progress).run()
    finally:
        ray.shutdown()


@dataclass(eq=False)
class _Worker:
    """An actor.

    Attributes:
        node: id of the machine it runs on, once it has opened the model.
        piece: what it answers.
    """

    actor: Any
    node: str = ""
    piece: Piece | None = None


class _Pool:
    """Workers, what they answer, and what is left."""

    def __init__(self, ray: Any, job: Job, local: ShardWorker, shards: Sequence[Shard], progress: Progress) -> None:
        assert job.options.ray is not None
        self._ray, self._job, self._local, self._progress = ray, job, local, progress
        self._threads = job.options.ray.threads
        self._most = self._places(job.options.ray.workers)
        self._class = worker_class(ray, self._threads)
        self._pickled = pickle.dumps(job)
        self._waiting = deque(Piece(shard) for shard in shards)
        self._calls: dict[Any, _Worker] = {}  # by what Ray returns for the call they work on
        self._idle: list[_Worker] = []
        self._deaths: defaultdict[Piece, int] = defaultdict(int)
        self._fruitless = 0
        self._halves: dict[Shard, list[Piece]] = {}  # of shards that were halved, those answered
        self._left: defaultdict[Shard, int] = defaultdict(int)  # pieces of such a shard that are not answered
        self._alone_since = time.monotonic()
        self._told = False

    def run(self) -> Iterator[tuple[Shard, Answered]]:
        """Answer everything; yields a shard when it is done."""
        while self._waiting or any(worker.piece for worker in self._calls.values()):
            self._start()
            done, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=1)
            for call in done:
                yield from self._take(call)
            self._mind_patience()

    def _places(self, asked: int | None) -> int:
        """Return how many workers the cluster has room for, or as many as asked for.

        Raises:
            InputError: no node has enough cores for one.
        """
        cores = [int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"]]
        if max(cores, default=0) < self._threads:
            raise InputError(
                f"--threads {self._threads}: no node of the cluster has so many cores, the largest has "
                f"{max(cores, default=0)}; lower it"
            )
        return asked or sum(count // self._threads for count in cores)

    def _start(self) -> None:
        """Give work to idle workers, and start as many as there is work for."""
        while self._idle and self._waiting:
            self._give(self._idle.pop(), self._waiting.popleft())
        opening = sum(worker.piece is None for worker in self._calls.values())
        while opening < len(self._waiting) and len(self._calls) + len(self._idle) < self._most:
            worker = _Worker(self._class.remote())
            self._calls[worker.actor.open.remote(self._pickled, _PACKAGE, version(_PACKAGE))] = worker
            opening += 1

    def _give(self, worker: _Worker, piece: Piece) -> None:
        worker.piece = piece
        self._calls[worker.actor.answer.remote(pickle.dumps(piece))] = worker

    def _take(self, call: Any) -> Iterator[tuple[Shard, Answered]]:
        """Take what a call has come to."""
        worker = self._calls.pop(call)
        piece, worker.piece = worker.piece, None
        try:
            outcome, result = self._ray.get(call)
        except self._ray.exceptions.RayError as error:
            yield from self._bury(worker, piece, error)
            return
        if outcome != "done":
            raise (InputError if outcome == "input" else WorkError)(result)
        self._idle.append(worker)
        self._alone_since, self._told = time.monotonic(), False
        if piece is None:
            worker.node = result
            return
        answered: Answered = pickle.loads(result)
        self._fruitless = 0
        self._progress.count_rows(answered.rows)
        yield from self._complete(piece, answered)

    def _complete(self, piece: Piece, answered: Answered) -> Iterator[tuple[Shard, Answered]]:
        """Note that a piece is answered; yields its shard if nothing of it is left."""
        shard = piece.shard
        if piece.is_whole:
            yield shard, answered
            return
        self._halves[shard].append(piece)
        self._left[shard] -= 1
        if self._left[shard] == 0:
            yield shard, self._local.join(shard, sorted(self._halves.pop(shard), key=lambda half: half.first))

    def _bury(self, worker: _Worker, piece: Piece | None, error: Exception) -> Iterator[tuple[Shard, Answered]]:
        """Decide what becomes of the piece of a worker that has died."""
        self._ray.kill(worker.actor)  # where it has not died, but raised what it should not
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        self._fruitless += 1
        if self._fruitless >= _FRUITLESS_DEATHS:
            raise WorkError(
                f"{self._fruitless} workers died one after the other without an answer, the last of {reason}; see to "
                "the memory of the nodes, and run the same command again"
            )
        if piece is None:
            return
        if not self._is_alive(worker.node):
            self._progress.tell(f"a node was lost; {piece.shard.source} is tried again")
            self._waiting.appendleft(piece)
            return
        self._deaths[piece] += 1
        if self._deaths[piece] < _ATTEMPTS and (piece.is_whole or _is_single(piece)):
            self._waiting.append(piece)  # last: the others should not wait for it
            return
        yield from self._divide(piece, reason)

    def _divide(self, piece: Piece, reason: str) -> Iterator[tuple[Shard, Answered]]:
        """Halve a piece that kills its workers; one row alone gets an error."""
        rows = self._local.count(piece)
        if rows <= 1:
            text = f"its worker died {_ATTEMPTS} times ({reason})"
            self._progress.tell(f"{piece.shard.source}, row {piece.first + 1}: {text}")
            yield from self._complete(piece, self._local.give_up(piece, text))
            return
        shard = piece.shard
        self._progress.tell(f"{shard.source}, {rows:,} rows: its worker died; they are halved to find the row")
        self._halves.setdefault(shard, [])
        self._left[shard] += 2 if piece.is_whole else 1
        self._waiting.extend(piece.halves(rows))

    def _is_alive(self, node: str) -> bool:
        return any(entry["NodeID"] == node and entry["Alive"] for entry in self._ray.nodes())

    def _mind_patience(self) -> None:
        """Say that no worker runs, and give up after some minutes.

        Raises:
            WorkError: none has run for so long.
        """
        if self._idle or any(worker.piece for worker in self._calls.values()):
            self._alone_since = time.monotonic()
            return
        alone = time.monotonic() - self._alone_since
        if alone > _TELL_AFTER and not self._told:
            self._told = True
            self._progress.tell(f"waiting for {self._threads} free cores, or for a model to be opened")
        if alone > _PATIENCE:
            raise WorkError(
                f"no worker has started for {_PATIENCE} s; see `ray status`, and run the same command again when cores "
                "are free"
            )


def _is_single(piece: Piece) -> bool:
    return piece.end is not None and piece.end - piece.first == 1
