"""Hidden states of a closed list of prompts, with any label engine."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backbone.progress import track
from engines.protocols import LabelEngine

BATCH = 16  # prompts of a call


def encode_all(
    engine: LabelEngine, prompts: Sequence[Sequence[int]], adapter: str, description: str
) -> NDArray[np.float32]:
    """Return the hidden state of every prompt, (prompts, hidden), in batches behind a progress bar."""
    starts = track(range(0, len(prompts), BATCH), description)
    return np.concatenate([engine.encode(prompts[start : start + BATCH], adapter) for start in starts])
