"""A part of a memory on the disk: its tickets as JSON lines, and for every term the tickets that hold it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backbone.runs.files import open_own
from memory.arrays import ascends, check_values, load_array, unreadable
from memory.terms import BUCKETS, Floats, Idf, Terms, count_terms
from tickets.schema import Ticket, iter_tickets, read_tickets, ticket_from_line, ticket_to_json

TICKETS = "tickets.jsonl"
_OFFSETS = "offsets.npy"
ARRAYS = ("terms.npy", "starts.npy", "rows.npy", "weights.npy")
_KINDS: tuple[type[np.generic], ...] = (np.int32, np.int64, np.int32, np.float32)
_UNIT = 1e-3  # how far from one a length in fp32 may be
FILES = (TICKETS, _OFFSETS, *ARRAYS)


@dataclass(frozen=True)
class Segment:
    """Tickets in a folder; arrays are mapped, so that processes share them.

    For term `terms[i]`, tickets `rows[starts[i] : starts[i + 1]]` hold it with these `weights`.
    """

    folder: Path

    @classmethod
    def write(cls, folder: Path, tickets: Sequence[Ticket], idf: Idf) -> "Segment":
        """Write tickets into a new folder."""
        by_term = idf.weigh(count_terms([ticket.text for ticket in tickets])).tocsc()
        terms = np.flatnonzero(np.diff(by_term.indptr))
        arrays = (
            terms.astype(np.int32),
            np.append(by_term.indptr[terms], by_term.nnz).astype(np.int64),
            by_term.indices.astype(np.int32),
            by_term.data.astype(np.float32),
        )
        folder.mkdir(parents=True)
        lines = [f"{ticket_to_json(ticket)}\n".encode("utf-8", "replace") for ticket in tickets]  # half characters
        with open_own(folder / TICKETS, "xb") as file:
            file.writelines(lines)
        np.save(folder / _OFFSETS, np.cumsum([0, *map(len, lines)], dtype=np.int64))
        for name, values in zip(ARRAYS, arrays, strict=True):
            np.save(folder / name, values)
        return cls(folder)

    def check(self) -> None:
        """Check that the files belong together and give similarities between 0 and 1.

        Raises:
            InputError: they do not; it names the file.
        """
        tickets, offsets = self.folder / TICKETS, self.folder / _OFFSETS
        lines = np.fromfile(tickets, dtype=np.uint8)
        ends = np.append(0, np.flatnonzero(lines == ord("\n")) + 1)
        check_values(offsets, np.array_equal(self._offsets, ends), f"where the lines of {TICKETS} begin and end")
        check_values(tickets, ends[-1] == len(lines), "a line break at the end")
        try:
            count = sum(bool(ticket_to_json(ticket).encode()) for ticket in iter_tickets(tickets))
        except UnicodeEncodeError:
            raise unreadable(tickets, "holds a lone surrogate, which is no Unicode text") from None
        check_values(tickets, count == len(self), "a ticket in every line")
        terms, starts, rows, weights = self._arrays
        paths = [self.folder / name for name in ARRAYS]
        check_values(paths[0], ascends(terms, BUCKETS), f"ascending terms below {BUCKETS:,}")
        is_cut_well = len(starts) == len(terms) + 1 and starts[0] == 0 and starts[-1] == len(rows)
        check_values(paths[1], is_cut_well and (starts[1:] >= starts[:-1]).all(), "where the rows of the terms begin")
        check_values(paths[2], not len(rows) or (rows.min() >= 0 and rows.max() < count), f"rows below {count:,}")
        check_values(paths[3], len(weights) == len(rows) and (weights > 0).all(), "a positive weight for every row")
        lengths = np.sqrt(np.bincount(rows, weights.astype(np.float64) ** 2, minlength=count))
        is_unit = (np.abs(lengths - 1) < _UNIT) | (lengths == 0)  # of a ticket without a term
        check_values(paths[3], is_unit.all(), "weights of length one for every ticket")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def tickets(self) -> list[Ticket]:
        """Return all tickets, in order."""
        return read_tickets(self.folder / TICKETS)

    def ticket(self, row: int) -> Ticket:
        start, end = (int(value) for value in self._offsets[row : row + 2])
        with (self.folder / TICKETS).open("rb") as file:
            file.seek(start)
            line = file.read(max(0, end - start))
        return ticket_from_line(line, f"{self.folder / TICKETS}: row {row}")

    def similarities(self, terms: Terms, weights: Floats) -> Floats:
        """Return the cosine of every ticket (tickets,) with a text of these terms."""
        known, starts, rows, row_weights = self._arrays
        scores = np.zeros(len(self), dtype=np.float32)
        indices = np.searchsorted(known, terms)
        for index, term, weight in zip(indices, terms, weights, strict=True):
            if index < len(known) and known[index] == term:
                span = slice(int(starts[index]), int(starts[index + 1]))
                scores[rows[span]] += weight * row_weights[span]
        return scores

    @cached_property
    def _offsets(self) -> npt.NDArray[np.int64]:
        return load_array(self.folder / _OFFSETS, np.int64)

    @cached_property
    def _arrays(self) -> tuple[Any, ...]:
        return tuple(load_array(self.folder / name, kind) for name, kind in zip(ARRAYS, _KINDS, strict=True))
