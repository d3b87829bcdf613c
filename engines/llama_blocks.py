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
    """A callback for every node of a llama.cpp graph; it keeps the output of one block.

    Attributes:
        callback: what llama.cpp calls; has to live as long as the context.
        keeps_states: keep the states of the next graphs.
        states: of every token of the last graph, before any norm, (tokens, hidden).
    """

    def __init__(self, count: int, hidden_size: int, runs_later_blocks: bool) -> None:
        """Watch the output of block number `count`, counted from one.

        Args:
            runs_later_blocks: compute the blocks behind it too.
        """
        self._watched = f"l_out-{count - 1}".encode()
        self._hidden_size, self._runs_later_blocks = hidden_size, runs_later_blocks
        self.keeps_states = False
        self.states: NDArray[np.float32] = np.empty((0, hidden_size), dtype=np.float32)
        self.callback = llama_cpp.ggml_backend_sched_eval_callback(self._on_node)

    def _on_node(self, tensor: int, is_question: bool, _user_data: Any) -> bool:
        """Return whether llama.cpp should report a node, and once it is computed, whether to compute the later ones."""
        if is_question:
            return (self.keeps_states or not self._runs_later_blocks) and _name(tensor) == self._watched
        if self.keeps_states:
            self.states = np.empty((_bytes(tensor) // 4 // self._hidden_size, self._hidden_size), dtype=np.float32)
            _copy(tensor, self.states.ctypes.data, 0, self.states.nbytes)
        return self._runs_later_blocks
