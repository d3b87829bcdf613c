"""Finding a model: a folder with classifier and generator runs, one such run, or the shipped mini model."""

from dataclasses import dataclass
from pathlib import Path

from backbone.base import BaseIdentity, find_base, identify, mini_folder
from backbone.config import RunConfig, load_config
from backbone.runs import partial_folder, read_json, verify
from backbone.stage import BASE, CLASSIFIER, GENERATOR, RUN
from tickets.errors import InputError

_STAGES = (CLASSIFIER, GENERATOR)


@dataclass(frozen=True)
class StageFolder:
    """A finished run of one stage."""

    path: Path
    config: RunConfig
    base: BaseIdentity


@dataclass(frozen=True)
class ModelFolder:
    """The stages of a model, by name, and the folder of the base they share."""

    path: Path
    stages: dict[str, StageFolder]
    base: Path


def open_model(path: Path | None) -> ModelFolder:
    """Open a run folder (runs/NAME or runs/NAME/classifier) or a model folder; the shipped mini model without a path.

    Raises:
        InputError: nothing trained there, a damaged file, or stages of different bases.
    """
    root = path if path is not None else mini_folder()
    stages = {name: _open_stage(folder) for name, folder in _stage_folders(root).items()}
    if not stages:
        raise InputError(_not_a_model(root))
    base = _base_folder(root, next(iter(stages.values())))
    for name, stage in stages.items():
        if identify(base, stage.base.name).fingerprint != stage.base.fingerprint:
            raise InputError(
                f"{stage.path}: its {name} was trained on another base than {base} ({stage.base.name} by name, but the "
                "weights or tokenizer differ); point --model at the base it was trained on, or train again"
            )
    return ModelFolder(root, stages, base)


def trained_on(path: Path | None) -> str:
    """The data.path of a model's configuration."""
    return next(iter(open_model(path).stages.values())).config.data.path


def _stage_folders(root: Path) -> dict[str, Path]:
    found = {name: root / name for name in _STAGES if (root / name).is_dir()}
    if not found and (root / RUN).is_file():
        found = {str(read_json(root / RUN).get("stage")): root}
    unknown = set(found) - set(_STAGES)
    if unknown:
        raise InputError(f"{root}: a {unknown.pop()} run, expected one of train-cls or train-gen")
    return found


def _open_stage(folder: Path) -> StageFolder:
    verify(folder)
    return StageFolder(folder, load_config(folder / "config.yaml"), BaseIdentity.load(folder / BASE))


def _base_folder(root: Path, stage: StageFolder) -> Path:
    """A base inside the model folder goes before the one its runs name."""
    inside = root / "base"
    return find_base(str(inside)) if inside.is_dir() else find_base(stage.base.name, stage.base.revision)


def _not_a_model(root: Path) -> str:
    if not root.exists():
        return (
            f"--model {root}: no such folder; expected a run or model folder, such as runs/mini after `duet train-cls`"
        )
    unfinished = [name for name in _STAGES if partial_folder(root / name).is_dir()]
    if unfinished:
        command = "train-cls" if CLASSIFIER in unfinished else "train-gen"
        return (
            f"--model {root}: its {unfinished[0]} run is unfinished; run the same `duet {command}` again to finish it"
        )
    return (
        f"--model {root}: not a model; expected a folder that holds classifier/ or generator/ of `duet train-cls` and "
        "`duet train-gen`"
    )
