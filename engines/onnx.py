"""Hidden states on onnxruntime: the classifier merged into one graph. No torch, no transformers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbone.buckets import length_buckets
from engines.cores import usable_cores
from engines.onnx_file import STATE_OUTPUT, check_graph, check_graph_once
from tickets.errors import InputError

try:
    import onnxruntime
except ImportError:
    raise InputError(
        "the onnx engine needs onnxruntime, which is not installed; install it, or choose --engine llama or torch"
    ) from None

_BATCH_TOKENS = 1024  # padded; larger batches leave the caches of a CPU


class OnnxEngine:
    """One graph from token ids to the state at the last token; the adapter is already in its weights.

    Attributes:
        classes: how many the exported classifier had, by head.
    """

    def __init__(self, graph: Path, threads: int = 0, digest: str = "") -> None:
        """Load the graph.

        Args:
            threads: 0 for one per core this process may use.
            digest: of its files; content that was checked before is not checked again.

        Raises:
            InputError: not a graph that onnxruntime can run.
        """
        facts = check_graph_once(graph, digest) if digest else check_graph(graph)
        self._hidden, self._graph, self.classes = facts.hidden_size, graph, facts.classes
        self._one_by_one = facts.scales_over_batch  # or a ticket's answer would depend on its neighbours
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cores()
        options.log_severity_level = 4  # what fails is raised, and told in one line
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own, one per status
            raise InputError(
                f"{graph}: onnxruntime cannot read it ({' '.join(str(error).split())[:200]}); export the bundle again"
            ) from None

    @property
    def hidden_size(self) -> int:
        """Length of a hidden state."""
        return self._hidden

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Return the state after the final norm at the last token of every prompt, (prompts, hidden), in order."""
        states = np.empty((len(prompts), self._hidden), dtype=np.float32)
        lengths = [len(ids) for ids in prompts]
        buckets = [[row] for row in range(len(prompts))] if self._one_by_one else length_buckets(lengths, _BATCH_TOKENS)
        for rows in buckets:
            width = len(prompts[rows[0]])  # longest first
            ids = np.zeros((len(rows), width), dtype=np.int64)  # padding comes after the last token: nothing sees it
            for i, row in enumerate(rows):
                ids[i, : len(prompts[row])] = prompts[row]
            last = np.array([len(prompts[row]) - 1 for row in rows], dtype=np.int64)
            states[rows] = self._run(ids, last)
        return states

    def _run(self, ids: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return states at position `last` (rows,) of padded ids (rows, width)."""
        try:
            (states,) = self._session.run([STATE_OUTPUT], {"input_ids": ids, "last": last})
        except Exception as error:  # onnxruntime raises classes of its own, one per status
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{self._graph}: cannot be computed ({reason}); export the bundle again") from None
        if states.shape != (len(ids), self._hidden):
            raise InputError(f"{self._graph}: gives states of shape {states.shape}; export the bundle again")
        return np.asarray(states, dtype=np.float32)
