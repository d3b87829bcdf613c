"""Tickets in flight on one llama.cpp context: where each has its keys and values, and what is still to be computed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engines.sampling import TokenChooser

# The most tokens of several tickets in one call when each has only a few. From 64 tokens on, llama.cpp scores all
# queries against the union of their KV cells, which took half of the time with 64 tickets; below, each query skips
# the cells of the others.
SHORT_CALL = 63


@dataclass(frozen=True)
class CachedPrefix:
    """The KV cache of a prompt's beginning: its sequence, and how many cells are its own."""

    sequence: int
    cells: int


@dataclass
class Slot:
    """One ticket in flight.

    Attributes:
        row: of its prompt.
        sequence: llama.cpp's number of its keys and values.
        pending: ids that are still to be computed.
        position: of the first pending id.
        reserved: cells it may come to use.
        prefix_length: leading ids that are processed under the prefix adapter.
        limit: most ids to generate.
    """

    row: int
    sequence: int
    pending: list[int]
    position: int
    reserved: int
    prefix_length: int
    limit: int
    chooser: TokenChooser
    generated: list[int] = field(default_factory=list)

    @property
    def is_in_prefix(self) -> bool:
        """Whether the next id belongs to the prefix."""
        return self.position < self.prefix_length


@dataclass(frozen=True)
class Call:
    """What one decode call computes: so many pending ids of each slot, under one adapter."""

    taken: Sequence[tuple[Slot, int]]
    under_prefix_adapter: bool

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

    Prefixes go first, then prompts, then generation. Prefill and decode never share a call, and what every ticket has
    little of goes in short calls (see SHORT_CALL).

    Args:
        live: the tickets in flight, at least one.
        batch: most tokens of a call.
    """
    in_prefix = [slot for slot in live if slot.is_in_prefix]
    prefilling = in_prefix or [slot for slot in live if len(slot.pending) > 1]
    is_long = in_prefix or any(len(slot.pending) > SHORT_CALL for slot in prefilling)
    room = batch if is_long else min(batch, SHORT_CALL)
    taken: list[tuple[Slot, int]] = []
    for slot in prefilling or sorted(live, key=lambda slot: len(slot.generated)):
        wanted = slot.prefix_length - slot.position if in_prefix else len(slot.pending)
        count = min(wanted, room)
        if count:
            taken.append((slot, count))
            room -= count
    return Call(taken, bool(in_prefix))
