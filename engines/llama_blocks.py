"""Hidden states after the first blocks of a base: llama.cpp's graph is watched at its block, and ended there."""

import ctypes
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp._ggml import libggml  # the package exports nothing that looks into a tensor
from numpy.typing import NDArray

_name = libggml.ggml_get_name
_name.restype, _name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
_bytes = libggml.ggml_nbytes
_bytes.restype, _bytes.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
_copy = libggml.ggml_backend_tensor_get
_copy.restype, _copy.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]


class BlockWatcher:
    """llama.cpp asks it about every node of a graph, and gives it those that it wants to see.

    Attributes:
        callback: what llama.cpp calls; has to live as long as the context.
        wanted: keep the states of the next graphs.
        states: of every token of the last graph, before any norm, (tokens, hidden).
    """

    def __init__(self, count: int, hidden_size: int, goes_on: bool) -> None:
        """Watch the output of block number `count`, counted from one.

        Args:
            goes_on: compute the blocks behind it too.
        """
        self._watched = f"l_out-{count - 1}".encode()
        self._hidden_size, self._goes_on = hidden_size, goes_on
        self.wanted = False
        self.states: NDArray[np.float32] = np.empty((0, hidden_size), dtype=np.float32)
        self.callback = llama_cpp.ggml_backend_sched_eval_callback(self._called)

    def _called(self, tensor: int, is_question: bool, _user_data: Any) -> bool:
        """Say whether a node is wanted, and when it is there, whether the graph goes on."""
        if is_question:
            return (self.wanted or not self._goes_on) and _name(tensor) == self._watched
        if self.wanted:
            self.states = np.empty((_bytes(tensor) // 4 // self._hidden_size, self._hidden_size), dtype=np.float32)
            _copy(tensor, self.states.ctypes.data, 0, self.states.nbytes)
        return self._goes_on
