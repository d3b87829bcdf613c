"""Cutting one source into files of so many tickets each, read and cleaned, so that they can be answered apart."""

import io
from collections.abc import Iterator
from itertools import islice
from typing import IO, TYPE_CHECKING

from backbone.remote.places import Place
from pipeline.answer_lines import SourceRow
from tickets.errors import InputError
from tickets.own_json import decode_own
from tickets.schema import Ticket
from tickets.terminal import json_text, whole_characters

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "_in"  # tools that read a folder of Parquet files pass over what begins with `_`
_DONE = "_CUT"
_LARGEST_DONE = 1 << 20  # bytes


def cut_name(number: int) -> str:
    """Return the name of a file of tickets."""
    return f"shard-{number:06d}.parquet"


def cut(rows: Iterator[SourceRow], size: int, out: Place, plan: str) -> int:
    """Write the rows to files of `size` rows in the folder `_in`; returns how many files.

    What an interrupted call left is made again; what a complete one left by the same plan is kept.

    Args:
        plan: digest of what decides the rows.

    Raises:
        InputError: there is no row, or the folder cannot be written.
    """
    import pyarrow.parquet as pq

    folder = out / FOLDER
    files = _files_of(folder, plan)
    if files:
        return files
    clear_cut(out)
    number = 0
    while part := list(islice(rows, size)):
        buffer = io.BytesIO()
        pq.write_table(_table(part), buffer, compression="zstd")
        (folder / cut_name(number)).write(buffer.getvalue())
        number += 1
    if number == 0:
        raise InputError("no row in the source; expected at least one ticket")
    (folder / _DONE).write(json_text({"plan": plan, "files": number}).encode())
    return number


def _files_of(folder: Place, plan: str) -> int:
    """Return how many files a complete cutting by the same plan left; 0 where there was none."""
    content = (folder / _DONE).read(_LARGEST_DONE)
    try:
        record = decode_own(content or b"{}")
        return int(record["files"]) if record.get("plan") == plan else 0
    except (ValueError, KeyError, TypeError, AttributeError):
        return 0


def clear_cut(out: Place) -> None:
    """Delete the files of tickets, which hold their texts."""
    (out / FOLDER / _DONE).remove()  # first what says that they are complete
    (out / FOLDER).remove_folder()


def _table(rows: list[SourceRow]) -> "pa.Table":
    import pyarrow as pa

    kinds = {"line": pa.int64(), "id": pa.string(), "subject": pa.string(), "body": pa.string()}
    kinds |= {"language": pa.string(), "fault": pa.string()}
    records = [
        {
            "line": row.line,
            "id": whole_characters(row.id),
            "subject": whole_characters(row.ticket.subject) if row.ticket else None,
            "body": whole_characters(row.ticket.body) if row.ticket else None,
            "language": row.ticket.language if row.ticket else None,
            "fault": whole_characters(row.fault),
        }
        for row in rows
    ]
    return pa.Table.from_pylist(records, schema=pa.schema(list(kinds.items())))


def read_cut(file: IO[bytes]) -> Iterator[SourceRow]:
    """Yield the rows of one of the files."""
    import pyarrow.parquet as pq

    for row in pq.read_table(file).to_pylist():
        ticket = None if row["body"] is None else Ticket(row["id"], row["subject"], row["body"], row["language"])
        yield SourceRow(row["line"], row["id"], ticket, row["fault"])
