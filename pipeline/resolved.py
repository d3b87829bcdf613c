"""Resolved tickets in a bundle: the most similar ones, which of them are the same matter again, and their upkeep."""

import random
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbone.dataset import load_part
from backbone.runs.files import disk_guard, writable
from backbone.runs.folder import relist
from backbone.runs.locks import hold, release
from memory.memory import (
    FREQUENCIES,
    SEGMENT,
    Memory,
    Similar,
    open_memory,
    redact,
    write_segments,
)
from memory.segment import FILES, Segment
from memory.terms import FREQUENCY_FILES
from pipeline.export.bundle import BUNDLE, MEMORY, Bundle
from tickets.errors import InputError
from tickets.numbers import whole_number
from tickets.schema import Ticket

_SAMPLE, _SEED = 500, 0  # tickets that are compared with all others
_MOST_SEGMENTS = 10**9  # names that a memory may have used
_SAME_REPLY = 0.7  # ROUGE-L from which two replies say the same
_AGREEING, _FEWEST = 0.9, 10  # share of repeats whose replies have to agree, and how many there have to be


@dataclass(frozen=True)
class ResolvedTickets:
    """The memory of a bundle.

    `repeat_similarity` is the similarity from which a ticket counts as the same matter again; None where the tickets
    show none.
    """

    memory: Memory
    repeat_similarity: float | None

    def similar(self, ticket: Ticket, count: int) -> list[Similar]:
        """Return the most similar resolved tickets, best first."""
        return self.memory.search(ticket.text, count)

    def is_repeat(self, similar: Similar) -> bool:
        """Return whether a ticket is the same matter as a resolved one, so that its reply can be offered as it is."""
        return self.repeat_similarity is not None and similar.similarity >= self.repeat_similarity

    def similar_as_dicts(self, ticket: Ticket, count: int) -> list[dict[str, Any]]:
        """Return the most similar resolved tickets in their JSON form, best first."""
        return [self.to_dict(one) for one in self.similar(ticket, count)]

    def to_dict(self, similar: Similar) -> dict[str, Any]:
        """Return the JSON form of a similar ticket."""
        ticket = similar.ticket
        return {
            "id": ticket.id,
            "similarity": round(similar.similarity, 4),
            "subject": ticket.subject,
            "labels": dict(ticket.labels),
            "tags": list(ticket.tags),
            "reply": ticket.reply,
            "repeat": self.is_repeat(similar),
        }


def load_resolved(bundle: Bundle | None, path: Path) -> ResolvedTickets:
    """Open the memory of a bundle.

    Raises:
        InputError: it has none, or a file of it is damaged.
    """
    if bundle is None or bundle.memory is None:
        raise InputError(
            f"{path}: has no memory of resolved tickets; expected a bundle of `duet export --memory`; export one"
        )
    segments, threshold = _facts(bundle, bundle.memory)
    bundle.verify_folders(MEMORY)
    digests = {name: bundle.digest_of(f"{MEMORY}/{name}/{file}" for file in FILES) for name in segments}
    return ResolvedTickets(open_memory(bundle.folder / MEMORY, segments, digests), threshold)


def resolved_tickets(data: Path) -> list[Ticket]:
    """Return the training tickets of a prepared folder that have a reply.

    Raises:
        InputError: there are none.
    """
    tickets = [ticket for ticket in load_part(data, "train") if ticket.reply]
    if not tickets:
        raise InputError(
            f"--memory: no training ticket in {data} has a reply; expected resolved tickets; leave --memory out"
        )
    return tickets


def memory_files(segments: Iterable[str]) -> list[str]:
    """Return the names of the files of a memory, below its folder."""
    of_segments = [f"{name}/{file}" for name in segments for file in FILES]
    return [*(f"{FREQUENCIES}/{file}" for file in FREQUENCY_FILES), *of_segments]


def memory_facts(memory: Memory) -> dict[str, Any]:
    """Return what the manifest of a bundle says of its memory."""
    return {
        "segments": [segment.folder.name for segment in memory.segments],
        "tickets": len(memory),
        "repeat_similarity": repeat_similarity(memory),
    }


def repeat_similarity(memory: Memory) -> float | None:
    """Return the least similarity from which 90 % of a sample have nearly the reply of the ticket most similar to them.

    The sample is of the memory's own tickets, each compared with all others: a split keeps near-duplicates together, so
    validation tickets would show none.
    """
    from generator.rouge import rouge_l  # imports scikit-learn, which `predict` has no use for

    tickets = [ticket for segment in memory.segments[:1] for ticket in segment.tickets()]
    sample = random.Random(_SEED).sample(tickets, min(_SAMPLE, len(tickets)))
    pairs = []
    for ticket in sample:
        for nearest in memory.search(ticket.text, 1, without=ticket.id):
            agrees = rouge_l([nearest.ticket.reply], [ticket.reply]) >= _SAME_REPLY
            pairs.append((nearest.similarity, agrees))
    pairs.sort(reverse=True)
    threshold, agreeing = None, 0
    for count, (similarity, agrees) in enumerate(pairs, start=1):
        agreeing += agrees
        if count >= _FEWEST and agreeing / count >= _AGREEING:
            threshold = round(similarity, 4)
    return threshold


def add_tickets(folder: Path, tickets: Sequence[Ticket]) -> int:
    """Put resolved tickets into the memory of a bundle; those of a known id are replaced. Returns how many it has then.

    Raises:
        InputError: no bundle with a memory, or another process is at it.
    """
    new = {ticket.id: ticket for ticket in redact(t for t in tickets if t.reply and not t.synthetic)}
    return _rewrite(folder, new.keys(), list(new.values()))


def erase_tickets(folder: Path, ids: Collection[str]) -> int:
    """Take tickets out of the memory of a bundle, text and terms. Returns how many it has then.

    Raises:
        InputError: no bundle with a memory, an id that is not there, or another process is at it.
    """
    return _rewrite(folder, ids, [], expects_all=True)


def _rewrite(folder: Path, gone: Collection[str], added: list[Ticket], expects_all: bool = False) -> int:
    """Write the segments that change anew and put them in place in one step: the bundle's manifest.

    Args:
        gone: ids of tickets that are taken out.
        expects_all: refuse the change where one of these is not there.
    """
    resolved = load_resolved(Bundle.open(folder), folder)
    with writable(folder, "bundle"):
        hold(folder.resolve())
    try:
        with disk_guard(folder), writable(folder, "bundle"):
            kept, lost, missing = _changed(resolved.memory, gone, added)
            if expects_all and missing:
                raise InputError(
                    f"{folder}: its memory has no ticket {min(missing)!r}; nothing was erased; expected ids that "
                    "`duet predict --similar` shows"
                )
            return _commit(folder, resolved, kept, lost)
    finally:
        release(folder.resolve())


def _changed(
    memory: Memory, gone: Collection[str], added: list[Ticket]
) -> tuple[list[Segment | list[Ticket]], list[Segment], set[str]]:
    """Return what the segments are to be, in order; those that go; and the ids that were not found.

    The last segment takes new tickets while it has room.
    """
    kept: list[Segment | list[Ticket]] = []
    lost: list[Segment] = []
    missing = {*gone}
    for segment in memory.segments:
        old = segment.tickets()
        new = [ticket for ticket in old if ticket.id not in gone]
        missing.difference_update(ticket.id for ticket in old)
        taken = added if segment is memory.segments[-1] and len(new) < SEGMENT else []
        if len(new) == len(old) and not taken:
            kept.append(segment)
            continue
        lost.append(segment)
        kept += [[*new, *taken]] if new or taken else []
        added = added[len(taken) :]
    return kept + ([added] if added else []), lost, missing


def _commit(
    folder: Path, resolved: ResolvedTickets, kept: Sequence[Segment | list[Ticket]], lost: list[Segment]
) -> int:
    root = folder / MEMORY
    named = {segment.folder.name for segment in resolved.memory.segments}
    for path in root.iterdir():  # of a change that was cut off
        if path.is_symlink():
            path.unlink()
        elif path.is_dir() and path.name not in {*named, FREQUENCIES}:
            shutil.rmtree(path)
    number = 1 + max((int(name) for name in named), default=-1)
    names: list[str] = []
    for part in kept:
        if isinstance(part, Segment):
            names.append(part.folder.name)
            continue
        written = write_segments(root, part, resolved.memory.idf, number)
        names += written
        number += len(written)
    memory = open_memory(root, names)
    relist(folder, MEMORY, memory_files(names), lambda record: record[BUNDLE].update({MEMORY: memory_facts(memory)}))
    for segment in lost:
        shutil.rmtree(segment.folder)
    return len(memory)


def _facts(bundle: Bundle, facts: Mapping[str, Any]) -> tuple[list[str], float | None]:
    segments, threshold = facts.get("segments"), facts.get("repeat_similarity")
    if (
        not isinstance(segments, list)
        or not all(isinstance(name, str) and whole_number(name, _MOST_SEGMENTS) is not None for name in segments)
        or len(set(segments)) < len(segments)
        or not (threshold is None or (isinstance(threshold, float) and 0 <= threshold <= 1))
    ):
        raise InputError(f"{bundle.folder}: its manifest does not say what its memory holds; export the bundle again")
    bundle.require(memory_files(segments), MEMORY)
    return segments, threshold
