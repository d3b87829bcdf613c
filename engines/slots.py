"""Rows in flight on one context: what of each is still to be computed, and what the next decode call computes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.protocols import Row
from engines.sampling import TokenChooser

# The most tokens of several tickets in one call when each has only a few. From 64 tokens on, llama.cpp scores all
# queries against the union of their KV cells, which took half of the time with 64 tickets; below, each query skips
# the cells of the others.
SHORT_CALL = 63


@dataclass(eq=False)
class Slot:
    """One row in flight.

    Attributes:
        sequence: the context's number of its keys and values.
        pending: ids that are still to be computed.
        position: of the first pending id.
    """

    row: Row
    sequence: int
    pending: list[int]
    position: int
    chooser: TokenChooser

    @property
    def is_in_prefix(self) -> bool:
        """Whether the next id belongs to the prefix."""
        return self.position < self.row.prefix_length

    @property
    def adapter(self) -> str:
        """Under which the next id is computed."""
        return self.row.prefix_adapter if self.is_in_prefix else self.row.adapter


@dataclass(frozen=True)
class Call:
    """What one decode call computes: so many pending ids of each slot, under one adapter."""

    taken: Sequence[tuple[Slot, int]]
    adapter: str

    @property
    def ids(self) -> NDArray[np.int32]:
        """Token ids, (tokens,)."""
        return np.array([token for slot, count in self.taken for token in slot.pending[:count]], dtype=np.int32)

    @property
    def positions(self) -> NDArray[np.int32]:
        """Position of every token in its sequence, (tokens,)."""
        return np.array([slot.position + i for slot, count in self.taken for i in range(count)], dtype=np.int32)

    @property
    def sequences(self) -> NDArray[np.int32]:
        """Sequence of every token, (tokens,)."""
        counts = [count for _, count in self.taken]
        return np.repeat([slot.sequence for slot, _ in self.taken], counts).astype(np.int32)

    @property
    def last_rows(self) -> list[int]:
        """Index of each slot's last token in the call."""
        last: list[int] = (np.cumsum([count for _, count in self.taken]) - 1).tolist()
        return last

    @property
    def outputs(self) -> NDArray[np.int8]:
        """1 where logits are needed: at the last pending id of a slot, (tokens,)."""
        outputs = np.zeros(sum(count for _, count in self.taken), dtype=np.int8)
        for (slot, count), row in zip(self.taken, self.last_rows, strict=True):
            outputs[row] = count == len(slot.pending)
        return outputs


def plan_call(live: Sequence[Slot], batch: int) -> Call:
    """Choose what the next decode call computes.

    Prefixes go first, then prompts, then generation. Prefill and decode never share a call, and what every row has
    little of goes in short calls (see SHORT_CALL). Prefill ends, because only a row that is complete makes place for
    another. Of generating rows those go first that have the least, so that none is left behind.

    Args:
        live: the rows in flight, at least one.
        batch: most tokens of a call.
    """
    in_prefix = [slot for slot in live if slot.is_in_prefix]
    prefilling = in_prefix or [slot for slot in live if len(slot.pending) > 1]
    is_long = in_prefix or any(len(slot.pending) > SHORT_CALL for slot in prefilling)
    room = batch if is_long else min(batch, SHORT_CALL)
    candidates = prefilling or sorted(live, key=lambda slot: len(slot.row.written))
    adapter = candidates[0].adapter
    taken: list[tuple[Slot, int]] = []
    for slot in candidates:
        remaining = slot.row.prefix_length - slot.position if in_prefix else len(slot.pending)
        count = min(remaining, room)
        if count and slot.adapter == adapter:
            taken.append((slot, count))
            room -= count
    return Call(taken, adapter)
