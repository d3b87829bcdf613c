"""A llama.cpp context: the memory of keys and values, and calls that compute, through the package's low-level API."""

import ctypes
from collections.abc import Sequence
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from engines.cores import usable_cores
from engines.llama_blocks import BlockWatcher
from engines.llama_model import LlamaModel, LlamaOptions, last_log
from tickets.errors import WorkError


class LlamaContext:
    """A memory of keys and values over a model. Calls map one to one to llama.cpp's."""

    def __init__(
        self, model: LlamaModel, options: LlamaOptions, blocks: int | None = None, runs_later_blocks: bool = False
    ) -> None:
        """Make a context.

        Args:
            blocks: how many blocks of the base hidden states come from; None for all. The others are not computed, so
                the context gives states alone.
            runs_later_blocks: compute the other blocks all the same; the context then gives logits too.

        Raises:
            WorkError: memory is short.
        """
        self._model = model
        self._watcher: BlockWatcher | None = None
        if blocks and blocks < int(llama_cpp.llama_model_n_layer(model.pointer)):
            self._watcher = BlockWatcher(blocks, model.hidden_size, runs_later_blocks)
            self._norm = model.final_norm()
        threads = options.threads or usable_cores()
        self._context = _new_context(model.pointer, options, threads, self._watcher)
        self._active: str | None = None
        self.gives_all_states = self._watcher is not None
        self.hidden_size = model.hidden_size
        self.options = options
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = _Batch(options.batch)

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            llama_cpp.llama_free(self._context)

    def activate(self, adapter: str) -> None:
        """Compute with this adapter from now on. Keys and values are not tagged by adapter: the caller drops them."""
        if adapter == self._active:
            return
        loaded = self._model.adapters[adapter]
        pointers = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(loaded)
        count = 0 if loaded is None else 1
        llama_cpp.llama_set_adapters_lora(self._context, pointers, count, (ctypes.c_float * 1)(1.0))
        self._active = adapter

    def decode(
        self,
        ids: NDArray[np.int32],
        positions: NDArray[np.int32],
        sequences: NDArray[np.int32],
        outputs: NDArray[np.int8],
    ) -> None:
        """Compute up to `options.batch` tokens; `outputs` marks those whose logits are wanted.

        Raises:
            WorkError: no room for the keys and values.
        """
        status = llama_cpp.llama_decode(self._context, self._batch.filled(ids, positions, sequences, outputs))
        if status != 0:
            raise WorkError(
                f"llama.cpp could not decode {len(ids)} tokens (status {status}: {last_log()}); expected room for "
                f"them in {self.options.cells} cells; lower --together"
            )

    def logits(self, row: int) -> NDArray[np.float32]:
        """Return scores over the vocabulary of the token at `row` of the last batch, (vocabulary,).

        They are valid until the next batch.
        """
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(pointer, shape=(self._model.vocabulary_size,))

    def states(self, rows: Sequence[int] | NDArray[np.intp]) -> NDArray[np.float32]:
        """Return hidden states after the final norm of some tokens of the last batch, (rows, hidden), a copy."""
        chosen = np.asarray(rows, dtype=np.intp)
        if self._watcher:
            return self._norm(self._watcher.states[chosen])
        pointer = llama_cpp.llama_get_embeddings(self._context)
        every = np.ctypeslib.as_array(pointer, shape=(int(chosen.max(initial=-1)) + 1, self.hidden_size))
        return np.asarray(every[chosen])  # a copy

    def want_states(self, enabled: bool) -> None:
        """Choose whether the next batches give hidden states, of every token in them."""
        if self._watcher:
            self._watcher.keeps_states = enabled
            return
        llama_cpp.llama_set_embeddings(self._context, enabled)

    def forget(self, sequence: int, start: int = 0) -> None:
        """Drop keys and values of a sequence, from position `start` on."""
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def copy(self, source: int, target: int) -> None:
        """Let `target` begin with the keys and values of `source`; they are shared, not copied."""
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, -1)


class _Batch:
    """A llama_batch over arrays of our own, filled without a loop over tokens."""

    def __init__(self, size: int) -> None:
        self._ids, self._positions, self._sequences, self._counts = (np.zeros(size, dtype=np.int32) for _ in range(4))
        self._outputs = np.zeros(size, dtype=np.int8)
        self._counts[:] = 1
        start = self._sequences.ctypes.data
        self._pointers = (start + self._sequences.itemsize * np.arange(size)).astype(np.uintp)  # seq_id is int **
        self._batch = llama_cpp.llama_batch(
            n_tokens=0,
            token=_pointer(self._ids, ctypes.c_int32),
            embd=None,
            pos=_pointer(self._positions, ctypes.c_int32),
            n_seq_id=_pointer(self._counts, ctypes.c_int32),
            seq_id=_pointer(self._pointers, ctypes.POINTER(ctypes.c_int32)),
            logits=_pointer(self._outputs, ctypes.c_int8),
        )

    def filled(
        self,
        ids: NDArray[np.int32],
        positions: NDArray[np.int32],
        sequences: NDArray[np.int32],
        outputs: NDArray[np.int8],
    ) -> Any:
        """Return the batch with these tokens."""
        n = len(ids)
        self._ids[:n], self._positions[:n], self._sequences[:n] = ids, positions, sequences
        self._outputs[:n] = outputs
        self._batch.n_tokens = n
        return self._batch


def _new_context(model: Any, options: LlamaOptions, threads: int, watcher: BlockWatcher | None) -> Any:
    params = llama_cpp.llama_context_default_params()
    if watcher:
        params.cb_eval = watcher.callback
    params.n_ctx = options.cells
    params.n_batch = params.n_ubatch = options.batch
    params.n_seq_max = options.sequences
    params.n_outputs_max = max(options.sequences, 1)
    params.n_threads = params.n_threads_batch = threads
    params.kv_unified = True  # one pool of cells: sequences share a prefix and need no equal shares
    params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE
    params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
    params.no_perf = True
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise WorkError(f"llama.cpp could not make a context of {options.cells} cells ({last_log()}); lower --together")
    return context


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))
