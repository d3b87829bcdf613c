"""Rows of Parquet files and of Hugging Face datasets."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickets.errors import InputError
from tickets.flatten import flatten
from tickets.formats.table_limits import Growth, check_parquet, check_saved_dataset
from tickets.raw import RawRow

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1_000
_NESTED_BATCH = 64  # of tables with lists, whose texts cannot be kept as they are stored


def read_parquet(path: Path) -> Iterator[RawRow]:
    """Stream the rows of a Parquet file.

    Raises:
        InputError: not a readable Parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        number, growth = 0, Growth(path)
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            check_parquet(path, file.metadata)
        # a text that every row repeats is stored once, and stays so until its rows are made
        texts = [
            field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        ]
        is_nested = any(pa.types.is_nested(field.type) for field in schema)
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            for batch in file.iter_batches(batch_size=_NESTED_BATCH if is_nested else _BATCH):
                for piece in growth.pieces(batch):
                    for row in _batch_rows(piece):
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

    if saved:
        check_saved_dataset(Path(source))
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
