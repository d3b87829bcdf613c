"""Arrays of a memory on the disk, which are not trusted: their form is checked before they are computed with."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tickets.errors import InputError

_REMEDY = "restore the bundle, or export it again with --memory"


def unreadable(path: Path, problem: str) -> InputError:
    """Return the error of a file of a memory that is not what an export writes."""
    return InputError(f"{path}: {problem}; {_REMEDY}")


def load_array(path: Path, kind: type[np.generic]) -> npt.NDArray[Any]:
    """Return a file's array of one dimension, mapped, so that processes share it.

    Raises:
        InputError: not an array, or one of another kind.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception:  # numpy reads the head as Python source, whose parser raises whatever it raises
        raise unreadable(path, "no readable array of a memory") from None
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype != np.dtype(kind):
        raise unreadable(path, f"found another array, expected one dimension of {np.dtype(kind).name}")
    return array


def check_values(path: Path, holds: "bool | np.bool_", expected: str) -> None:
    """Raise InputError where the values of a file are not as `expected`."""
    if not holds:
        raise unreadable(path, f"found other values, expected {expected}")


def ascends(values: npt.NDArray[Any], below: int) -> bool:
    """Return whether whole numbers from 0 on ascend, each once, and stay below a limit."""
    return not len(values) or bool(values[0] >= 0 and values[-1] < below and (values[1:] > values[:-1]).all())
