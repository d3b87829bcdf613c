"""What an engine does: run one base with swappable adapters. Token ids go in and come out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from backbone.config import DecodingConfig
from tickets.errors import WorkError

OnToken = Callable[[int, int], None]  # (index of the prompt, token id just generated for it)
Allowed = Callable[[Sequence[int]], Sequence[int] | None]  # generated ids -> ids that may follow; None: any


class TicketRefused(WorkError):
    """A row could not be continued for what it asks; others can."""


@dataclass(frozen=True)
class SharedPrefix:
    """How many leading tokens of each prompt are processed under a different adapter.

    Attributes:
        adapter: name of that adapter.
        lengths: tokens, one number per prompt.
    """

    adapter: str
    lengths: Sequence[int]


@dataclass(eq=False)
class Row:
    """A prompt to continue, and what has been written to it.

    Attributes:
        adapter: applied from `prefix_length` on.
        prefix_adapter: applied to the first `prefix_length` ids.
        on_token: called with every id as it is generated; if it raises, the row ends with that error.
        written: ids generated so far, without the end token.
        cut: the reply stops before its own end, for another reason than `max_new_tokens`.
        error: why the row ended early.
    """

    prompt: Sequence[int]
    adapter: str
    options: DecodingConfig
    prefix_adapter: str = ""
    prefix_length: int = 0
    on_token: Callable[[int], None] | None = None
    written: list[int] = field(default_factory=list)
    cut: bool = False
    error: Exception | None = None

    @property
    def is_cut(self) -> bool:
        """Whether the reply stops before its own end."""
        return self.cut or len(self.written) >= self.options.max_new_tokens

    @property
    def prefix(self) -> tuple[int, ...]:
        """The ids under the prefix adapter."""
        return tuple(self.prompt[: self.prefix_length])

    def write(self, token: int) -> None:
        """Add a generated id and tell `on_token`."""
        self.written.append(token)
        if self.on_token:
            try:
                self.on_token(token)
            except Exception as error:
                self.error = error


class LabelEngine(Protocol):
    """Turns prompts into hidden states; may be called while rows are being written."""

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Return the hidden state after the final norm at the last token of every prompt, (prompts, hidden).

        An adapter that was trained on the first blocks of the base has its states from there: the others are left out.
        """


@runtime_checkable
class HasHiddenSize(Protocol):
    """Says before anything is computed how long its hidden states are."""

    @property
    def hidden_size(self) -> int:
        """Length of a hidden state."""


@runtime_checkable
class HasClassCounts(Protocol):
    """Was exported with the heads of a classifier."""

    classes: Mapping[str, int]  # how many, by head


@runtime_checkable
class PrefixCachingEngine(Protocol):
    """Encodes prompts and keeps their KV cache for rows that begin alike."""

    def encode_and_cache(
        self, prompts: Sequence[Sequence[int]], adapter: str, lengths: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return what `LabelEngine.encode` returns; keep the cache of the first `lengths[i]` tokens of each prompt.

        What is kept may be given up at any time for rows and prompts that need the room.
        """

    def drop(self, prefix: Sequence[int]) -> None:
        """Give up what is kept of a prefix, if anything is."""


class Writer(Protocol):
    """Continues rows. They are admitted and ended one by one while others are being written."""

    def admit(self, row: Row) -> bool:
        """Take a row, if there is room for it; where no row is in flight, there is.

        Raises:
            WorkError: the row would not fit into an empty context.
        """

    def step(self) -> list[Row]:
        """Go on with the rows in flight; return those that ended: complete, or with an `error`."""

    def end(self, row: Row) -> None:
        """Stop writing a row, if it is in flight, and free its place."""


class Engine(LabelEngine, Writer, Protocol):
    """Gives labels and writes replies."""
