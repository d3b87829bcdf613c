"""The header of a GGUF file: keys with their values, and where each tensor lies.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The package `gguf` reads a vocabulary of 150,000 in
seconds, and trusts the file; this reads it in a quarter of one, and no number in it is believed.
"""

import math
import struct
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

_MAGIC, _VERSION = b"GGUF", 3
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _LIST = 8, 9
_MOST_KEYS, _MOST_TENSORS, _MOST_DIMENSIONS = 1_000, 100_000, 4
_LONGEST_NAME, _LONGEST_TEXT = 64, 1 << 20
_ALIGNMENT = 32


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself; `shapes` are in the order of the file, innermost first.

    Attributes:
        vectors: of the tensors with one dimension in fp32, the byte where each begins.
    """

    values: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    vectors: dict[str, int]


def read_gguf_header(path: Path) -> GgufHeader:
    """Read the header of a GGUF file and check that its tensors lie inside it, one behind the other.

    Raises:
        ValueError: not such a file.
        OSError: not readable.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        try:
            return _Cursor(data).header()
        except struct.error:
            raise ValueError("cut off in its header") from None


def read_vector(path: Path, header: GgufHeader, name: str) -> NDArray[np.float32]:
    """Return an fp32 tensor of one dimension.

    Raises:
        ValueError: not there in this form, or not finite.
        OSError: not readable.
    """
    if name not in header.vectors:
        raise ValueError(f"no vector {name} in fp32")
    (length,) = header.shapes[name]
    values = np.fromfile(path, np.float32, length, offset=header.vectors[name])
    if len(values) != length or not np.isfinite(values).all():
        raise ValueError(f"{name} is not finite")
    return values


class _Cursor:
    """A place in the bytes of a file."""

    def __init__(self, data: mmap) -> None:
        self._data, self._at = data, 0

    def header(self) -> GgufHeader:
        if self._data[:4] != _MAGIC:
            raise ValueError("does not begin with GGUF")
        self._at = 4
        version, tensors, keys = self._number("<I"), self._number("<Q"), self._number("<Q")
        if version != _VERSION or keys > _MOST_KEYS or not 0 < tensors <= _MOST_TENSORS:
            raise ValueError(f"version {version} with {keys:,} keys and {tensors:,} tensors")
        values: dict[str, Any] = {}
        for _ in range(keys):
            name = self._text(_LONGEST_TEXT)
            if name in values:
                raise ValueError(f"key {name[:100]!r} is there twice")
            values[name] = self._value(self._number("<I"))
        if values.get("general.alignment", _ALIGNMENT) != _ALIGNMENT:
            raise ValueError(f"alignment of {values['general.alignment']!r}, expected {_ALIGNMENT}")
        shapes, vectors = self._tensors(tensors)
        data = _padded(self._at)
        return GgufHeader(values, shapes, {name: data + start for name, start in vectors.items()})

    def _tensors(self, count: int) -> tuple[dict[str, tuple[int, ...]], dict[str, int]]:
        """Return the shapes by name, and where the vectors in fp32 begin in the part with the data."""
        shapes: dict[str, tuple[int, ...]] = {}
        vectors: dict[str, int] = {}
        end = 0  # of the tensors so far, in the part with the data
        for _ in range(count):
            name = self._text(_LONGEST_NAME)
            dimensions = self._number("<I")
            if not 0 < dimensions <= _MOST_DIMENSIONS:
                raise ValueError(f"tensor {name!r} has {dimensions:,} dimensions")
            shape = tuple(self._number("<Q") for _ in range(dimensions))
            kind, start = self._number("<I"), self._number("<Q")
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
            if name in shapes or not all(shape) or shape[0] % block or start != end:
                raise ValueError(f"tensor {name!r} of shape {shape} begins at {start:,}, expected at {end:,}")
            shapes[name] = shape
            if dimensions == 1 and kind == GGMLQuantizationType.F32:
                vectors[name] = start
            end += _padded(math.prod(shape) // block * size)
        if _padded(self._at) + end > _padded(len(self._data)):
            raise ValueError(f"its tensors need {end:,} bytes, which are not all there")
        return shapes, vectors

    def _value(self, kind: int) -> Any:
        if kind == _TEXT:
            return self._text(_LONGEST_TEXT)
        if kind != _LIST:
            return self._number(_SCALARS[kind])
        inner, length = self._number("<I"), self._number("<Q")
        if length > len(self._data):  # each has a byte at least
            raise ValueError(f"a list of {length:,} values")
        if inner == _TEXT:
            return [self._text(_LONGEST_TEXT) for _ in range(length)]
        code = _SCALARS[inner][1:]  # lists of lists are in no file of ours
        size = struct.calcsize(f"<{code}")
        if length * size > len(self._data) - self._at:
            raise ValueError(f"a list of {length:,} values")
        numbers = struct.unpack_from(f"<{length}{code}", self._data, self._at)
        self._at += length * size
        return list(numbers)

    def _text(self, longest: int) -> str:
        length = self._number("<Q")
        if length > longest or self._at + length > len(self._data):
            raise ValueError(f"a text of {length:,} bytes")
        text = self._data[self._at : self._at + length]
        self._at += length
        return text.decode("utf-8")

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
