"""A GGUF base and its adapters in memory, by llama.cpp, and quantised copies of files.

`Llama()` of llama-cpp-python is not used: it decodes one sequence at a time, re-tokenises strings and reuses keys and
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
from engines.gguf_reader import read_vector
from tickets.errors import InputError, WorkError

try:
    import llama_cpp
except (ImportError, RuntimeError, OSError) as error:  # the last two where its library does not load
    raise InputError(
        f"the llama engine needs llama-cpp-python ({error}); run `make llama` (it needs a C++ compiler), or choose "
        "--engine onnx or torch"
    ) from None

_EPSILON = "attention.layer_norm_rms_epsilon"
_WARN, _CONTINUED = 3, 5  # of ggml's levels, which the package does not name
_log: list[str] = []


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_log(level: int, text: bytes, _user_data: Any) -> None:
    """Keep a line of llama.cpp's log; at module level, because a collected callback kills the process."""
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


@dataclass(frozen=True)
class FinalNorm:
    """RMSNorm (Zhang and Sennrich 2019) with its `gain` (hidden,)."""

    gain: NDArray[np.float32]
    epsilon: float

    def __call__(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """Norm states (rows, hidden)."""
        squares = np.mean(np.square(states, dtype=np.float64), axis=1, keepdims=True)
        normed: NDArray[np.float32] = (states / np.sqrt(squares + self.epsilon) * self.gain).astype(np.float32)
        return normed


class LlamaModel:
    """A base and its adapters in memory; any number of contexts share them."""

    def __init__(self, base: Path, adapters: Mapping[str, Path | None], options: LlamaOptions) -> None:
        """Load the base and the adapters; None stands for the base as it is.

        Raises:
            InputError: a file that llama.cpp cannot read, or an adapter of another base.
        """
        self.pointer = None  # what `__del__` finds where the files are refused
        header = check_base(base)
        for path in adapters.values():
            if path:
                check_adapter(path, header)
        llama_cpp.llama_log_set(_keep_log, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.pointer = _load_model(base, options)
        self.adapters = {name: _load_adapter(self.pointer, p) if p else None for name, p in adapters.items()}
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.pointer)
        self.vocabulary_size = int(llama_cpp.llama_vocab_n_tokens(self.vocabulary))
        self.hidden_size = int(llama_cpp.llama_model_n_embd(self.pointer))
        self._base, self._header = base, header

    def __del__(self) -> None:
        if self.pointer:
            llama_cpp.llama_model_free(self.pointer)  # its adapters with it

    def final_norm(self) -> FinalNorm:
        """Return the norm behind the last block.

        Raises:
            InputError: the file has none in fp32.
        """
        values = self._header.values
        epsilon = values[f"{values['general.architecture']}.{_EPSILON}"]
        try:
            return FinalNorm(read_vector(self._base, self._header, "output_norm.weight"), epsilon)
        except (OSError, ValueError) as error:
            raise InputError(f"{self._base}: {error}; export the bundle again") from None


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
        raise WorkError(f"{target}: quantising to {kind} failed ({last_log()}); is the disk full?")


def _load_model(path: Path, options: LlamaOptions) -> Any:
    params = llama_cpp.llama_model_default_params()
    params.use_extra_bufts = options.repack
    params.load_mode = llama_cpp.LLAMA_LOAD_MODE_MMAP if options.map_file else llama_cpp.LLAMA_LOAD_MODE_NONE
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        raise InputError(f"{path}: llama.cpp cannot read it ({last_log()}); export the bundle again")
    return model


def _load_adapter(model: Any, path: Path) -> Any:
    adapter = llama_cpp.llama_adapter_lora_init(model, os.fsencode(path))
    if not adapter:
        raise InputError(f"{path}: not an adapter of this base ({last_log()}); export the bundle again")
    return adapter


def last_log() -> str:
    """Return the last warning or error of llama.cpp."""
    return _log[-1] if _log else "no message"
