"""Limits of stored tables: a small one may hold what no machine does, so that is measured before it is made."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tickets.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

_UNSUSPICIOUS, _MOST_GROWTH = 1 << 28, 300  # bytes; factor by which text hardly ever grows: ten is usual
_PIECE = 1 << 26  # bytes of rows that are made at once
_FRAMES = (0x184D2204, 0xFD2FB528)  # first four bytes of what LZ4 and Zstandard compress
_CHUNK = 1 << 26  # bytes


class Growth:
    """Counts the bytes that a table has grown to."""

    def __init__(self, path: Path) -> None:
        self._path, self._size = path, path.stat().st_size
        self._grown = 0

    def check(self, grown: int) -> None:
        """Refuse so many bytes in a file of this size.

        Raises:
            InputError: no tickets grow like that.
        """
        if grown > max(_UNSUSPICIOUS, _MOST_GROWTH * self._size):
            raise InputError(
                f"{self._path}: unpacks to over {_MOST_GROWTH} times its size ({self._size:,} bytes), expected "
                "tickets, which do not; if that is right, write it as CSV and give that"
            )

    def pieces(self, batch: "pa.RecordBatch") -> Iterator["pa.RecordBatch"]:
        """Yield a batch in pieces of some megabytes.

        Raises:
            InputError: see `check`.
        """
        size = unpacked_size(batch)
        if size > _PIECE and batch.num_rows > 1:
            middle = batch.num_rows // 2
            yield from self.pieces(batch.slice(0, middle))
            yield from self.pieces(batch.slice(middle))
            return
        self._grown += size
        self.check(self._grown)
        yield batch


def unpacked_size(batch: "pa.RecordBatch") -> int:
    """Return the bytes of a batch whose dictionaries are written out."""
    return sum(_column_size(column) for column in batch.columns)


def _column_size(column: "pa.Array") -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not isinstance(column, pa.DictionaryArray):
        return int(column.nbytes)
    values = column.dictionary
    if not any(is_kind(values.type) for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary)):
        return len(column) * 8
    lengths = pc.cast(pc.binary_length(values), pa.int64())
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)


def check_parquet(path: Path, metadata: Any) -> None:
    """Refuse a Parquet file whose pages unpack to what no machine holds.

    Args:
        metadata: the footer of the file.

    Raises:
        InputError: it does.
    """
    growth = Growth(path)
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        growth.check(sum(group.column(i).total_uncompressed_size for i in range(group.num_columns)))


def check_saved_dataset(folder: Path) -> None:
    """Refuse Arrow files with compressed columns: they are read at once, and the library never writes them.

    Raises:
        InputError: one has.
    """
    for path in sorted(folder.rglob("*.arrow")):
        if _is_compressed(path):
            raise InputError(
                f"{path}: holds compressed columns, expected a dataset of `save_to_disk`, which has none; write it as "
                "Parquet or CSV and give that"
            )


def _is_compressed(path: Path) -> bool:
    """Return whether an Arrow stream holds compressed buffers: a length, and behind it the first bytes of a frame.

    Buffers begin at multiples of eight bytes. pyarrow does not tell, and unpacks what it reads.
    """
    import numpy as np

    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            words = np.frombuffer(chunk[: len(chunk) // 8 * 8], dtype="<u8")
            lengths, starts = words[:-1].astype("<i8"), words[1:] & 0xFFFFFFFF
            if np.any(np.isin(starts, _FRAMES) & (lengths > 0) & (lengths < 1 << 48)):
                return True
            if len(chunk) == _CHUNK:
                file.seek(-8, 1)  # a length at the end of one chunk belongs to the next
    return False
