"""What engines do: run one base with swappable adapters. Two verbs, token ids in and out."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backbone.config import DecodingConfig

OnToken = Callable[[int, int], None]  # row of the prompt, id just written for it
Allowed = Callable[[Sequence[int]], Sequence[int] | None]  # ids that may follow what was written; None: every id may


class Encoder(Protocol):
    """Reads prompts."""

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Hidden state after the final norm at the last token of every prompt, (prompts, hidden), in order."""


class Writer(Protocol):
    """Continues prompts."""

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        adapter: str,
        options: DecodingConfig,
        on_token: OnToken | None = None,
    ) -> list[list[int]]:
        """Ids written after every prompt, in order, without the end token; `on_token` hears of each as it comes."""


class Engine(Encoder, Writer, Protocol):
    """Does both."""
