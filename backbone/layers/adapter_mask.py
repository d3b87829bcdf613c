"""Handing over: the generator goes on from the keys and values that the classifier's adapter computed of a ticket.

Both stages' prompts begin with the same instruction and ticket. A generator that is trained on the classifier's reading
of them needs none of its own, so that every ticket can be read once. Its adapter begins where the ticket ends, like
that of activated LoRA (Greenewald et al. 2025), which begins on the base's own reading instead.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor


class Handover:
    """Which positions of the batch at hand the classifier's adapter reads; the layers of one model share it.

    Attributes:
        read: flattened (batch * seq,), True at those positions; None: nowhere.
    """

    def __init__(self) -> None:
        self.read: Tensor | None = None

    @contextmanager
    def at(self, read: Tensor) -> Iterator[None]:
        """Meanwhile the classifier's adapter reads where `read` (batch, seq) is True."""
        self.read = read.flatten()
        try:
            yield
        finally:
            self.read = None
