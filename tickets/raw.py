"""A row as a source has it, and what reading a source has to say beside the rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

RAW = "(raw)"  # key under which an unreadable row keeps its text
RAW_LENGTH = 2_000
_NAMED = 5  # files or sheets
FAILED = "answer of a failed request"  # a fault: what a server said instead of tickets
ROW_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".xlsx")  # of files that hold a row a ticket


@dataclass(frozen=True)
class RawRow:
    """One row as the source has it; nested objects are flattened to dotted names.

    `line` is the physical line where a record starts, or the 1-based row of a sheet or table; `fault` says why the row
    cannot be used, None when it can; `file` names the sheet, or the file inside an archive, where there are several.
    """

    line: int
    fields: dict[str, Any]
    fault: str | None = None
    file: str = ""


@dataclass
class ReadLog:
    """What was understood of a source: encodings by file, and notes for the report, each once."""

    encodings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    other_lists: Counter[str] = field(default_factory=Counter)  # objects beside the tickets, by the name of their list
    inner_lists: Counter[str] = field(default_factory=Counter)  # objects inside tickets that look like tickets
    nothing: str = "no rows below the header"  # what was found where a source of this format holds no ticket
    inside: str = ""  # the files of an archive or the sheets of a workbook, for errors
    with_attachments: int = 0  # mails with attachments whose text was not read

    def note(self, text: str) -> None:
        """Add a note unless it is there."""
        if text not in self.notes:
            self.notes.append(text)

    def holds(self, what: str, names: Sequence[str]) -> None:
        """Name what the source consists of; `what` is their kind in the plural."""
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        self.inside = f"{what if len(names) > 1 else what[:-1]} {', '.join(names[:_NAMED])}{more}"

    def all_notes(self) -> tuple[str, ...]:
        """Return the notes, with one on the lists that hold no tickets."""
        beside, inside = (
            ", ".join(f"{name} ({count:,} object{'s' * (count != 1)})" for name, count in lists.items())
            for lists in (self.other_lists, self.inner_lists)
        )
        return (
            *self.notes,
            *([f"Not read, because they are no lists of tickets: {beside}."] if beside else []),
            *([f"Attachments of {self.with_attachments:,} mails were not read."] if self.with_attachments else []),
            *([f"Not read, because they lie inside tickets: {inside}."] if inside else []),
        )
