"""The check at the end of an export: every exported engine beside the torch run, and what would be too far off."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from backbone.stage import CLASSIFIER, GENERATOR
from classifier.predict import Classifier
from engines.base import Encoder, Writer
from generator.reply import Generator
from pipeline.bundle import ONNX_FP32, ONNX_INT8, adapter_file, base_file
from pipeline.engines import torch_engine
from pipeline.model_folder import ModelFolder
from pipeline.parity import Parity, compare, reference
from tickets.errors import WorkError
from tickets.schema import Ticket

_MAX_FALL = 0.01  # of a head's validation accuracy
# bf16 keeps 8 bits: what such a reference says of two labels this close in log-probability is chance
_TIE = {"fp32": 0.0, "bf16": 0.1, "nf4": 0.1}
_TOGETHER = 16


def check_export(model: ModelFolder, folder: Path, quant: str, onnx: bool, tickets: Sequence[Ticket]) -> list[Parity]:
    """Compare what lies in `folder` with the torch run of `model`.

    Raises:
        WorkError: an exact format changed a label, or a quantised one costs a head over one point of accuracy.
    """
    stage = model.stages[CLASSIFIER]
    classifier = Classifier.load(stage.path, stage.encoder(), stage.config)
    writing = model.stages.get(GENERATOR)
    generator = Generator.load(writing.encoder(), writing.config) if writing else None
    engine = torch_engine(model, model.stages)
    before = reference(tickets, classifier, engine, generator, engine if generator else None)
    del engine  # its weights make room for the next
    tie = _TIE[stage.config.base.precision]
    results = []
    for name, exact, encoder, writer in _exported(model, folder, quant, onnx, classifier, generator):
        result = compare(name, before, classifier, encoder, generator, writer, tie)
        _judge(result, exact)
        results.append(result)
    return results


def _exported(
    model: ModelFolder, folder: Path, quant: str, onnx: bool, classifier: Classifier, generator: Generator | None
) -> Iterator[tuple[str, bool, Encoder, Writer | None]]:
    """Name, whether it should be exact, encoder and writer of every engine, one at a time in memory."""
    from engines.llama import LlamaEngine
    from engines.llama_api import LlamaOptions

    prompts = classifier.encoder
    engine = LlamaEngine(
        folder / base_file(quant),
        {name: folder / adapter_file(name) for name in model.stages},
        {name: stage.encoder().prefix for name, stage in model.stages.items()},
        (prompts.end_id, prompts.pad_id),
        LlamaOptions(_TOGETHER, _TOGETHER * max(classifier.max_length, generator.context if generator else 0)),
    )
    yield f"GGUF {quant}", quant == "f16", engine, engine if generator else None
    del engine
    if onnx:
        from engines.onnx import OnnxEngine

        yield "ONNX fp32", True, OnnxEngine(folder / ONNX_FP32), None
        yield "ONNX int8", False, OnnxEngine(folder / ONNX_INT8), None


def _judge(result: Parity, exact: bool) -> None:
    if exact and result.flips:
        raise WorkError(
            f"{result.name} changes {result.flips} labels of {result.tickets} validation tickets; expected none; "
            "nothing was exported; please report this as a fault of duet"
        )
    if result.worst_fall > _MAX_FALL:
        worst = max(result.columns.items(), key=lambda item: item[1].accuracy_before - item[1].accuracy_after)
        raise WorkError(
            f"{result.name} lowers the accuracy of {worst[0]} from {worst[1].accuracy_before:.3f} to "
            f"{worst[1].accuracy_after:.3f} on {result.tickets} validation tickets; expected at most one point; "
            "nothing was exported; choose a finer --quant, such as q8_0 or f16"
        )
