"""`duet calibrate`: another operating point of a finished classifier, without training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.runs.files import read_json, sha256
from backbone.runs.folder import verify
from backbone.runs.layout import ADAPTER, CALIBRATION, CLASSIFIER, CONFIG, GENERATOR, HEADS, RUN
from classifier.calibration import Calibration
from classifier.operating_points import STRENGTHS, OperatingPoint, table
from cli import app
from pipeline.calibrate import calibrate, show_operating_points
from pipeline.two_stage import load_two_stage
from tickets.errors import InputError
from tickets.schema import Ticket


def test_the_adjustment_is_one_for_all_or_one_per_column(tmp_path: Path) -> None:
    config = load_config(None, ["classifier.adjustment={priority: 1, type: macro_f1}"]).classifier
    assert [config.adjustment_of(c) for c in ("type", "queue", "priority")] == ["macro_f1", "none", 1.0]
    assert load_config(None, ["classifier.adjustment=0.5"]).classifier.adjustment_of("queue") == 0.5
    for wrong in ("1e400", ".nan", "9", "best", "{prio: 1}"):
        with pytest.raises(InputError, match=r"classifier\.adjustment"):
            load_config(None, [f"classifier.adjustment={wrong}"])


def test_a_strength_changes_the_labels_and_leaves_the_weights(
    trained_run: RunConfig, tmp_path: Path, tickets: list[Ticket]
) -> None:
    run, out = trained_run.folder, tmp_path / "rare"
    before = sorted((path, sha256(path)) for path in run.rglob("*") if path.is_file())
    assert calibrate(run, out, ["classifier.adjustment={priority: 2.0}"]) == out
    assert sorted((path, sha256(path)) for path in run.rglob("*") if path.is_file()) == before
    for stage in (CLASSIFIER, GENERATOR):
        verify(out / stage)
    for name in (HEADS, f"{ADAPTER}/adapter_model.safetensors"):
        assert sha256(out / CLASSIFIER / name) == sha256(run / CLASSIFIER / name)
    heads = Calibration.load(out / CLASSIFIER / CALIBRATION).heads
    assert {column: head.strength for column, head in heads.items()} == {"type": 0.0, "queue": 0.0, "priority": 2.0}
    saved = load_config(out / CLASSIFIER / CONFIG)
    assert saved.classifier.adjustment == {"priority": 2.0} and saved.folder == out
    record, source = read_json(out / CLASSIFIER / RUN), read_json(run / CLASSIFIER / RUN)
    assert record["best"] == source["best"] and record["calibrated"] != source["calibrated"]
    assert record["calibrated_from"] == sha256(run / CLASSIFIER / "manifest.json")
    answers = load_two_stage(out).answer(tickets[:6])  # with the copied generator
    assert all(answer.reply is not None for answer in answers)


def test_without_a_change_the_fit_is_the_one_of_the_training(trained_run: RunConfig, tmp_path: Path) -> None:
    calibrate(trained_run.folder, tmp_path / "again")
    before, after = (
        Calibration.load(folder / CLASSIFIER / CALIBRATION) for folder in (trained_run.folder, tmp_path / "again")
    )
    for column, head in before.heads.items():
        assert after.heads[column].temperature == pytest.approx(head.temperature, rel=1e-3)
        assert after.heads[column].threshold == pytest.approx(head.threshold, abs=1e-3)
    assert after.tag_threshold == before.tag_threshold


def test_only_what_is_fitted_after_training_may_change(trained_run: RunConfig, tmp_path: Path) -> None:
    for override in ("lora.rank=3", "classifier.max_tags=3", "seed=1", "data.path=elsewhere"):
        with pytest.raises(InputError, match="decides the training; expected only"):
            calibrate(trained_run.folder, tmp_path / "out", [override])
    assert not (tmp_path / "out").exists()


def test_other_tickets_or_none_are_refused(trained_run: RunConfig, small_data: Path, tmp_path: Path) -> None:
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(trained_run.folder, run)
    shutil.copytree(small_data, data)
    with pytest.raises(InputError, match="what is read"):
        calibrate(run, run)
    (tmp_path / "notes" / CLASSIFIER).mkdir(parents=True)
    (tmp_path / "notes" / CLASSIFIER / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="would be lost; choose another --out"):
        calibrate(run, tmp_path / "notes")
    with pytest.raises(InputError, match="found no classifier"):
        calibrate(run / GENERATOR, tmp_path / "out")
    config = run / CLASSIFIER / CONFIG
    manifest = run / CLASSIFIER / "manifest.json"
    config.write_text(config.read_text().replace(str(small_data), str(data)))
    record = read_json(manifest)
    record["files"][CONFIG] = sha256(config)
    manifest.write_text(json.dumps(record))
    lines = (data / "validation.jsonl").read_text().splitlines(keepends=True)
    (data / "validation.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(InputError, match="found other tickets"):
        show_operating_points(run)
    with pytest.raises(InputError, match="found other tickets"):
        calibrate(run, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_operating_points_are_printed_for_every_column(trained_run: RunConfig) -> None:
    result = CliRunner().invoke(app, ["calibrate", str(trained_run.folder)])
    assert result.exit_code == 0
    blocks = result.stdout.strip().split("\n\n")
    assert [block.split(",")[0] for block in blocks] == ["type", "queue", "priority"]
    for block in blocks:
        assert [float(line.split()[0]) for line in block.splitlines()[2:]] == list(STRENGTHS)
        assert all(len(line) <= 80 for line in block.splitlines())
    wrong = CliRunner().invoke(app, ["calibrate", str(trained_run.folder), "--set", "classifier.adjustment=1.0"])
    assert wrong.exit_code == 2


def test_a_stronger_adjustment_finds_more_of_the_rarest_class(trained_run: RunConfig) -> None:
    block = show_operating_points(trained_run.folder).split("\n\n")[2]
    rarest = [float(line.split("   ")[-1].split(", ")[0].split()[-1]) for line in block.splitlines()[2:]]
    assert np.all(np.diff(rarest) >= 0)


def test_the_rarest_classes_that_fit_are_shown() -> None:
    recall = {"General Inquiry": 0.1, "Human Resources": 0.2, "Sales and Pre-Sales": 0.3, "Returns": 0.4}
    lines = table("queue", [OperatingPoint(0.5, 0.4, 0.3, recall)], 12).splitlines()
    assert lines[2] == "    0.50     0.400     0.300   General Inquiry 0.10, Human Resources 0.20"
    assert "one class 1.00" in table("queue", [OperatingPoint(0.0, 1.0, 1.0, {"one class": 1.0})], 1)
