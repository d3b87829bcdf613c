"""The files that make a model folder a bundle: one GGUF base, LoRA GGUFs, and ONNX graphs of the classifier."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbone.runs.files import read_json
from backbone.runs.folder import verify
from backbone.runs.layout import MANIFEST
from backbone.runs.manifest import read_manifest
from tickets.errors import InputError

NO_GGUF = "none"  # a bundle of ONNX labels alone, for where there is no llama.cpp
AUTO = "auto"  # the smallest format that suits the base
QUANTS = ("f16", "q8_0", "q5_k_m", "q4_k_m", "q4_0", NO_GGUF)
K_QUANTS, K_WIDTH = ("q5_k_m", "q4_k_m"), 256  # K-quants need rows of a multiple of so many values
BUNDLE = "bundle"  # key of the manifest
CHECK, CARD = "check.json", "README.md"
MEMORY = "memory"  # folder of the resolved tickets, and their key in what the manifest says of the bundle
ONNX_FP32, ONNX_INT8 = "onnx-fp32/classifier.onnx", "onnx-int8/classifier.onnx"
_FORMAT = 1


def base_file(quant: str) -> str:
    """Return the name of the base."""
    return f"base.{quant}.gguf"


def adapter_file(stage: str) -> str:
    """Return the name of a stage's LoRA GGUF."""
    return f"{stage}.lora.gguf"


def bundle_facts(quant: str, **facts: Any) -> dict[str, Any]:
    """Return what a bundle's manifest says besides the sums of its files."""
    return {BUNDLE: {"format": _FORMAT, "quant": quant, **facts}}


@dataclass(frozen=True)
class Bundle:
    """An exported folder."""

    folder: Path
    quant: str
    files: frozenset[str]
    memory: Mapping[str, Any] | None = None  # what the manifest says of the resolved tickets

    @classmethod
    def open(cls, folder: Path) -> "Bundle | None":
        """Return the bundle in a folder; None where the folder is no bundle.

        Raises:
            InputError: a bundle of a later version, or without a readable manifest.
        """
        path = folder / MANIFEST
        exported = (folder / CHECK).is_file()  # which nothing but an export writes
        if not path.is_file() and not exported:
            return None
        record = read_json(path, "the manifest of a bundle; restore it, or export again")
        if BUNDLE not in record and not exported:
            return None
        unreadable = f"{path}: not the manifest of a bundle; restore it, or export again"
        read_manifest(folder, unreadable)  # refuses names that lead out of the folder
        try:
            version = record[BUNDLE]["format"]
            if version != _FORMAT:
                raise InputError(
                    f"{folder}: a bundle of format {version}, expected {_FORMAT}; update duet or export again"
                )
            memory = record[BUNDLE].get(MEMORY)
            if not isinstance(memory, dict | None):
                raise TypeError
            bundle = cls(folder, str(record[BUNDLE]["quant"]), frozenset(dict(record["files"])), memory)
            if CHECK not in bundle.files or (bundle.quant != NO_GGUF and not bundle.has_gguf):
                raise ValueError
            return bundle
        except (KeyError, TypeError, ValueError):
            raise InputError(unreadable) from None

    @property
    def has_gguf(self) -> bool:
        """Whether llama.cpp can run it."""
        return base_file(self.quant) in self.files

    @property
    def graph(self) -> str | None:
        """Name of the best ONNX graph, int8 before fp32."""
        return next((name for name in (ONNX_INT8, ONNX_FP32) if name in self.files), None)

    def require(self, names: Iterable[str], below: str) -> None:
        """Raise InputError where the manifest leaves out a file that has to be there: nothing vouches for it."""
        missing = next((name for name in names if f"{below}/{name}" not in self.files), None)
        if missing:
            raise InputError(
                f"{self.folder / below / missing}: missing in {MANIFEST} of the bundle; restore it, or export again"
            )

    def verify_folders(self, *names: str) -> None:
        """Raise InputError where a file below these folders is missing, damaged, or of another bundle."""
        verify(self.folder, [file for file in self.files if file.partition("/")[0] in names])

    def checked(self, name: str) -> Path:
        """Return the path of a file whose sum is right, as are those of the weights beside a large graph.

        Raises:
            InputError: it is missing, damaged, or of another bundle.
        """
        verify(self.folder, self._with_weights(name))
        return self.folder / name

    def digest(self, name: str) -> str:
        """Return one SHA-256 for the content of a file that was `checked`, and of the weights beside it."""
        return self.digest_of(self._with_weights(name))

    def digest_of(self, names: Iterable[str]) -> str:
        """Return one SHA-256 for the content of files in this order, whose sums are right."""
        sums = read_manifest(self.folder)["files"]
        return hashlib.sha256("".join(sums[name] for name in names).encode()).hexdigest()

    def _with_weights(self, name: str) -> list[str]:
        """Return files, with unlisted ones beside a graph: onnxruntime would read these, unverified."""
        there = (path.relative_to(self.folder).as_posix() for path in self.folder.glob(f"{name}.*"))
        return [name, *sorted({*there, *(other for other in self.files if other.startswith(f"{name}."))})]
