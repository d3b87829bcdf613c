"""Rows of Parquet files and of Hugging Face datasets."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickets.errors import InputError
from tickets.flatten import flatten
from tickets.raw import RawRow

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1_000


def read_parquet(path: Path) -> Iterator[RawRow]:
    """Stream the rows of a Parquet file.

    Raises:
        InputError: not a readable Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number = 0
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_BATCH):
            for row in _batch_rows(batch):
                number += 1
                yield RawRow(number, *row)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a readable Parquet file ({reason}); write it again or give CSV") from None


def _batch_rows(batch: "pa.RecordBatch") -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield fields and fault of every row; one broken string costs its own row, not the batch."""
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        for place in range(batch.num_rows):
            try:
                yield flatten(batch.slice(place, 1).to_pylist()[0]), None
            except UnicodeDecodeError:
                yield {}, "undecodable bytes: a text is not valid UTF-8"
        return
    for row in rows:
        yield flatten(row), None


def read_dataset(source: str, saved: bool) -> Iterator[RawRow]:
    """Return the rows of all splits of a dataset, in the order the dataset lists them.

    Raises:
        InputError: a dataset that does not load.
    """
    import datasets

    try:
        loaded = datasets.load_from_disk(source) if saved else datasets.load_dataset(source)
    except Exception as error:  # datasets raises whatever its dozen storage back ends raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{source}: no such file, and loading it as a Hugging Face dataset failed ({reason}); check the name and "
            "the connection, or download it and give the file"
        ) from None
    parts: Iterable[Any] = loaded.values() if isinstance(loaded, dict) else (loaded,)
    return (RawRow(n, flatten(row)) for n, row in enumerate((row for part in parts for row in part), start=1))
