"""What an engine does: run one base with swappable adapters. Token ids go in and come out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from backbone.config import DecodingConfig
from tickets.errors import WorkError

OnToken = Callable[[int, int], None]  # (row of the prompt, token id just generated for it)
OnDone = Callable[[int, list[int]], None]  # (row of the prompt, all token ids generated for it)
Allowed = Callable[[Sequence[int]], Sequence[int] | None]  # generated ids -> ids that may follow; None: any


@dataclass(frozen=True)
class SharedPrefix:
    """How many leading tokens of each prompt are processed under a different adapter.

    Attributes:
        adapter: name of that adapter.
        lengths: tokens, one number per prompt.
    """

    adapter: str
    lengths: Sequence[int]


class Encoder(Protocol):
    """Turns prompts into hidden states."""

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Return the hidden state after the final norm at the last token of every prompt, (prompts, hidden)."""


@runtime_checkable
class PrefixCachingEncoder(Protocol):
    """Encodes prompts and keeps their KV cache so the next `generate` can continue from it."""

    def encode_and_cache(
        self, prompts: Sequence[Sequence[int]], adapter: str, lengths: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return what `Encoder.encode` returns; keep the cache of the first `lengths[row]` tokens of each prompt."""


class Writer(Protocol):
    """Continues prompts."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        adapter: str,
        options: DecodingConfig,
        on_token: OnToken | None = None,
        on_done: OnDone | None = None,
        shared_prefix: SharedPrefix | None = None,
    ) -> list[list[int]]:
        """Return the ids generated after every prompt, in order, without the end token.

        `adapter` is applied from the end of the `shared_prefix` on. `on_token` is called for each id as it is
        generated, `on_done` for each prompt that is complete.
        """


class TicketsRefused(WorkError):
    """Some prompts could not be continued; all others were. `reasons` is indexed by row."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons


class Engine(Encoder, Writer, Protocol):
    """Does both."""
