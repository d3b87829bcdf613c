"""Two adapters in one prompt: the classifier's on the instruction and the ticket, the generator's on what follows.

Both stages' prompts begin with the same instruction and ticket. A generator trained on the classifier's keys and values
of that prefix can reuse them, so each ticket is processed once. Activated LoRA (Greenewald et al. 2025) also starts its
adapter after the prompt, there on the keys and values of the base without an adapter.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor


class AdapterMask:
    """Per-batch mask, True where the classifier's adapter is applied instead of the generator's.

    All adapted layers of a model share one instance.

    Attributes:
        mask: flattened (batch * seq,); None applies the generator's adapter everywhere.
    """

    def __init__(self) -> None:
        self.mask: Tensor | None = None

    @contextmanager
    def applied(self, mask: Tensor) -> Iterator[None]:
        """Apply `mask` (batch, seq) inside the `with` block."""
        self.mask = mask.flatten()
        try:
            yield
        finally:
            self.mask = None
