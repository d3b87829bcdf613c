"""Review by column: which labels are applied without a person, at which accuracy, and where it is said."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backbone.config import RunConfig
from backbone.config_file import dump_config, load_config
from backbone.runs.files import read_json
from backbone.runs.layout import CALIBRATION, RUN
from classifier.calibration import Calibration, HeadCalibration
from classifier.predict import Classifier
from classifier.review import NEVER, applied_unseen, folds_of, review_threshold, thresholds_for
from eval.bootstrap import Resamples
from eval.confidence import automated
from eval.evaluate import evaluate, render
from pipeline.export.model_card import model_card
from pipeline.model_folder import open_model
from pipeline.predict import answer_to_dict, render_labels
from pipeline.two_stage import load_two_stage
from tickets.errors import InputError
from tickets.schema import Prediction, Ticket


def test_a_target_is_one_number_or_one_per_column(tmp_path: Path) -> None:
    one = load_config(None, ["classifier.review_accuracy=0.7"]).classifier
    assert [one.review_target(c) for c in one.columns] == [0.7, 0.7, 0.7]
    assert one.required == one.columns
    config = load_config(None, ["classifier.review_accuracy={type: 0.95}", "classifier.required_columns=[queue]"])
    assert [config.classifier.review_target(c) for c in one.columns] == [0.95, 0.8, 0.8]
    assert config.classifier.required == ("queue",)
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml") == config


def test_a_mapping_replaces_the_one_of_the_file_it_extends(tmp_path: Path) -> None:
    (tmp_path / "parent.yaml").write_text("classifier: {review_accuracy: {type: 0.9}}\n")
    child = "extends: parent.yaml\nclassifier: {columns: [queue, team], review_accuracy: {team: 0.7}}\n"
    (tmp_path / "child.yaml").write_text(child)
    assert load_config(tmp_path / "child.yaml").classifier.review_accuracy == {"team": 0.7}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("review_accuracy={typ: 0.9}", "not typ"),
        ("review_accuracy={type: 90}", "one number, or per column"),
        ("review_accuracy=sure", "one number, or per column"),
        ("required_columns=[tipe]", "not tipe"),
        ("required_columns=[]", "at least one name"),
        ("required_columns=type", "a list, such as"),
    ],
)
def test_wrong_targets_are_one_line(override: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        load_config(None, [f"classifier.{override}"])
    assert f"classifier.{override.partition('=')[0]}" in str(caught.value)


def test_thresholds_are_the_lowest_that_reach_their_target() -> None:
    confidence = np.linspace(1.0, 0.01, 100)
    correct = np.arange(100) % 10 < np.repeat([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 10)  # 100 % right, then 90 %, ...
    for target in (0.7, 0.8, 0.9):
        threshold = review_threshold(confidence, correct, target)
        accuracies = [correct[:n].mean() for n in range(1, 101)]
        last = max(n for n in range(10, 101) if accuracies[n - 1] >= target)
        assert threshold == confidence[last - 1]
    assert review_threshold(confidence, np.zeros(100, dtype=bool), 0.1) == NEVER
    assert review_threshold(confidence[:0], correct[:0], 0.8) == NEVER
    assert set(thresholds_for(confidence, correct)) == {"0.7", "0.8", "0.9"}


def test_what_is_said_of_unseen_tickets_uses_no_threshold_of_their_own() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(4000)
    correct = rng.random(4000) < confidence
    applied = applied_unseen(confidence, correct, folds_of(4000), 0.8)
    assert applied.share == pytest.approx(0.4, abs=0.05)  # above t right in (1 + t) / 2 of the cases
    assert applied.accuracy == pytest.approx(0.8, abs=0.02)
    chance = rng.random(4000) < 0.5  # nothing to be sure of: a threshold that some folds reach by chance is not kept
    assert applied_unseen(confidence, chance, folds_of(4000), 0.8).share < 0.01
    nothing = applied_unseen(confidence[:0], correct[:0], folds_of(0), 0.8)
    assert (nothing.share, nothing.accuracy) == (0.0, None)


def test_tickets_without_a_true_label_count_nothing() -> None:
    head = HeadCalibration((0.0,), 1.0, 0.5, thresholds={"0.7": 0.2, "0.9": NEVER})
    correct = np.array([1.0, 0.0, np.nan, 1.0])
    own, low, unknown, never = automated(np.array([0.9, 0.6, 0.9, 0.3]), correct, head, 0.8, Resamples(4))
    assert [own.target, own.share.value, own.accuracy.value] == pytest.approx([0.8, 2 / 3, 0.5])
    assert [low.share.value, low.accuracy.value] == pytest.approx([1.0, 2 / 3])
    assert unknown.threshold is None and math.isnan(unknown.share.value)
    assert never.share.value == 0.0 and math.isnan(never.accuracy.value)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return load_two_stage(None, labels_only=True).classifier


def with_thresholds(classifier: Classifier, **thresholds: float) -> Classifier:
    heads = {
        column: replace(head, threshold=thresholds.get(column, head.threshold))
        for column, head in classifier.calibration.heads.items()
    }
    return replace(classifier, calibration=replace(classifier.calibration, heads=heads))


def test_required_columns_decide_on_review_and_every_column_on_itself(classifier: Classifier) -> None:
    prediction = Prediction(
        {"type": "Problem", "queue": "IT Support", "priority": "low"},
        {"type": {"Problem": 0.9}, "queue": {"IT Support": 0.4}, "priority": {"low": 0.9}},
        {},
    )
    ours = with_thresholds(classifier, type=0.8, queue=0.8, priority=NEVER)
    assert ours.applicable(prediction) == {"type": True, "queue": False, "priority": False}
    assert ours.needs_review(prediction)
    assert not replace(ours, required=("type",)).needs_review(prediction)
    assert replace(ours, required=("type", "queue")).needs_review(prediction)
    lines = render_labels(prediction, replace(ours, required=("type",))).splitlines()
    assert lines[0].split()[2:] == ["90%", "apply"]
    assert lines[1].endswith("40%  suggest")
    assert lines[2].endswith("90%  suggest, never sure enough")
    assert lines[-1].split(maxsplit=1) == ["review", "not needed"]


def test_calibrations_of_before_load_and_new_ones_come_back(tmp_path: Path) -> None:
    head = HeadCalibration((0.5, 0.0), 1.2, 0.6, 0.1, {"0.7": 0.5, "0.8": 0.6, "0.9": NEVER})
    Calibration({"type": head}).save(tmp_path / CALIBRATION)
    assert Calibration.load(tmp_path / CALIBRATION).heads["type"] == head
    record = read_json(tmp_path / CALIBRATION)
    del record["heads"]["type"]["thresholds"]
    (tmp_path / CALIBRATION).write_text(json.dumps(record))
    assert Calibration.load(tmp_path / CALIBRATION).heads["type"].thresholds == {}
    record["heads"]["type"]["thresholds"] = {"0.7": "sure"}
    (tmp_path / CALIBRATION).write_text(json.dumps(record))
    with pytest.raises(InputError, match="not a calibration"):
        Calibration.load(tmp_path / CALIBRATION)


@pytest.mark.slow
def test_one_run_says_the_same_everywhere(trained_run: RunConfig, tickets: list[Ticket]) -> None:
    record = read_json(trained_run.folder / "classifier" / RUN)
    assert [one["target"] for one in record["automated"]["type"]] == [0.8, 0.7, 0.8, 0.9]
    card = model_card(open_model(trained_run.folder), "none", [])
    assert "| applied without a person at | its own target | 0.7 | 0.8 | 0.9 |" in card
    found = evaluate(trained_run.folder, None, "test", 0)
    assert list(found.automated) == ["type", "queue", "priority"]
    assert "applied without a person at" in render(found)
    assert max(map(len, render(found).splitlines())) <= 80
    answer = load_two_stage(trained_run.folder, labels_only=True).answer(tickets[:1])[0]
    assert set(answer_to_dict(answer)["apply"]) == {"type", "queue", "priority"}
