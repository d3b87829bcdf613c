"""What engines do: run one base with swappable adapters. Two verbs, token ids in and out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from backbone.config import DecodingConfig
from tickets.errors import WorkError

OnToken = Callable[[int, int], None]  # row of the prompt, id just written for it
OnDone = Callable[[int, list[int]], None]  # row of the prompt, all ids written for it
Allowed = Callable[[Sequence[int]], Sequence[int] | None]  # ids that may follow what was written; None: every id may


@dataclass(frozen=True)
class Beginning:
    """How many leading tokens of each prompt are processed under a different adapter (`layers.adapter_mask`)."""

    adapter: str
    counts: Sequence[int]


class Encoder(Protocol):
    """Reads prompts."""

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Hidden state after the final norm at the last token of every prompt, (prompts, hidden), in order."""


@runtime_checkable
class Keeper(Protocol):
    """Reads prompts for labels, and keeps what it read for replies."""

    def encode_and_keep(
        self, prompts: Sequence[Sequence[int]], adapter: str, keep: Sequence[int]
    ) -> NDArray[np.float32]:
        """What `Encoder.encode` gives; the next `generate` goes on from the first `keep[row]` ids of every prompt."""


class Writer(Protocol):
    """Continues prompts."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        adapter: str,
        options: DecodingConfig,
        on_token: OnToken | None = None,
        on_done: OnDone | None = None,
        beginning: Beginning | None = None,
    ) -> list[list[int]]:
        """Ids written after every prompt, in order, without the end token.

        `adapter` reads the prompts, but for their `beginning`. `on_token` hears of each id as it comes, `on_done` of
        every prompt that has all of its own.
        """


class TicketsRefused(WorkError):
    """Some prompts cannot be continued, all others were; `reasons` by row."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons


class Engine(Encoder, Writer, Protocol):
    """Does both."""
