"""The memory of resolved tickets: the most similar ones to a new ticket, by exact search.

TF-IDF of hashed words and pairs of words. It was compared with BM25, and with letters beside words:
docs/results.md. Segments hold at most `SEGMENT` tickets, so adding some rewrites little.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backbone.checked import keep, recall
from memory.segment import Segment
from memory.terms import Idf, count_terms
from tickets.redact.known import NOBODY
from tickets.redact.redactor import Redactor
from tickets.redact.tickets import TicketRedactor
from tickets.schema import Ticket

SEGMENT = 100_000  # tickets
FREQUENCIES = "frequencies"
_CHECKED, _CHECKS = "memories", 1  # raised when `Segment.check` looks at more


@dataclass(frozen=True)
class Similar:
    """A resolved ticket, and its cosine similarity to the query, between 0 and 1."""

    ticket: Ticket
    similarity: float


@dataclass(frozen=True)
class Memory:
    """Tickets in segments that share one table of inverse document frequencies (IDF)."""

    segments: Sequence[Segment]
    idf: Idf

    def __len__(self) -> int:
        return sum(len(segment) for segment in self.segments)

    def search(self, text: str, count: int, without: str | None = None) -> list[Similar]:
        """Return the `count` tickets most similar to a text, best first; those without a common term are left out.

        Args:
            without: id of a ticket to leave out.
        """
        asked = self.idf.weigh(count_terms([text]))
        nearest: list[tuple[float, int, int]] = []
        limit = count + (without is not None)
        for number, segment in enumerate(self.segments):
            values = segment.similarities(asked.indices, asked.data)
            best = np.argpartition(values, -limit)[-limit:] if len(values) > limit else np.arange(len(values))
            nearest += [(float(values[row]), -number, -int(row)) for row in best if values[row] > 0]
        similar = (
            Similar(self.segments[-number].ticket(-row), min(value, 1.0))
            for value, number, row in heapq.nlargest(limit, nearest)
        )
        return [neighbour for neighbour in similar if neighbour.ticket.id != without][:count]


def open_memory(
    folder: Path, segments: Iterable[str] | None = None, digests: Mapping[str, str] | None = None
) -> Memory:
    """Open a memory of verified files. Without `segments`, open every segment in the folder.

    Args:
        digests: of the content of segments, whose sums are right: what was checked once need not be checked again.

    Raises:
        InputError: files that do not belong together, or hold what no export writes.
    """
    if segments is None:
        segments = sorted((path.name for path in folder.iterdir() if path.name != FREQUENCIES), key=int)
    memory = Memory([Segment(folder / name) for name in segments], Idf.load(folder / FREQUENCIES))
    for segment in memory.segments:
        digest = (digests or {}).get(segment.folder.name)
        name = f"{digest}-{_CHECKS}"
        if digest is not None and recall(_CHECKED, name) is True:
            continue
        segment.check()
        if digest is not None:
            keep(_CHECKED, name, True)
    return memory


def write_memory(folder: Path, tickets: Sequence[Ticket]) -> None:
    """Write tickets into a new folder, private data replaced."""
    redacted = redact(tickets)
    idf = Idf.of(count_terms([ticket.text for ticket in redacted[:SEGMENT]]))
    idf.save(folder / FREQUENCIES)
    write_segments(folder, redacted, idf, first=0)


def write_segments(folder: Path, tickets: Sequence[Ticket], idf: Idf, first: int) -> list[str]:
    """Write tickets in segments that are named by numbers from `first` on; returns their names."""
    names = []
    for number, start in enumerate(range(0, len(tickets), SEGMENT), start=first):
        Segment.write(folder / str(number), tickets[start : start + SEGMENT], idf)
        names.append(str(number))
    return names


def redact(tickets: Iterable[Ticket]) -> list[Ticket]:
    """Replace private data by placeholders; text already redacted does not change."""
    redactor = TicketRedactor(Redactor(), replaces=True)
    return [redactor.redact(ticket, NOBODY) for ticket in tickets]
