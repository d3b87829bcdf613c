"""Which kind of numbers a safetensors file holds, by its header, before a library loads what it cannot hold."""

from pathlib import Path

from safetensors import safe_open

_FLOATS = ("F64", "F32", "F16", "BF16")


def check_floats(path: Path) -> None:
    """Refuse tensors of other numbers than trained weights are, such as F8.

    Raises:
        ValueError: names one.
        OSError, SafetensorError: no such file, or a damaged one.
    """
    with safe_open(path, framework="numpy") as tensors:
        for name in tensors.keys():  # noqa: SIM118  # not a mapping
            kind = tensors.get_slice(name).get_dtype()
            if kind not in _FLOATS:
                raise ValueError(f"{name} of {kind} is no matrix of numbers; expected one of {', '.join(_FLOATS)}")
