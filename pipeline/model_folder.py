"""Finding a model: a folder with classifier and generator runs, one such run, a bundle, or a shipped model."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from backbone.base import BaseIdentity, find_base, identify
from backbone.config import UNPUBLISHED, RunConfig
from backbone.config_file import load_config
from backbone.prompts import PromptEncoder
from backbone.runs.files import read_json
from backbone.runs.folder import partial_folder, verify
from backbone.runs.layout import (
    ADAPTER,
    ADAPTER_WEIGHTS,
    BASE,
    BASELINE,
    CLASSIFIER,
    CLASSIFIER_PREFIX,
    CONFIG,
    GENERATOR,
    MANIFEST,
    RUN,
)
from backbone.runs.manifest import read_manifest, require
from backbone.shipped import resolve_model
from pipeline.export.bundle import Bundle
from tickets.cleaning.steps import CleaningSteps
from tickets.errors import InputError
from tickets.sources import check_unicode, source_path

_STAGES = (CLASSIFIER, GENERATOR)
_COMMANDS = {CLASSIFIER: "train-cls", GENERATOR: "train-gen", BASELINE: "train-baseline"}


@dataclass(frozen=True)
class StageFolder:
    """A finished run of one stage."""

    path: Path
    config: RunConfig
    base: BaseIdentity

    @cached_property
    def encoder(self) -> PromptEncoder:
        """The prompt encoder it was trained with; runs keep their tokenizer."""
        return PromptEncoder(self.path, self.config.prompt.instruction)

    def base_folder(self, inside: Path | None = None) -> Path:
        """Return the weights it was trained on: in the folder `inside`, or where the run names them.

        Raises:
            InputError: not to be had, or changed since.
        """
        base = find_base(str(inside)) if inside else self._find_base()
        if identify(base, self.base.name).fingerprint != self.base.fingerprint:
            raise InputError(
                f"{self.path}: was trained on another base than {base} ({self.base.name} by name, but the weights "
                "or tokenizer differ); put the base it was trained on there, or train again"
            )
        return base

    def base_places(self) -> list[Path]:
        """Return the folders on this machine where its base lies or lay; none is looked for in the hub."""
        given = [source_path(place) for place in (self.base.name, self.base.folder) if place]
        return [place for place in given if place.is_dir()]

    def _find_base(self) -> Path:
        """Return the base by the name it was given; where that leads nowhere from here, the folder it was then."""
        if self.base.name == UNPUBLISHED:
            raise InputError(
                f"{self.path}: was trained on a base in a local folder, which was not published with it (fingerprint "
                f"{self.base.fingerprint[:16]}); copy {self.path.parent} into a folder of yours (cp -rL), put that "
                "base into base/ there, and give that folder to --model"
            )
        try:
            return find_base(self.base.name, self.base.revision)
        except InputError as error:
            if self.base.folder and Path(self.base.folder).is_dir():
                return find_base(self.base.folder)
            raise InputError(f"{self.path}: {error}") from None


@dataclass(frozen=True)
class ModelFolder:
    """The stages of a model by name, all of one base, and its bundle where it was exported."""

    path: Path
    stages: dict[str, StageFolder]
    bundle: Bundle | None

    @property
    def any_stage(self) -> StageFolder:
        """A stage, for what all of them share."""
        return next(iter(self.stages.values()))

    @property
    def cleaning(self) -> CleaningSteps:
        """How the tickets of the training were cleaned."""
        return CleaningSteps.from_record(read_json(self.any_stage.path / RUN).get("reading"))

    @property
    def blocks(self) -> dict[str, int]:
        """How many blocks of the base read a ticket for a stage's states, where those are not all."""
        count = self.stages[CLASSIFIER].config.classifier.layers if CLASSIFIER in self.stages else None
        return {CLASSIFIER: count} if count else {}

    def base_folder(self) -> Path:
        """Return the weights its stages were trained on: inside the model folder, or where the runs name them.

        Raises:
            InputError: not to be had, or changed since.
        """
        inside = self.path / "base"
        if not inside.is_dir():
            return self.any_stage.base_folder()
        if self.bundle:
            # transformers reads more than it is told of: an index names files, a template writes the prompt
            there = sorted(path.name for path in inside.iterdir() if not path.name.startswith("."))
            self.bundle.require({"config.json": None, "tokenizer.json": None, **dict.fromkeys(there)}, inside.name)
            self.bundle.verify_folders(inside.name)
        return self.any_stage.base_folder(inside)


def open_model(path: Path | None, option: str = "--model") -> ModelFolder:
    """Open a run folder (runs/NAME or runs/NAME/classifier), a model folder or a bundle; or a shipped model, by name or
    without a path. `option` is what the caller calls the path.

    Raises:
        InputError: nothing trained there, a damaged file, or stages of different bases.
    """
    root = resolve_model(path)
    check_unicode(root, "rename the folder")
    bundle = Bundle.open(root)
    folders = _stage_folders(root)
    if bundle:
        for name, folder in folders.items():
            bundle.require([MANIFEST, *read_manifest(folder)["files"]], name)
        bundle.verify_folders(*folders)  # by the bundle's sums, which cover the stages' own manifests
    stages = {name: open_stage_folder(folder, verified=bundle is not None) for name, folder in folders.items()}
    if not stages:
        raise InputError(_not_a_model(root, option))
    check_same_base(stages)
    check_prefix_classifier(stages)
    return ModelFolder(root, stages, bundle)


def check_same_base(stages: dict[str, StageFolder]) -> None:
    """Raise InputError where stages were trained on different bases."""
    first, *rest = stages.values()
    for other in rest:
        if other.base.fingerprint != first.base.fingerprint:
            raise InputError(
                f"{other.path}: was trained on another base ({other.base.name}) than {first.path} "
                f"({first.base.name}); expected one base for both; train one of them again on the other's base"
            )


def check_prefix_classifier(stages: Mapping[str, StageFolder]) -> None:
    """Raise InputError where the generator reuses the KV cache of another classifier than the one beside it.

    Both runs are verified by now.
    """
    if not {CLASSIFIER, GENERATOR} <= stages.keys():
        return
    classifier, generator = stages[CLASSIFIER].path, stages[GENERATOR].path
    reader = read_json(generator / RUN).get(CLASSIFIER_PREFIX)
    if reader is not None and reader != read_json(classifier / MANIFEST)["files"].get(f"{ADAPTER}/{ADAPTER_WEIGHTS}"):
        raise InputError(
            f"{generator}: reuses the KV cache of another classifier than {classifier}; run `duet train-gen` "
            f"again with the same configuration, bring its classifier back, or give {classifier} for labels alone"
        )


def _stage_folders(root: Path) -> dict[str, Path]:
    folders = {name: root / name for name in _STAGES if (root / name).is_dir()}
    if not folders and (root / RUN).is_file():
        folders = {str(read_json(root / RUN).get("stage")): root}
    unknown = set(folders) - set(_STAGES)
    if unknown:
        raise InputError(
            f"{root}: a {unknown.pop()} run, expected one of train-cls or train-gen; `duet compare` reads this one"
        )
    return folders


def open_stage_folder(folder: Path, verified: bool = False) -> StageFolder:
    """Open a finished run of one stage.

    Args:
        verified: its files have been compared with their sums already.

    Raises:
        InputError: unfinished, or a file is damaged.
    """
    if not verified:
        verify(folder)
    require(folder, read_manifest(folder)["files"], str(read_json(folder / RUN).get("stage")))
    return StageFolder(folder, load_config(folder / CONFIG, inside=folder), BaseIdentity.load(folder / BASE))


def _not_a_model(root: Path, option: str) -> str:
    if not root.exists():
        return (
            f"{option} {root}: no such folder; expected a run or model folder, such as runs/mini after `duet train-cls`"
        )
    unfinished = [name for name in _COMMANDS if partial_folder(root / name).is_dir()]
    if unfinished:
        command = _COMMANDS[unfinished[0]]
        return (
            f"{option} {root}: its {unfinished[0]} run is unfinished; run the same `duet {command}` again to finish it"
        )
    return (
        f"{option} {root}: not a model; expected a folder that holds classifier/ or generator/ of `duet train-cls` and "
        "`duet train-gen`, or for `duet compare` baseline/ of `duet train-baseline`"
    )
