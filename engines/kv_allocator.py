"""Who holds the sequences and cells of a context: rows being written, prefixes cached for later rows, and labels."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tickets.errors import WorkError


@dataclass(frozen=True)
class ContextSizes:
    """How much a context holds.

    Attributes:
        max_rows: how many rows may be written at the same time.
        cells: keys and values of rows and cached prefixes, in tokens.
        max_cached_prefixes: how many prefixes stay cached while the maximum of rows is being written. As many
            sequences again are reserved for labels.
        label_cells: cells left to labels: the longest of their prompts.
    """

    max_rows: int
    cells: int
    max_cached_prefixes: int = 1
    label_cells: int = 512

    @property
    def sequences(self) -> int:
        """Sequences the context needs."""
        return self.max_rows + 2 * self.max_cached_prefixes

    @property
    def all_cells(self) -> int:
        """Cells the context needs."""
        return self.cells + self.label_cells


@dataclass(frozen=True)
class CachedPrefix:
    """The KV cache of a prompt's beginning: its sequence, and how many cells are its own."""

    sequence: int
    cells: int


class KvAllocator:
    """Hands out sequences and cells.

    A row reserves the most cells that it can need, so every admitted row can be finished. Cached prefixes are dropped
    to admit rows, the latest first. `max_cached_prefixes` sequences and `label_cells` cells are always left to labels.
    """

    def __init__(self, sizes: ContextSizes, numbers: Sequence[int], forget: Callable[[int], None]) -> None:
        """Take the numbers of the sequences.

        Args:
            forget: drops keys and values of a sequence.
        """
        self._sizes, self._forget = sizes, forget
        self._free = deque(numbers)
        self._holders = len(self._free) - sizes.max_cached_prefixes  # most sequences of rows and cached prefixes
        self._reserved: dict[int, int] = {}  # cells, by the sequence of a row
        self._cached: dict[tuple[int, ...], CachedPrefix] = {}  # by their ids, oldest first

    @property
    def cached_prefixes(self) -> int:
        """How many are kept."""
        return len(self._cached)

    def admit(self, need: int, prefix: tuple[int, ...]) -> tuple[int, bool] | None:
        """Return a sequence for a row, and whether it holds the cached `prefix`; None while rows hold the room.

        Args:
            need: most cells that the row will use.

        Raises:
            WorkError: more than there are.
        """
        if need > self._sizes.cells:
            raise _too_long("a prompt with its reply", need, self._sizes.cells)
        if len(self._reserved) == self._sizes.max_rows or need + sum(self._reserved.values()) > self._sizes.cells:
            return None
        cached = self._cached.pop(prefix, None)
        while need > self._unheld_cells or (cached is None and self._held == self._holders):
            self._drop_latest()
        sequence = cached.sequence if cached else self._free.popleft()
        self._reserved[sequence] = need
        return sequence, cached is not None

    def release(self, sequence: int) -> None:
        """Empty a sequence for others."""
        self._reserved.pop(sequence, None)
        self._forget(sequence)
        self._free.append(sequence)

    def label_group(self, needs: Sequence[int]) -> list[int]:
        """Take sequences for as many of some prompts as fit now, at least one; give them to `keep` or `release`.

        Args:
            needs: cells of every prompt.

        Raises:
            WorkError: the first has no room although no prefix is cached.
        """
        while needs[0] > self._unheld_cells + self._sizes.label_cells:
            if not self._cached:
                raise _too_long("a prompt", needs[0], self._unheld_cells + self._sizes.label_cells)
            self._drop_latest()
        sequences: list[int] = []
        left = self._unheld_cells + self._sizes.label_cells
        for need in needs:
            left -= need
            if left < 0 or not self._free:
                break
            sequences.append(self._free.popleft())
        return sequences

    def keep(self, prefix: tuple[int, ...], cached: CachedPrefix) -> bool:
        """Keep what a sequence of `label_group` holds, if that leaves labels their room; else the caller releases."""
        if prefix in self._cached or self._held == self._holders or cached.cells > self._unheld_cells:
            return False
        self._cached[prefix] = cached
        return True

    def drop(self, prefix: tuple[int, ...]) -> None:
        """Give up a cached prefix, if it is there."""
        cached = self._cached.pop(prefix, None)
        if cached:
            self.release(cached.sequence)

    @property
    def _held(self) -> int:
        """Sequences of rows and cached prefixes."""
        return len(self._reserved) + len(self._cached)

    @property
    def _unheld_cells(self) -> int:
        held = sum(self._reserved.values()) + sum(cached.cells for cached in self._cached.values())
        return self._sizes.cells - held

    def _drop_latest(self) -> None:
        self.release(self._cached.popitem()[1].sequence)


def _too_long(subject: str, need: int, cells: int) -> WorkError:
    return WorkError(
        f"{subject} needs {need} tokens of context, expected at most {cells}; lower decoding.max_new_tokens, or train "
        "with a smaller classifier.training.max_length"
    )
