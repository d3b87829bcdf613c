"""The check at the end of an export: every exported engine beside the torch run, and what would be too far off."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from backbone.device import settled
from backbone.runs.layout import ADAPTER, CLASSIFIER, GENERATOR
from classifier.predict import Classifier
from engines.layered import LayeredEngine
from engines.protocols import Encoder, Writer
from generator.reply import Generator
from pipeline.engine_choice import llama_engine
from pipeline.export.bundle import NO_GGUF, ONNX_INT8, adapter_file, base_file
from pipeline.export.parity import Parity, choices, compare, reference, run_engine
from pipeline.model_folder import ModelFolder
from tickets.errors import WorkError
from tickets.schema import Ticket

_MAX_FALL = 0.01  # of a head's validation accuracy
# bf16 keeps 8 bits: what such a reference says of two labels this close in log-probability is chance
_TIE = {"fp32": 0.0, "bf16": 0.1, "nf4": 0.1}
_TOGETHER = 16


def check_export(
    model: ModelFolder, folder: Path, quant: str, graphs: Sequence[str], merged: str | None, tickets: Sequence[Ticket]
) -> list[Parity]:
    """Compare what lies in `folder` with the torch run of `model`.

    `graphs` names ONNX files, `merged` a self-contained generator.

    Raises:
        WorkError: an exact format changed a label, or a quantised one costs a head over one point of accuracy.
    """
    stage = model.stages[CLASSIFIER]
    classifier = Classifier.load(stage.path, stage.encoder, stage.config)
    writing = model.stages.get(GENERATOR)
    generator = Generator.load(writing.encoder, writing.config) if writing else None
    adapters = {name: one.path / ADAPTER for name, one in model.stages.items()}
    encoder = classifier.encoder
    engine = LayeredEngine(model.base_folder(), adapters, stage.config.base, encoder.pad_id)
    before = reference(tickets, classifier, generator, engine)
    cells = _TOGETHER * before.longest  # not of what training allows: that is most of a gigabyte on a 7B
    exported = _exported(model, folder, quant, graphs, merged, generator is not None, cells)
    outputs, exact = [], {}
    for name, is_exact, labeller, writer in exported:
        outputs.append(run_engine(name, before, labeller, writer))
        exact[name] = is_exact
        del labeller, writer  # before the next engine is loaded
    chosen = choices(before, outputs, engine)
    precision = settled(stage.config.base).precision
    ends = {encoder.end_id, encoder.pad_id}
    results = [compare(before, one, chosen.get(one.name, ()), classifier, _TIE[precision], ends) for one in outputs]
    # NF4's files hold the weights that it was rounded from
    faults = [_fault(result, exact[result.name] and precision != "nf4") for result in results]
    fault = next((text for text in faults if text), None)
    if fault:
        print("\n".join(map(str, results)), file=sys.stderr)
        raise WorkError(f"{fault}; nothing was exported, what was made lies in {folder}")
    return results


def _exported(
    model: ModelFolder,
    folder: Path,
    quant: str,
    graphs: Sequence[str],
    merged: str | None,
    writes: bool,
    cells: int,
) -> Iterator[tuple[str, bool, Encoder | None, Writer | None]]:
    """Name, whether it should be exact, encoder and writer of every engine, one at a time in memory."""
    if quant != NO_GGUF:
        adapters = {name: folder / adapter_file(name) for name in model.stages}
        engine = llama_engine(model, folder / base_file(quant), adapters, _TOGETHER, cells)
        yield f"GGUF {quant}", quant == "f16", engine, engine if writes else None
        del engine
        if merged:
            alone = llama_engine(model, folder / merged, {GENERATOR: None}, _TOGETHER, cells)
            yield f"merged generator {quant}", False, None, alone
    for graph in graphs:
        from engines.onnx import OnnxEngine

        yield f"ONNX {'int8' if graph == ONNX_INT8 else 'fp32'}", graph != ONNX_INT8, OnnxEngine(folder / graph), None


def _fault(result: Parity, exact: bool) -> str | None:
    if exact and result.flips:
        return (
            f"{result.name} changes {result.flips} labels of {result.tickets} validation tickets; expected none; "
            "please report this as a fault of duet"
        )
    if result.worst_fall > _MAX_FALL:
        worst = max(result.columns.items(), key=lambda item: item[1].accuracy_before - item[1].accuracy_after)
        onnx = result.name.startswith("ONNX")
        mend = "leave it out with --no-int8" if onnx else "choose a finer --quant, such as q8_0 or f16"
        return (
            f"{result.name} lowers the accuracy of {worst[0]} from {worst[1].accuracy_before:.3f} to "
            f"{worst[1].accuracy_after:.3f} on {result.tickets} validation tickets; expected at most one point; "
            f"{mend}, or check on more tickets"
        )
    return None
