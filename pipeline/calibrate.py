"""Fitting a finished classifier again without training: adjustment, calibration, joint decoding and thresholds."""

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbone.config import RunConfig
from backbone.config_file import dump_config, load_config
from backbone.dataset import data_fingerprint, load_part, load_synthetic, resolve_data
from backbone.runs.files import disk_guard, read_json, sha256, write_json
from backbone.runs.folder import check_replaceable, open_partial, paths_written_for, publish
from backbone.runs.layout import CALIBRATION, CLASSIFIER, CONFIG, JOINT, MANIFEST, RUN
from classifier.fitting import Fitted, LabelledParts, fit_on_validation
from classifier.head_names import TAGS
from classifier.label_checks import check_decode, labelled_tickets
from classifier.metrics import Floats
from classifier.operating_points import operating_points, table
from classifier.predict import Classifier
from engines.encoding import BATCH, encode_all
from engines.protocols import LabelEngine
from pipeline.engine_choice import EngineChoice
from pipeline.model_folder import ModelFolder, StageFolder, open_model
from pipeline.two_stage import load_two_stage
from tickets.errors import InputError
from tickets.sources import output_path, refuse_overlap

_FITTED_KEYS = ("adjustment", "decode", "review_accuracy", "required_columns")  # of the classifier
_REPLACED = (CALIBRATION, JOINT, CONFIG, RUN, MANIFEST)


@dataclass(frozen=True)
class _Trained:
    """A finished classifier and what it says of its validation tickets.

    Attributes:
        logits: by head, (tickets, classes).
        data: fingerprint of the tickets.
    """

    classifier: Classifier
    parts: LabelledParts
    logits: Mapping[str, Floats]
    data: str


def show_operating_points(run: Path) -> str:
    """Return a table per label column: accuracy, macro-F1 and recall by strength of the logit adjustment.

    Raises:
        InputError: not a finished run of a classifier, or its tickets are not there any more.
    """
    model, stage = _open(run)
    trained = _read_validation(model, stage, stage.config)
    points = operating_points(
        trained.logits,
        trained.parts,
        stage.config.classifier,
        trained.classifier.calibration,
        trained.classifier.decoder is not None,
    )
    return "\n\n".join(table(column, rows, len(trained.parts.validation)) for column, rows in points.items())


def calibrate(run: Path, out: Path, overrides: Sequence[str] = ()) -> Path:
    """Fit a finished classifier again with other settings, into a new run folder, and return that.

    Adapter and heads stay as they are. The generator of the run, if there is one, is copied.

    Raises:
        InputError: not a finished run of a classifier, its tickets are not there any more, or a setting that decides
            the training.
    """
    model, stage = _open(run)
    config = _changed(stage, overrides, out)
    out = output_path(out, "--out")
    outputs = [path for name in model.stages for path in paths_written_for(out / name)]
    refuse_overlap([folder.path for folder in model.stages.values()], outputs, "--out")
    for name in model.stages:
        check_replaceable(out / name, "--out")
    source = sha256(stage.path / MANIFEST)
    plan = {"calibrated_from": source, "settings": config.classifier.model_dump(mode="json", include={*_FITTED_KEYS})}
    trained = _read_validation(model, stage, config)
    partials = {name: open_partial(out / name, plan) for name in model.stages}
    fitted = fit_on_validation(trained.logits, trained.parts, config.classifier, trained.data)
    for column, report in fitted.reports.items():
        recall = ", ".join(f"{label} {value:.2f}" for label, value in report["recall"].items())
        print(
            f"{column}: accuracy {report['accuracy']:.3f}, macro-F1 {report['macro_f1']:.3f} on validation tickets; "
            f"recall {recall}",
            file=sys.stderr,
        )
    for name, partial in partials.items():
        with disk_guard(partial):
            _copy(model.stages[name].path, partial, (MANIFEST, *(_REPLACED if name == CLASSIFIER else ())))
            if name == CLASSIFIER:
                _write(partial, stage, config, fitted, source)
        publish(partial, out / name)
    return out


def _open(run: Path) -> tuple[ModelFolder, StageFolder]:
    model = open_model(run, "RUN")
    if model.bundle:
        raise InputError(
            f"{run}: found a bundle, expected a run folder; calibrate the run that it was exported from, and export it "
            "again"
        )
    if CLASSIFIER not in model.stages:
        raise InputError(f"{run}: found no classifier, expected a finished run of `duet train-cls`")
    return model, model.stages[CLASSIFIER]


def _changed(stage: StageFolder, overrides: Sequence[str], out: Path) -> RunConfig:
    """Return the run's configuration with the overrides, which may only be of what is fitted after training."""
    config = load_config(stage.path / CONFIG, overrides, inside=stage.path)
    if _trained_by(config) != _trained_by(stage.config):
        names = ", ".join(f"classifier.{key}" for key in _FITTED_KEYS)
        raise InputError(
            f"--set {' '.join(overrides)}: a setting that decides the training; expected only {names}; use "
            "`duet train-cls` for the others"
        )
    return config.model_copy(update={"output": str(out)})


def _trained_by(config: RunConfig) -> dict[str, Any]:
    """Return the settings that decided the training."""
    return config.model_dump(exclude={"output": True, "classifier": {*_FITTED_KEYS}})


def _read_validation(model: ModelFolder, stage: StageFolder, config: RunConfig) -> _Trained:
    """Compute the logits of the validation tickets that the run was trained with."""
    folder = resolve_data(config.data.path)
    data = data_fingerprint(folder)
    if data != read_json(stage.path / RUN)["data"]:
        raise InputError(
            f"{folder}: found other tickets than {stage.path} was trained with; put those back, or train again"
        )
    system = load_two_stage(model, labels_only=True, choice=EngineChoice(together=BATCH))
    classifier, space = system.classifier, system.classifier.space
    check_decode(space, config.classifier.decode)
    train = labelled_tickets(load_part(folder, "train", config.data.max_train), space, "training")
    parts = LabelledParts(
        train,
        labelled_tickets(load_part(folder, "validation", config.data.max_validation), space, "validation"),
        space,
        load_synthetic(folder, train),
    )
    return _Trained(classifier, parts, _logits(classifier, system.label_engine, parts), data)


def _logits(classifier: Classifier, engine: LabelEngine, parts: LabelledParts) -> dict[str, Floats]:
    prompts = [prompt.ids for prompt in classifier.prompts(parts.validation)]
    states = encode_all(engine, prompts, CLASSIFIER, "validation tickets")
    names = [*parts.space.columns, *([TAGS] if parts.space.tags else [])]
    return {name: classifier.head_logits(name, states) for name in names}


def _copy(source: Path, target: Path, left_out: Sequence[str]) -> None:
    names = [path.name for path in source.iterdir() if path.name not in left_out]
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name, dirs_exist_ok=True)
        else:
            shutil.copyfile(source / name, target / name)


def _write(partial: Path, stage: StageFolder, config: RunConfig, fitted: Fitted, source: str) -> None:
    fitted.calibration.save(partial / CALIBRATION)
    if fitted.decoder is not None:
        fitted.decoder.save(partial / JOINT)
    (partial / CONFIG).write_text(dump_config(config), encoding="utf-8")
    facts: dict[str, Any] = {
        "calibrated": fitted.reports,
        "automated": fitted.automated,
        "decode": fitted.decode,
        "calibrated_from": source,
    }
    write_json(partial / RUN, {**read_json(stage.path / RUN), **facts})
