"""The Parquet files of a folder of answers: their columns, and a footer that names their plan."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from tickets.errors import InputError
from tickets.terminal import whole_characters

if TYPE_CHECKING:
    import pyarrow as pa

_PLAN, _SOURCE, _ERRORS = "duet.plan", "duet.source", "duet.errors"  # keys of the footer
_ROWS_PER_GROUP = 512


def answer_schema(columns: Sequence[str]) -> "pa.Schema":
    """Return the columns of a part: the keys of a line of `duet predict-batch`, with the same meaning.

    Args:
        columns: of the labels.
    """
    import pyarrow as pa

    def by_column(kind: "pa.DataType") -> "pa.DataType":
        return pa.struct([(column, kind) for column in columns])

    texts = pa.list_(pa.string())
    similar = {"id": pa.string(), "similarity": pa.float64(), "subject": pa.string(), "labels": by_column(pa.string())}
    similar |= {"tags": texts, "reply": pa.string(), "repeat": pa.bool_()}
    fields = {
        "id": pa.string(),
        "labels": by_column(pa.string()),
        "confidence": by_column(pa.float64()),
        "confidence_all": pa.float64(),
        "tags": texts,
        "reply": pa.string(),
        "apply": by_column(pa.bool_()),
        "needs_review": pa.bool_(),
        "masked": texts,
        "truncated": pa.bool_(),
        "reply_cut": pa.bool_(),
        "similar": pa.list_(pa.struct(list(similar.items()))),
        "error": pa.string(),
    }
    return pa.schema(list(fields.items()))


class PartWriter:
    """Makes the file of a part in memory: some megabytes for two thousand rows."""

    def __init__(self, columns: Sequence[str], plan: str, source: str) -> None:
        """Begin a part.

        Args:
            columns: of the labels.
            plan: digest of the plan by which it is made.
            source: the file that it answers.
        """
        import pyarrow.parquet as pq

        self._schema, self._waiting = answer_schema(columns), list[Mapping[str, Any]]()
        self._footer = {_PLAN: plan, _SOURCE: whole_characters(source)}
        self._buffer = io.BytesIO()
        self._file = pq.ParquetWriter(self._buffer, self._schema, compression="zstd")
        self.rows = self.errors = 0

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Take the next records, see `answer_to_dict`."""
        self.rows += len(records)
        self.errors += sum("error" in record for record in records)
        self._waiting += records
        if len(self._waiting) >= _ROWS_PER_GROUP:
            self._write()

    def content(self) -> bytes:
        """Complete the file and return it."""
        if self._waiting:
            self._write()
        self._file.add_key_value_metadata({**self._footer, _ERRORS: str(self.errors)})
        self._file.close()
        return self._buffer.getvalue()

    def _write(self) -> None:
        import pyarrow as pa

        rows = [_storable(record) for record in self._waiting]
        self._file.write_table(pa.Table.from_pylist(rows, schema=self._schema))
        self._waiting = []


def _storable(value: Any) -> Any:
    """Return a value whose texts are Unicode: halves of characters are written as escapes, as in JSON Lines."""
    if isinstance(value, str):
        return whole_characters(value)
    if isinstance(value, Mapping):
        return {key: _storable(inner) for key, inner in value.items()}
    return [_storable(inner) for inner in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class PartFacts:
    """What a finished part holds.

    Attributes:
        plan: digest of the plan by which it was made.
        errors: rows that hold an error and no answer.
    """

    plan: str
    rows: int
    errors: int


def read_facts(file: IO[bytes], name: str) -> PartFacts:
    """Return what a part says of itself; of the file, only its end is read.

    Raises:
        InputError: no Parquet file of duet.
    """
    import pyarrow.parquet as pq

    try:
        metadata = pq.ParquetFile(file).metadata
        footer = metadata.metadata or {}
        return PartFacts(footer[_PLAN.encode()].decode(), metadata.num_rows, int(footer[_ERRORS.encode()]))
    except (OSError, ValueError, KeyError):
        raise InputError(
            f"{name}: no part of duet's answers, or a damaged one; delete it and run the same command again, or choose "
            "another --out"
        ) from None


def read_answers(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part as `duet predict-batch` writes them as lines: either an answer or an error."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(file).iter_batches(_ROWS_PER_GROUP):
        for row in batch.to_pylist():
            if row["error"] is not None:
                yield {"id": row["id"], "error": row["error"]}
                continue
            del row["error"]
            if row["similar"] is None:
                del row["similar"]
            yield row
