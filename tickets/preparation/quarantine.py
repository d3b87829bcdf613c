"""Rows that could not become tickets: written with their line and reason, and counted by reason."""

from collections import Counter
from typing import TextIO

from tickets.formats.automatic_mails import AUTOMATIC, UNDELIVERED
from tickets.raw import RawRow
from tickets.terminal import json_text, whole_characters


class Quarantine:
    """The file of rows set aside, and in `reasons` how many there are of each kind."""

    def __init__(self, out: TextIO) -> None:
        """Write to `out`, one JSON object a line."""
        self.out = out
        self.reasons: Counter[str] = Counter()

    def add(self, row: RawRow, reason: str) -> None:
        """Set a row aside."""
        self.reasons[reason.partition(":")[0]] += 1
        record = {"line": row.line, "reason": reason, **({"file": row.file} if row.file else {}), "fields": row.fields}
        try:
            line = json_text(record, default=str)
        except ValueError:  # NaN and Infinity of Parquet are no JSON
            line = json_text({**record, "fields": {name: str(value) for name, value in row.fields.items()}})
        self.out.write(whole_characters(line) + "\n")

    def commonest(self) -> tuple[str, int]:
        """Return the commonest reason and its count; there must be one."""
        return self.reasons.most_common(1)[0]


def remedy(reason: str) -> str:
    """Return what helps against a reason for setting rows aside."""
    if reason.startswith("language"):
        return "leave out --language or name another"
    if reason == "no text":
        return "name the column of the text with --map body=COLUMN"
    if reason.startswith("synthetic"):
        return "prepare the tickets that they were written after"
    if reason.startswith("undecodable"):
        return "name the encoding with --encoding"
    if reason in (AUTOMATIC, UNDELIVERED):
        return "give mails that people wrote"
    return "export them again"
