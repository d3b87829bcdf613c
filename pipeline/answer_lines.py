"""The lines that `duet predict-batch` writes: one per row of the source, in the order of the rows."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engines.protocols import TicketRefused
from pipeline.predict import answer_to_dict
from pipeline.scheduler import Request
from tickets.schema import Answer, Ticket


@dataclass(frozen=True)
class SourceRow:
    """A row of the source: a ticket, or why it is none."""

    line: int
    id: str
    ticket: Ticket | None
    fault: str


@dataclass(eq=False)
class Line:
    """A row and what is written for it, once that is known."""

    row: SourceRow
    record: dict[str, Any] | None = None


class Lines:
    """Lines that become known in any order and are written in that of the rows.

    Attributes:
        doubts: how many replies are no whole reply, by what is wrong with them.
    """

    def __init__(
        self,
        save: Callable[[Sequence[Mapping[str, Any]]], None],
        on_row: Callable[[SourceRow], None],
        similar: Callable[[Ticket], list[dict[str, Any]]] | None = None,
    ) -> None:
        """Save through a function.

        Args:
            save: takes records in the order of the rows, and has them on the disk when it returns.
            on_row: hears of every row when its line, and those before it, are on the disk.
            similar: gives the resolved tickets that are written beside an answer.
        """
        self._save, self._on_row, self._similar = save, on_row, similar
        self._lines: deque[Line] = deque()  # not on the disk yet
        self.doubts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, row: SourceRow) -> Line:
        """Return the line of the next row."""
        line = Line(row, error_record(row, row.fault) if row.ticket is None else None)
        self._lines.append(line)
        return line

    def complete(self, line: Line, request: Request) -> None:
        """Note what is written for a row whose request has ended; nothing where it failed and is to be tried again."""
        if isinstance(request.error, TicketRefused):
            line.record = error_record(line.row, str(request.error))
        elif request.answer:
            line.record = answer_to_dict(request.answer)
            del line.record["timings"]  # they tell of the other tickets rather than of this
            if self._similar:
                line.record["similar"] = self._similar(request.ticket)
            self.doubts.update(_doubts(request.answer))

    def write(self) -> None:
        """Write the lines whose turn it is."""
        records: list[Mapping[str, Any]] = []
        rows: list[SourceRow] = []
        while self._lines and (record := self._lines[0].record):
            records.append(record)
            rows.append(self._lines.popleft().row)
        if records:
            self._save(records)
        for row in rows:
            self._on_row(row)


def error_record(row: SourceRow, reason: str) -> dict[str, Any]:
    """Return what is written for a row without an answer."""
    return {"id": row.id, "error": f"line {row.line}: {reason}"}


def _doubts(answer: Answer) -> Iterator[str]:
    """Yield why a reply is no whole reply."""
    if answer.reply_cut:
        yield "stop before their end (reply_cut)"
    if answer.reply == "":
        yield "are empty"
