"""Which systems a comparison holds: those of its runs, the base without an adapter, and the references."""

from collections.abc import Sequence
from pathlib import Path

from backbone.runs.layout import BASELINE, CLASSIFIER, GENERATOR, LABELS
from backbone.shipped import local_folder
from eval.systems import (
    CONSTRAINED,
    MAJORITY,
    NEAREST,
    SINGLE,
    TFIDF,
    TWO_STAGE,
    ZERO_SHOT,
    ReferenceSystem,
    SinglePromptSystem,
    System,
    TwoStageSystem,
)
from pipeline.model_folder import StageFolder, open_model
from pipeline.single_prompt import open_single_prompt
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.schema import Ticket


def open_runs(runs: Sequence[Path]) -> list[System]:
    """Return the trained systems in some run folders or models of a hub: two-stage, single-prompt free and constrained.

    Raises:
        InputError: a folder holds neither, or a file is damaged.
    """
    systems: list[System] = []
    runs = [local_folder(run) for run in runs]
    if len({run.resolve() for run in runs}) < len(runs):
        raise InputError(f"found a run folder twice in {', '.join(map(str, runs))}; expected each once")
    for run in runs:
        if not run.is_dir():
            raise InputError(f"{run}: no such folder; expected a run folder of train-cls, train-gen or train-baseline")
        single_prompt = open_single_prompt(run)
        if single_prompt is None or (run / CLASSIFIER).is_dir() or (run / GENERATOR).is_dir():
            model = open_model(run, "run")
            if CLASSIFIER not in model.stages:
                raise InputError(f"{run}: has a generator but no classifier; `duet train-cls` adds one")
            systems.append(TwoStageSystem(TWO_STAGE, model))
        if single_prompt is not None:
            space = LabelSpace.load(single_prompt.path / LABELS)
            systems += [SinglePromptSystem(kind, kind, single_prompt, space) for kind in (SINGLE, CONSTRAINED)]
    return _distinct(systems)


def zero_shot(systems: Sequence[System]) -> System:
    """Return the base of the first system that has one, prompted but not trained."""
    for system in systems:
        if isinstance(system, SinglePromptSystem):
            return SinglePromptSystem(ZERO_SHOT, ZERO_SHOT, system.stage, system.space)
    two_stage = next(system for system in systems if isinstance(system, TwoStageSystem))
    stage = two_stage.model.stages[CLASSIFIER]
    return SinglePromptSystem(ZERO_SHOT, ZERO_SHOT, stage, LabelSpace.load(stage.path / LABELS))


def stages_of(system: System) -> list[StageFolder]:
    """Return the runs that a system was trained in; none for references and the base itself."""
    if isinstance(system, TwoStageSystem):
        return [system.model.stages[name] for name in (CLASSIFIER, GENERATOR) if name in system.model.stages]
    return [system.stage] if isinstance(system, SinglePromptSystem) and system.kind != ZERO_SHOT else []


def references(train: Sequence[Ticket], columns: Sequence[str]) -> list[System]:
    """Return the systems without a language model."""
    return [ReferenceSystem(name, train, columns) for name in (NEAREST, TFIDF, MAJORITY)]


def _distinct(systems: list[System]) -> list[System]:
    """Name systems of one kind by their runs."""
    kinds = [system.kind for system in systems]
    for system in systems:
        if kinds.count(system.kind) > 1:
            system.name = f"{system.kind} ({_run_name(system)})"
    names = [system.name for system in systems]
    for i, system in enumerate(systems):
        if names.count(names[i]) > 1:
            system.name = f"{names[i]} {names[: i + 1].count(names[i])}"
    return systems


def _run_name(system: System) -> str:
    """Return the folder the user named, without the stage's."""
    path = stages_of(system)[0].path.resolve()
    return path.parent.name if path.name in (CLASSIFIER, GENERATOR, BASELINE) else path.name
