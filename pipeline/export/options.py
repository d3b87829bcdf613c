"""What to export, and in which format."""

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from backbone.architecture import linear_sizes, read_shape
from backbone.runs.layout import GENERATOR
from pipeline.engine_choice import HOW_TO_ADD_LLAMA
from pipeline.export.bundle import (
    AUTO,
    K_QUANTS,
    K_WIDTH,
    NO_GGUF,
    QUANTS,
)
from pipeline.model_folder import ModelFolder
from tickets.errors import InputError

MERGED, MODELFILE = "generator.{}.gguf", "Modelfile"


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Attributes:
        model: run or model folder with a classifier; None for the shipped one.
        generator: run folder to take the generator from where it is not beside the classifier.
        out: folder to write.
        quant: one of QUANTS, or AUTO.
        onnx: also write the classifier as ONNX, fp32 and int8.
        int8: False leaves the int8 graph out.
        merged: also write a self-contained generator and an Ollama Modelfile.
        data: prepared folder to check on; what the classifier was trained on when None.
        check: how many validation tickets to check on.
        memory: also write the training tickets, for `predict --similar`.
    """

    model: Path | None
    out: Path
    generator: Path | None = None
    quant: str = AUTO
    onnx: bool = False
    int8: bool = True
    merged: bool = False
    data: str | None = None
    check: int = 256
    memory: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is read."""
        if self.quant not in (AUTO, *QUANTS):
            raise InputError(f"found --quant {self.quant!r}, expected one of {', '.join((AUTO, *QUANTS))}")
        if self.quant == NO_GGUF and (self.merged or not self.onnx):
            raise InputError("--quant none leaves ONNX labels alone: it goes with --onnx and without --merged")
        if self.quant != NO_GGUF and not find_spec("llama_cpp"):
            raise InputError(
                f"a GGUF is made and checked with llama-cpp-python, which is not installed; {HOW_TO_ADD_LLAMA}; or "
                "export labels alone with --quant none --onnx"
            )


def resolve_quant(quant: str, base: Path) -> str:
    """Return the format to write; say where a wish cannot be met for every tensor."""
    shape = read_shape(base)
    fits = all(columns % K_WIDTH == 0 for _, columns in linear_sizes(shape).values())
    if quant == AUTO:
        return K_QUANTS[-1] if fits else "q8_0"
    if quant in K_QUANTS and not fits:
        print(
            f"note: widths of {shape['hidden_size']} and {shape['intermediate_size']} are not all multiples of "
            f"{K_WIDTH}, so {quant} falls back to other formats for some tensors; --quant q8_0 is exact to eight bits",
            file=sys.stderr,
        )
    return quant


def merged_file(options: ExportOptions, model: ModelFolder) -> str | None:
    """Return the name of the self-contained generator, where one is wanted."""
    return MERGED.format(options.quant) if options.merged and GENERATOR in model.stages else None
