"""What an engine does: run one base with swappable adapters. Two verbs, token ids in and out."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from backbone.config import DecodingConfig


class Engine(Protocol):
    """A base with named adapters."""

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Hidden state after the final norm at the last token of every prompt, (prompts, hidden), in order."""

    def generate(self, prompts: Sequence[Sequence[int]], adapter: str, options: DecodingConfig) -> list[list[int]]:
        """Ids written after every prompt, in order, without the end token."""
