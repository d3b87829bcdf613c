"""Writing the files of a bundle, each of them whole or not at all."""

import shutil
from collections.abc import Callable
from functools import partial as partial_call
from pathlib import Path
from typing import Any

from backbone.runs.layout import ADAPTER, CLASSIFIER, GENERATOR
from classifier.predict import Classifier
from pipeline.export.bundle import (
    ONNX_FP32,
    ONNX_INT8,
    adapter_file,
    base_file,
)
from pipeline.export.model_card import modelfile
from pipeline.export.options import MERGED, MODELFILE, ExportOptions, merged_file
from pipeline.model_folder import ModelFolder


def write_once(target: Path, make: Callable[[Path], Any]) -> None:
    """Make a file or folder under another name and rename it, unless it is there from an interrupted export."""
    if target.exists():
        return
    unfinished = target.with_name(target.name + ".unfinished")
    if unfinished.is_dir():
        shutil.rmtree(unfinished)
    make(unfinished)
    unfinished.rename(target)


def write_gguf(options: ExportOptions, model: ModelFolder, base: Path, partial: Path) -> None:
    """Write the base, the adapters and, where asked for, the merged generator with its Modelfile."""
    from backbone.adapters import read_adapter
    from backbone.gguf_files import write_adapter, write_base

    name = model.any_stage.base.name
    adapters = {stage: read_adapter(folder.path / ADAPTER) for stage, folder in model.stages.items()}
    for stage, adapter in adapters.items():
        write_once(partial / adapter_file(stage), partial_call(write_adapter, adapter, base=base, name=stage))
    _write_quantised(partial, base_file, options.quant, lambda out: write_base(base, out, name))
    if merged_file(options, model):
        changes = adapters[GENERATOR]
        merged = f"{name}, generator merged"
        _write_quantised(partial, MERGED.format, options.quant, lambda out: write_base(base, out, merged, changes))
        writer = model.stages[GENERATOR]
        text = modelfile(MERGED.format(options.quant), writer.encoder, writer.config)
        (partial / MODELFILE).write_text(text, encoding="utf-8")


def _write_quantised(partial: Path, name: Callable[[str], str], quant: str, write: Callable[[Path], None]) -> None:
    """Write one GGUF, through an F16 file where the result is another."""
    target, half = partial / name(quant), partial / name("f16")
    if target.exists():
        return
    write_once(half, write)
    if target != half:
        from engines.llama_model import quantize

        write_once(target, lambda out: quantize(half, out, quant))


def write_onnx(model: ModelFolder, base: Path, partial: Path, int8: bool) -> None:
    """Write the classifier as ONNX, in fp32 and, where asked for, int8."""
    from classifier.onnx_export import export_onnx, quantize_onnx

    stage = model.stages[CLASSIFIER]
    classifier = Classifier.load(stage.path, stage.encoder, stage.config)
    exact, quantised = Path(ONNX_FP32), Path(ONNX_INT8)  # in folders of their own: a large graph is two files
    layers, adapter = model.blocks.get(CLASSIFIER), stage.path / ADAPTER
    write_once(partial / exact.parent, lambda out: export_onnx(base, layers, adapter, classifier, out / exact.name))
    if int8:
        write_once(partial / quantised.parent, lambda out: quantize_onnx(partial / exact, out / quantised.name, base))
