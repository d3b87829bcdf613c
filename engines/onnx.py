"""Hidden states on onnxruntime: the classifier merged into one graph. No torch, no transformers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbone.buckets import length_buckets
from engines.cores import usable_cores
from tickets.errors import InputError

try:
    import onnxruntime
except ImportError:
    raise InputError(
        "the onnx engine needs onnxruntime, which is not installed; install it, or choose --engine llama or torch"
    ) from None

_BATCH_TOKENS = 1024  # padded; larger batches leave the caches of a CPU
STATE = "state"


class OnnxEngine:
    """One graph from token ids to the state at the last token; the adapter is already in its weights."""

    def __init__(self, graph: Path, threads: int = 0) -> None:
        """Load the graph.

        Args:
            threads: 0 for one per core this process may use.

        Raises:
            InputError: not a graph that onnxruntime can run.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own, one per status
            raise InputError(f"{graph}: onnxruntime cannot read it ({error}); export the bundle again") from None
        self._hidden = int(self._session.get_outputs()[0].shape[-1])

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Hidden state after the final norm at the last token of every prompt, (prompts, hidden), in order."""
        states = np.empty((len(prompts), self._hidden), dtype=np.float32)
        for rows in length_buckets([len(ids) for ids in prompts], _BATCH_TOKENS):
            width = len(prompts[rows[0]])  # longest first
            ids = np.zeros((len(rows), width), dtype=np.int64)  # padding comes after the last token: nothing sees it
            for i, row in enumerate(rows):
                ids[i, : len(prompts[row])] = prompts[row]
            last = np.array([len(prompts[row]) - 1 for row in rows], dtype=np.int64)
            (states[rows],) = self._session.run([STATE], {"input_ids": ids, "last": last})
        return states
