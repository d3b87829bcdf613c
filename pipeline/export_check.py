"""The check at the end of an export: every exported engine beside the torch run, and what would be too far off."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from backbone.base import settled
from backbone.stage import CLASSIFIER, GENERATOR
from classifier.predict import Classifier
from engines.base import Encoder, Writer
from generator.reply import Generator
from pipeline.bundle import NO_GGUF, ONNX_FP32, ONNX_INT8, adapter_file, base_file
from pipeline.engines import llama_engine, torch_engine
from pipeline.model_folder import ModelFolder
from pipeline.parity import Parity, compare, reference
from tickets.errors import InputError, WorkError
from tickets.schema import Ticket

_MAX_FALL = 0.01  # of a head's validation accuracy
# bf16 keeps 8 bits: what such a reference says of two labels this close in log-probability is chance
_TIE = {"fp32": 0.0, "bf16": 0.1, "nf4": 0.1}
_TOGETHER = 16
_SMALL = 2e9  # bytes; below it nobody needs to be asked


def check_memory(model: ModelFolder, base: Path) -> None:
    """The check runs the whole base in torch; tell at once where it will not fit.

    Raises:
        InputError: no CUDA device, and less memory than the weights take.
    """
    precision = settled(model.any_stage.config.base).precision
    needed = sum(file.stat().st_size for file in base.glob("*.safetensors")) * (2 if precision == "fp32" else 1)
    available = _available_memory()
    if needed < _SMALL or available is None or needed < available:
        return
    import torch

    if not torch.cuda.is_available():
        raise InputError(
            f"the check at the end of an export runs the trained model in torch, which takes {needed / 1e9:.0f} GB; "
            f"found {available / 1e9:.0f} GB of free memory; export where the model was trained and copy the bundle"
        )


def check_export(
    model: ModelFolder, folder: Path, quant: str, onnx: bool, merged: str | None, tickets: Sequence[Ticket]
) -> list[Parity]:
    """Compare what lies in `folder` with the torch run of `model`; `merged` names a self-contained generator.

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
    precision = settled(stage.config.base).precision
    results = []
    exported = _exported(model, folder, quant, onnx, merged, classifier, generator)
    for name, exact, encoder, writer in exported:
        result = compare(name, before, classifier, encoder, generator, writer, _TIE[precision])
        _judge(result, exact and precision != "nf4")  # the files hold the weights that NF4 was rounded from
        results.append(result)
        del encoder, writer  # before the next engine is loaded
    return results


def _exported(
    model: ModelFolder,
    folder: Path,
    quant: str,
    onnx: bool,
    merged: str | None,
    classifier: Classifier,
    generator: Generator | None,
) -> Iterator[tuple[str, bool, Encoder | None, Writer | None]]:
    """Name, whether it should be exact, encoder and writer of every engine, one at a time in memory."""
    if quant != NO_GGUF:
        adapters = {name: folder / adapter_file(name) for name in model.stages}
        cells = _TOGETHER * max(classifier.max_length, generator.context if generator else 0)
        engine = llama_engine(model, folder / base_file(quant), adapters, _TOGETHER, cells)
        yield f"GGUF {quant}", quant == "f16", engine, engine if generator else None
        del engine
        if merged:
            alone = llama_engine(model, folder / merged, {GENERATOR: None}, _TOGETHER, cells)
            yield f"merged generator {quant}", False, None, alone
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
        onnx = result.name.startswith("ONNX")
        mend = "leave --onnx out" if onnx else "choose a finer --quant, such as q8_0 or f16, or check on more tickets"
        raise WorkError(
            f"{result.name} lowers the accuracy of {worst[0]} from {worst[1].accuracy_before:.3f} to "
            f"{worst[1].accuracy_after:.3f} on {result.tickets} validation tickets; expected at most one point; "
            f"nothing was exported; {mend}"
        )


def _available_memory() -> float | None:
    """Bytes that may be had without swapping; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024.0 for line in lines if line.startswith("MemAvailable")), None)
