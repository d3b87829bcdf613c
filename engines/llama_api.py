"""One llama.cpp context over a GGUF base, through llama-cpp-python's low-level API.

`Llama()` of the same package is not used: it decodes one sequence at a time, re-tokenises strings and reuses keys and
values of another adapter.
"""

import ctypes
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.cores import usable_cores
from engines.gguf_file import check_adapter, check_base
from tickets.errors import InputError, WorkError

try:
    import llama_cpp
except (ImportError, RuntimeError, OSError) as error:  # the last two where its library does not load
    raise InputError(
        f"the llama engine needs llama-cpp-python ({error}); run `make llama` (it needs a C++ compiler), or choose "
        "--engine onnx or torch"
    ) from None

_WARN, _CONTINUED = 3, 5  # of ggml's levels, which the package does not name
_log: list[str] = []


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_log(level: int, text: bytes, _user_data: Any) -> None:
    """llama.cpp calls this for every line; kept at module level, because a collected callback kills the process."""
    if _WARN <= level < _CONTINUED:
        _log.append(text.decode("utf-8", errors="replace").strip())
        del _log[:-20]


@dataclass(frozen=True)
class LlamaOptions:
    """How a context is made; chosen once per process.

    Attributes:
        sequences: how many have keys and values at the same time.
        cells: keys and values that fit, shared by all sequences, in tokens.
        batch: tokens per decode call.
        repack: rearrange weights for one sequence's decoding: faster there, slower for prefill and many sequences.
        map_file: map the file instead of reading it; needed to share it between processes.
        threads: 0 for one per core this process may use.
    """

    sequences: int = 1
    cells: int = 2048
    batch: int = 512
    repack: bool = False
    map_file: bool = True
    threads: int = 0


class LlamaContext:
    """Base, adapters and memory of keys and values. Calls map one to one to llama.cpp's."""

    def __init__(self, base: Path, adapters: Mapping[str, Path | None], options: LlamaOptions) -> None:
        """Load the base and the adapters; None stands for the base as it is.

        Raises:
            InputError: a file that llama.cpp cannot read, or an adapter of another base.
        """
        self._context = self._model = None  # what `__del__` finds where the files are refused
        header = check_base(base)
        for path in adapters.values():
            if path:
                check_adapter(path, header)
        llama_cpp.llama_log_set(_keep_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        threads = options.threads or usable_cores()
        self._model = _load_model(base, options)
        self._context = _new_context(self._model, options, threads)
        self._adapters = {name: _load_adapter(self._model, p) if p else None for name, p in adapters.items()}
        self._active: str | None = None
        self.vocabulary = llama_cpp.llama_model_get_vocab(self._model)
        self.vocabulary_size = int(llama_cpp.llama_vocab_n_tokens(self.vocabulary))
        self.hidden_size = int(llama_cpp.llama_model_n_embd(self._model))
        self.options = options
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = _Batch(options.batch)

    def __del__(self) -> None:
        if self._context:
            llama_cpp.llama_free(self._context)
        if self._model:
            llama_cpp.llama_model_free(self._model)  # its adapters with it

    def activate(self, adapter: str) -> None:
        """Compute with this adapter from now on. Keys and values are not tagged by adapter: the caller drops them."""
        if adapter == self._active:
            return
        loaded = self._adapters[adapter]
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
                f"llama.cpp could not decode {len(ids)} tokens (status {status}: {_last_log()}); expected room for "
                f"them in {self.options.cells} cells"
            )

    def logits(self, row: int) -> NDArray[np.float32]:
        """Scores over the vocabulary of the token at `row` of the last batch, (vocabulary,); valid until the next."""
        pointer = llama_cpp.llama_get_logits_ith(self._context, row)
        return np.ctypeslib.as_array(pointer, shape=(self.vocabulary_size,))

    def states(self, rows: int) -> NDArray[np.float32]:
        """Hidden states after the final norm of the last batch's tokens, (rows, hidden), a copy."""
        pointer = llama_cpp.llama_get_embeddings(self._context)
        return np.ctypeslib.as_array(pointer, shape=(rows, self.hidden_size)).copy()

    def want_states(self, wanted: bool) -> None:
        """Whether the next batches give hidden states, of every token in them."""
        llama_cpp.llama_set_embeddings(self._context, wanted)

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
        """The batch with these tokens."""
        n = len(ids)
        self._ids[:n], self._positions[:n], self._sequences[:n] = ids, positions, sequences
        self._outputs[:n] = outputs
        self._batch.n_tokens = n
        return self._batch


def quantize(source: Path, target: Path, kind: str) -> None:
    """Write a quantised copy of an F16 GGUF; `kind` is one of q8_0, q5_k_m, q4_k_m, q4_0.

    Raises:
        WorkError: llama.cpp could not; the disk may be full.
    """
    llama_cpp.llama_log_set(_keep_log, ctypes.c_void_p(0))
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    params.nthread = usable_cores()
    params.max_buf_size = 1 << 30
    if llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)) != 0:
        target.unlink(missing_ok=True)
        raise WorkError(f"{target}: quantising to {kind} failed ({_last_log()}); is the disk full?")


def _load_model(path: Path, options: LlamaOptions) -> Any:
    params = llama_cpp.llama_model_default_params()
    params.use_extra_bufts = options.repack
    params.load_mode = llama_cpp.LLAMA_LOAD_MODE_MMAP if options.map_file else llama_cpp.LLAMA_LOAD_MODE_NONE
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise InputError(f"{path}: llama.cpp cannot read it ({_last_log()}); export the bundle again")
    return model


def _new_context(model: Any, options: LlamaOptions, threads: int) -> Any:
    params = llama_cpp.llama_context_default_params()
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
        raise WorkError(
            f"llama.cpp could not make a context of {options.cells} cells ({_last_log()}); is memory short?"
        )
    return context


def _load_adapter(model: Any, path: Path) -> Any:
    adapter = llama_cpp.llama_adapter_lora_init(model, os.fsencode(path))
    if not adapter:
        raise InputError(f"{path}: not an adapter of this base ({_last_log()}); export the bundle again")
    return adapter


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


def _last_log() -> str:
    return _log[-1] if _log else "no message"
