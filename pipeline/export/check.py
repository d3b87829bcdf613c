"""The check at the end of an export: every exported engine beside the torch run, and what would be too far off."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from backbone.device import resolve_formats
from backbone.runs.layout import ADAPTER, CLASSIFIER, GENERATOR
from classifier.predict import Classifier
from engines.layered import LayeredEngine
from engines.protocols import LabelEngine, Writer
from generator.reply import Generator
from pipeline.engine_choice import llama_engine
from pipeline.export.bundle import NO_GGUF, ONNX_INT8, adapter_file, base_file
from pipeline.export.parity import (
    VISIBLE_FALL,
    Parity,
    compare_with_reference,
    reference_tokens,
    run_engine,
    run_reference,
)
from pipeline.model_folder import ModelFolder
from tickets.errors import WorkError
from tickets.schema import Ticket

_WORST_FALL = 0.03  # of a head's validation accuracy, which is refused even if it may be chance
_WORST_LOSS = 3  # labels: fewer say nothing, however few the tickets
# By the reference's format: which of two labels this close in log-probability it gives is chance. bf16 keeps 8 bits;
# beside fp32 it is llama.cpp that rounds, which multiplies in fp16 on some CPUs: 0.002 is a thousandth at even odds.
_TIE = {"fp32": 0.002, "bf16": 0.1, "nf4": 0.1}
_TOGETHER = 16


def check_export(
    model: ModelFolder, folder: Path, quant: str, graphs: Sequence[str], merged: str | None, tickets: Sequence[Ticket]
) -> list[Parity]:
    """Compare what lies in `folder` with the torch run of `model`.

    `graphs` names ONNX files, `merged` a self-contained generator.

    Raises:
        WorkError: an exact format changed a label; or a quantised one costs a head over one point of accuracy, which is
            beyond chance, or over three points.
    """
    stage = model.stages[CLASSIFIER]
    classifier = Classifier.load(stage.path, stage.encoder, stage.config)
    writing = model.stages.get(GENERATOR)
    generator = Generator.load(writing.encoder, writing.config) if writing else None
    adapters = {name: one.path / ADAPTER for name, one in model.stages.items()}
    encoder = classifier.encoder
    engine = LayeredEngine(model.base_folder(), adapters, stage.config.base, encoder.pad_id, model.blocks)
    trained = run_reference(tickets, classifier, generator, engine)
    exported = _exported(model, folder, quant, graphs, merged, generator is not None, trained.longest)
    outputs, exact = [], {}
    for name, is_exact, labeller, writer in exported:
        outputs.append(run_engine(name, trained, labeller, writer))
        exact[name] = is_exact
        del labeller, writer  # before the next engine is loaded
    chosen = reference_tokens(trained, outputs, engine)
    precision = resolve_formats(stage.config.base).precision
    end_ids = {encoder.end_id, encoder.pad_id}
    results = [
        compare_with_reference(trained, one, chosen.get(one.name, ()), classifier, _TIE[precision], end_ids)
        for one in outputs
    ]
    # NF4's files hold the weights that it was rounded from
    faults = [_fault(result, exact[result.name] and precision != "nf4") for result in results]
    for warning in (text for result in results for text in _warnings(result)):
        print(f"warning: {warning}", file=sys.stderr)
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
    longest: int,
) -> Iterator[tuple[str, bool, LabelEngine | None, Writer | None]]:
    """Yield every engine, one at a time in memory: name, whether it should be exact, label engine and writer."""
    if quant != NO_GGUF:
        # not of what training allows: that is most of a gigabyte on a 7B
        cells = _TOGETHER * longest
        adapters = {name: folder / adapter_file(name) for name in model.stages}
        engine = llama_engine(model, folder / base_file(quant), adapters, _TOGETHER, cells, longest)
        yield f"GGUF {quant}", quant == "f16", engine, engine if writes else None
        del engine
        if merged:
            alone = llama_engine(model, folder / merged, {GENERATOR: None}, _TOGETHER, cells, longest)
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
    for name, column in result.columns.items():
        clear = column.fall > VISIBLE_FALL and column.falls_beyond_chance
        large = column.fall > _WORST_FALL and column.lost - column.won >= _WORST_LOSS
        if not clear and not large:
            continue
        onnx = result.name.startswith("ONNX")
        remedy = "leave it out with --no-int8" if onnx else "choose a finer --quant, such as q8_0 or f16"
        return (
            f"{result.name} lowers the accuracy of {name} from {column.accuracy_before:.3f} to "
            f"{column.accuracy_after:.3f} on {column.tickets} validation tickets; expected at most one point; "
            f"{remedy}, or check on more tickets"
        )
    return None


def _warnings(result: Parity) -> Iterator[str]:
    """Yield what to say where the tickets are too few to tell a loss from chance; a single label is none."""
    for name, column in result.columns.items():
        if column.fall > VISIBLE_FALL and column.lost - column.won > 1 and column.tickets < column.tickets_needed:
            yield (
                f"{result.name} lowers the accuracy of {name} by {column.fall:.1%} on {column.tickets} validation "
                f"tickets, which may be chance; --check {column.tickets_needed} would tell"
            )
