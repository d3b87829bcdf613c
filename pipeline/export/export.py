"""`duet export`: turn trained runs into a bundle for a CPU, and check it against them before it is kept."""

import shutil
import sys
from dataclasses import replace
from functools import partial as partial_call
from pathlib import Path
from typing import Any

from backbone.dataset import data_fingerprint, load_part, resolve_data
from backbone.runs.files import disk_guard, read_json, refuse_links, writable, write_json
from backbone.runs.folder import package_versions, partial_folder, paths_written_for, publish
from backbone.runs.layout import CLASSIFIER, GENERATOR, LABELS, MANIFEST, PLAN, RUN
from backbone.runs.locks import hold
from memory.memory import open_memory, write_memory
from pipeline.export.bundle import (
    CARD,
    CHECK,
    MEMORY,
    NO_GGUF,
    ONNX_FP32,
    ONNX_INT8,
    Bundle,
    adapter_file,
    base_file,
    bundle_facts,
)
from pipeline.export.check import check_export
from pipeline.export.model_card import model_card
from pipeline.export.options import MODELFILE, ExportOptions, merged_file, resolve_quant
from pipeline.export.writing import write_gguf, write_once, write_onnx
from pipeline.model_folder import ModelFolder, StageFolder, check_prefix_classifier, check_same_base, open_model
from pipeline.resolved import memory_facts, resolved_tickets
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.schema import Ticket
from tickets.sources import check_unicode, output_path, refuse_overlap, resolved
from tickets.terminal import escape_controls

_RECIPE = 2  # of the files: what an earlier one left unfinished is made again


def export(options: ExportOptions) -> str:
    """Write and check a bundle; returns the check as text.

    Files are made in a sibling folder and kept there when the work is interrupted: the same command goes on.

    Raises:
        InputError: runs that do not belong together or that the formats cannot carry.
        WorkError: the exported model does not say what the trained one says.
    """
    options = replace(options, out=resolved(output_path(options.out, "--out")))
    model = _gather(options)
    base = model.base_folder()
    options = replace(options, quant=resolve_quant(options.quant, base))
    data = _data(model, options)
    validation = _validation(model, options, data)
    if options.onnx:
        from classifier.onnx_export import check_size

        check_size(base, model.blocks.get(CLASSIFIER))
    read = [model.path, base / "config.json", data, *(stage.path for stage in model.stages.values())]
    refuse_overlap(read, paths_written_for(options.out), "--out")
    _check_out(options.out)
    partial = _open_partial(options, model, data)
    with disk_guard(partial):
        for name, stage in model.stages.items():
            write_once(partial / name, partial_call(shutil.copytree, stage.path))
        if (model.path / "base").is_dir():
            write_once(partial / "base", partial_call(shutil.copytree, model.path / "base"))
        if options.quant != NO_GGUF:
            write_gguf(options, model, base, partial)
        if options.onnx:
            write_onnx(model, base, partial, options.int8)
        if options.memory:
            write_once(partial / MEMORY, lambda out: write_memory(out, resolved_tickets(data)))
        _drop_others(partial, options, model)
        graphs = [name for name in (ONNX_FP32, ONNX_INT8) if (partial / name).is_file()]
        results = check_export(model, partial, options.quant, graphs, merged_file(options, model), validation)
        write_json(partial / CHECK, {"check": [result.to_dict() for result in results]})
        (partial / CARD).write_text(escape_controls(model_card(model, options.quant, results)), encoding="utf-8")
    runs = {name: {"path": str(stage.path), **_run_facts(stage)} for name, stage in model.stages.items()}
    facts: dict[str, Any] = {"runs": runs, "base": vars(model.any_stage.base), "versions": package_versions()}
    if options.memory:
        facts[MEMORY] = memory_facts(open_memory(partial / MEMORY))
    publish(partial, options.out, **bundle_facts(options.quant, **facts))
    return "\n".join(str(result) for result in results)


def _gather(options: ExportOptions) -> ModelFolder:
    """Return the stages to export, which have to share base, tokenizer and label space."""
    model = open_model(options.model)
    stages = dict(model.stages)
    if options.generator is not None:
        given = open_model(options.generator, "--generator").stages
        if GENERATOR not in given:
            raise InputError(f"--generator {options.generator}: has no generator; expected a run of `duet train-gen`")
        stages[GENERATOR] = given[GENERATOR]
    if CLASSIFIER not in stages:
        raise InputError(f"--model {model.path}: has no classifier; expected a run of `duet train-cls`")
    check_same_base(stages)
    check_prefix_classifier(stages)
    _check_labels(stages)
    _check_tokenizers(stages)
    if options.merged and GENERATOR in stages and stages[GENERATOR].config.generator.uses_classifier_prefix:
        raise InputError(
            f"--merged: {stages[GENERATOR].path} reuses the classifier's KV cache, which a merged file does not "
            "hold; train the generator with generator.reading=own, or leave --merged out"
        )
    return ModelFolder(model.path, stages, None)


def _check_labels(stages: dict[str, StageFolder]) -> None:
    if GENERATOR not in stages:
        return
    classifier, generator = (LabelSpace.load(stages[name].path / LABELS).columns for name in (CLASSIFIER, GENERATOR))
    if classifier != generator:
        differing = [c for c in {**classifier, **generator} if classifier.get(c) != generator.get(c)]
        raise InputError(
            f"{stages[GENERATOR].path}: was trained with other labels than {stages[CLASSIFIER].path} in "
            f"{', '.join(differing)}; train one of them again on the other's data"
        )


def _check_tokenizers(stages: dict[str, StageFolder]) -> None:
    texts = {name: (stage.path / "tokenizer.json").read_bytes() for name, stage in stages.items()}
    if len(set(texts.values())) > 1:
        raise InputError(
            f"{stages[GENERATOR].path}: has another tokenizer than {stages[CLASSIFIER].path}; train one of them again"
        )


def _data(model: ModelFolder, options: ExportOptions) -> Path:
    data = options.data if options.data is not None else model.stages[CLASSIFIER].config.data.path
    try:
        return resolve_data(data)
    except InputError as error:
        raise InputError(f"the check needs validation tickets: {error}; name a prepared folder with --data") from None


def _validation(model: ModelFolder, options: ExportOptions, folder: Path) -> list[Ticket]:
    columns = model.stages[CLASSIFIER].config.classifier.columns
    tickets = [t for t in load_part(folder, "validation") if any(c in t.labels for c in columns)]
    if not tickets:
        raise InputError(f"{folder}: no validation ticket has a label in {', '.join(columns)}; name others with --data")
    return tickets[: options.check]


def _check_out(out: Path) -> None:
    check_unicode(out, "choose another --out")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out}: found a file, or a link that leads nowhere; choose another --out")
    if out.exists() and any(out.iterdir()) and Bundle.open(out) is None:
        raise InputError(f"{out}: exists and is no bundle; choose another --out")


def _open_partial(options: ExportOptions, model: ModelFolder, data: Path) -> Path:
    """Return the unfinished sibling; what it holds is kept where the same export began it."""
    partial = partial_folder(options.out)
    refuse_links(partial)
    plan = {
        "stages": {name: str(stage.path.resolve()) for name, stage in model.stages.items()},
        "manifests": {name: (stage.path / MANIFEST).read_text() for name, stage in model.stages.items()},
        "quant": options.quant,
        "recipe": _RECIPE,
        MEMORY: data_fingerprint(data) if options.memory else None,
    }
    # a kill at the first write leaves the plan's own unfinished file
    names = {path.name for path in partial.iterdir()} if partial.is_dir() else {""} if partial.exists() else set()
    if PLAN not in names and any(not name.startswith(PLAN) for name in names):
        raise InputError(f"{partial}: exists and is no unfinished export; move it away or choose another --out")
    with disk_guard(partial), writable(options.out, "--out"):
        partial.mkdir(parents=True, exist_ok=True)
        hold(options.out)
        if (partial / PLAN).is_file() and not _is_of(partial / PLAN, plan):
            print(f"{partial}: an unfinished export of other runs or another --quant; it is dropped", file=sys.stderr)
            for path in partial.iterdir():
                if path.name != PLAN:  # which says until the end that the folder is ours
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_json(partial / PLAN, plan)
    return partial


def _is_of(path: Path, plan: dict[str, Any]) -> bool:
    try:
        return read_json(path) == plan
    except InputError:  # cut off
        return False


def _drop_others(partial: Path, options: ExportOptions, model: ModelFolder) -> None:
    """Remove what an earlier attempt with other options left, so that nothing is published unchecked."""
    wanted = {PLAN, *model.stages}
    wanted |= {MEMORY} if options.memory else set()
    wanted |= {"base"} if (model.path / "base").is_dir() else set()
    if options.quant != NO_GGUF:
        wanted |= {base_file(options.quant), *(adapter_file(stage) for stage in model.stages)}
    merged = merged_file(options, model)
    wanted |= {merged, MODELFILE} if merged else set()
    wanted |= {Path(ONNX_FP32).parts[0]} if options.onnx else set()
    wanted |= {Path(ONNX_INT8).parts[0]} if options.onnx and options.int8 else set()
    for path in partial.iterdir():
        if path.name not in wanted:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _run_facts(stage: StageFolder) -> dict[str, Any]:
    record = read_json(stage.path / RUN)
    return {key: record[key] for key in ("stage", "seed", "data", "train_tickets", "versions") if key in record}
