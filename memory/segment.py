"""A part of a memory on the disk: its tickets as JSON lines, and for every term the tickets that hold it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backbone.runs.files import open_own
from memory.terms import Floats, Frequencies, Terms, count_terms
from tickets.errors import InputError
from tickets.schema import Ticket, read_tickets, ticket_from_line, ticket_to_json

TICKETS = "tickets.jsonl"
_OFFSETS = "offsets.npy"
ARRAYS = ("terms.npy", "starts.npy", "rows.npy", "weights.npy")
FILES = (TICKETS, _OFFSETS, *ARRAYS)


@dataclass(frozen=True)
class Segment:
    """Tickets in a folder; arrays are mapped, so that processes share them.

    For term `terms[i]`, tickets `rows[starts[i] : starts[i + 1]]` hold it with these `weights`.
    """

    folder: Path

    @classmethod
    def write(cls, folder: Path, tickets: Sequence[Ticket], frequencies: Frequencies) -> "Segment":
        """Write tickets into a new folder."""
        by_term = frequencies.weigh(count_terms([ticket.text for ticket in tickets])).tocsc()
        terms = np.flatnonzero(np.diff(by_term.indptr))
        arrays = (
            terms.astype(np.int32),
            np.append(by_term.indptr[terms], by_term.nnz).astype(np.int64),
            by_term.indices.astype(np.int32),
            by_term.data.astype(np.float32),
        )
        folder.mkdir(parents=True)
        lines = [f"{ticket_to_json(ticket)}\n".encode() for ticket in tickets]
        with open_own(folder / TICKETS, "xb") as file:
            file.writelines(lines)
        np.save(folder / _OFFSETS, np.cumsum([0, *map(len, lines)], dtype=np.int64))
        for name, values in zip(ARRAYS, arrays, strict=True):
            np.save(folder / name, values)
        return cls(folder)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def tickets(self) -> list[Ticket]:
        """All tickets, in order."""
        return read_tickets(self.folder / TICKETS)

    def ticket(self, row: int) -> Ticket:
        start, end = (int(value) for value in self._offsets[row : row + 2])
        with (self.folder / TICKETS).open("rb") as file:
            file.seek(start)
            line = file.read(max(0, end - start))
        return ticket_from_line(line, f"{self.folder / TICKETS}: row {row}")

    def similarities(self, terms: Terms, weights: Floats) -> Floats:
        """Cosine of every ticket (tickets,) with a text of these terms."""
        known, starts, rows, of_rows = self._arrays
        found = np.zeros(len(self), dtype=np.float32)
        places = np.searchsorted(known, terms)
        for place, term, weight in zip(places, terms, weights, strict=True):
            if place < len(known) and known[place] == term:
                those = slice(int(starts[place]), int(starts[place + 1]))
                found[rows[those]] += weight * of_rows[those]
        return found

    @cached_property
    def _offsets(self) -> npt.NDArray[np.int64]:
        offsets: npt.NDArray[np.int64] = self._load(_OFFSETS)
        return offsets

    @cached_property
    def _arrays(self) -> tuple[Any, ...]:
        return tuple(self._load(name) for name in ARRAYS)

    def _load(self, name: str) -> Any:
        path = self.folder / name
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            raise InputError(
                f"{path}: no readable array of a memory; restore the bundle, or export it again with --memory"
            ) from None
