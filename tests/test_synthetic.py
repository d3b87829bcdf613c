"""Synthetic tickets train the classifier, and are nowhere else: nothing is counted or scored on them."""

import ast
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.dataset import data_fingerprint, load_part, load_synthetic, real_fingerprint, resolve_data
from backbone.runs.files import read_json
from backbone.runs.layout import BASELINE, CLASSIFIER, GENERATOR, RUN
from backbone.training.balance import class_weights, effective_examples, sampling_weights
from backbone.training.pretrain_texts import read_texts
from backbone.training.stage import open_stage
from classifier.fitting import LabelledParts
from classifier.joint_fit import pair_information
from classifier.train import train_classifier
from eval.compare import CompareOptions, _warnings
from eval.systems import TwoStageSystem
from pipeline.calibrate import calibrate
from pipeline.check import check
from pipeline.model_folder import open_model
from pipeline.resolved import resolved_tickets
from tests.split_tickets import body, tickets_of
from tests.test_architecture import MODULES
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import PARTS, Ticket, read_tickets, write_tickets
from tickets.splitting.assign import TRAIN
from tickets.splitting.earlier_split import EarlierSplit

COLUMNS = ["type", "queue", "priority"]
READERS = {  # who reads prepared files without `load_part`, and leaves synthetic tickets out
    "backbone.dataset",
    "tickets.schema",
    "tickets.splitting.earlier_split",
    "commands.memory",  # `add_tickets` leaves them out
    "memory.segment",  # of a bundle, which has none
}
TAKERS = {  # who asks for synthetic tickets, and why
    "backbone.training.stage",  # for the classifier's training
    "pipeline.calibrate",  # how often training saw every class
    "pipeline.check",  # to count them
    "pipeline.augment.plan",  # what is there already
    "eval.promotion",  # what a model has learned from
    "bench.augment",
}


def synthetic_of(ticket: Ticket, number: int = 1) -> Ticket:
    return replace(
        ticket, id=f"{ticket.id}~{number}", body=f"new {ticket.id}", reply="", synthetic=True, parent=ticket.id
    )


def with_synthetic(data: Path, folder: Path, rows: Sequence[int] = range(20)) -> Path:
    """A copy of a prepared folder with synthetic tickets after some of its training tickets."""
    shutil.copytree(data, folder, ignore=shutil.ignore_patterns(".tokens"))
    train = read_tickets(data / "train.jsonl")
    write_tickets(folder / "train.jsonl", [*train, *(synthetic_of(train[row]) for row in rows)])
    return folder


@pytest.fixture
def augmented(small_data: Path, tmp_path: Path) -> Path:
    return with_synthetic(small_data, tmp_path / "aug")


def names_in(module: str) -> set[str]:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_only_these_modules_can_see_a_synthetic_ticket() -> None:
    readers = {m for m in MODULES if names_in(m) & {"read_tickets", "iter_tickets", "ticket_from_line"}}
    assert readers <= READERS
    assert {m for m in MODULES if "load_synthetic" in names_in(m)} == TAKERS


def test_no_part_holds_one(augmented: Path, small_data: Path, tmp_path: Path) -> None:
    for part in PARTS:
        assert load_part(augmented, part) == load_part(small_data, part)
    assert load_part(augmented, "train", 30) == load_part(small_data, "train", 30)
    few = load_part(augmented, "train", 10)
    assert {t.parent for t in load_synthetic(augmented, few)} <= {t.id for t in few}
    ticket = synthetic_of(load_part(small_data, "train")[0])
    for part in PARTS[1:]:
        folder = tmp_path / part
        shutil.copytree(augmented, folder)
        write_tickets(folder / f"{part}.jsonl", [*load_part(small_data, part), ticket])
        with pytest.raises(InputError, match=f"{part}.jsonl: found the synthetic ticket.*expected some in train"):
            load_part(folder, part)


def test_memory_and_base_training_have_none(augmented: Path, small_data: Path) -> None:
    assert resolved_tickets(augmented) == resolved_tickets(small_data)
    assert read_texts(str(augmented)).train == read_texts(str(small_data)).train


def test_stages_other_than_the_classifier_have_none(
    augmented: Path, small_data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    overrides = [f"base.path={tiny_base}", f"data.path={augmented}", f"output={tmp_path / 'run'}"]
    for name in (CLASSIFIER, GENERATOR, BASELINE):
        stage = open_stage(name, load_config(None, overrides))
        assert stage.train == load_part(small_data, "train") and stage.validation == load_part(small_data, "validation")
        assert len(stage.synthetic) == (20 if name == CLASSIFIER else 0)
        assert stage.real_data == data_fingerprint(small_data) != stage.data == data_fingerprint(augmented)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.tuples(*[st.sampled_from(["a", "b", "c"])] * 3), min_size=6, max_size=30),
    parents=st.lists(st.integers(0, 5), max_size=12),
    sampling=st.sampled_from(["none", "priority", "balanced"]),
    weights=st.sampled_from(["none", "balanced", "effective"]),
)
def test_nothing_that_is_counted_changes(
    labels: list[tuple[str, ...]], parents: list[int], sampling: str, weights: str
) -> None:
    train = [
        Ticket(f"t{n}", "", f"body {n}", labels=dict(zip(COLUMNS, row, strict=True))) for n, row in enumerate(labels)
    ]
    synthetic = [synthetic_of(train[row], number) for number, row in enumerate(parents)]
    try:
        space = LabelSpace.learn(train, COLUMNS)
    except InputError:  # a column of one class
        return
    config = load_config(None, [f"classifier.sampling={sampling}", f"classifier.class_weights={weights}"]).classifier
    plain, parts = LabelledParts(train, train[:2], space), LabelledParts(train, train[:2], space, synthetic)
    for column in COLUMNS:
        assert np.array_equal(plain.class_shares[column], parts.class_shares[column])
    examples = effective_examples(train, space, config, synthetic)
    for column, classes in effective_examples(train, space, config).items():
        for label, of_label in classes.items():
            assert examples[column][label]["tickets"] == of_label["tickets"]
            assert examples[column][label]["weight"] == of_label["weight"]
    drawn = sum(of_label["drawn"] for of_label in examples["priority"].values())
    assert drawn == pytest.approx(len(train) + len(synthetic))
    rows = sampling_weights(train, space, config, synthetic)
    if rows is not None and sampling == "priority":  # every class is drawn equally often, synthetic tickets or not
        by_class: dict[str, float] = {}
        for ticket, weight in zip([*train, *synthetic], rows, strict=True):
            by_class[ticket.labels["priority"]] = by_class.get(ticket.labels["priority"], 0.0) + weight
        assert list(by_class.values()) == pytest.approx([1.0] * len(by_class))
    assert class_weights(train, space, config) is not None
    assert set(pair_information(train, space)) == {(a, b) for i, a in enumerate(COLUMNS) for b in COLUMNS[i + 1 :]}


def test_an_earlier_split_counts_none_and_keeps_what_is_near_in_training(tmp_path: Path) -> None:
    old = tickets_of([body(n) for n in range(40)])
    source = tmp_path / "old.jsonl"
    write_tickets(source, old)
    prepare(PrepareOptions(str(source), tmp_path / "old"), progress=False)
    train = read_tickets(tmp_path / "old" / "train.jsonl")
    new = replace(synthetic_of(train[0]), body=body(500))
    write_tickets(tmp_path / "old" / "train.jsonl", [*train, new])
    split = EarlierSplit.load(tmp_path / "old")
    assert len(split.tickets) == len(split.parts) == 40
    later = [*old, replace(old[0], id="X", body=f"{body(500)} again")]
    parts, _, note = split.pin(later, 0.25, True)
    assert parts[-1] == TRAIN and f"train {len(train)} of {len(train)} and 1 near to them" in note


def test_preparing_an_augmented_file_sets_them_aside(tmp_path: Path) -> None:
    old = [replace(t, labels={"queue": "ab"[n % 2]}) for n, t in enumerate(tickets_of([body(n) for n in range(40)]))]
    source = tmp_path / "train.jsonl"
    write_tickets(source, [*old, *map(synthetic_of, old[:5])])
    report = prepare(PrepareOptions(str(source), tmp_path / "out"), progress=False)
    assert report.kept == 40 and report.reasons == {"synthetic ticket of `duet augment`": 5}
    assert not {"synthetic", "parent"} & set(report.labels)
    for part in PARTS:
        assert not any(ticket.synthetic for ticket in read_tickets(tmp_path / "out" / f"{part}.jsonl"))


def test_the_real_fingerprint_is_that_of_the_folder_before(augmented: Path, small_data: Path) -> None:
    assert real_fingerprint(augmented) == data_fingerprint(small_data) == real_fingerprint(small_data)
    sample = resolve_data("sample")
    assert real_fingerprint(sample) == data_fingerprint(sample)


def test_check_says_how_many(augmented: Path, small_data: Path, tiny_base: Path, tmp_path: Path) -> None:
    overrides = [f"base.path={tiny_base}", f"output={tmp_path / 'run'}"]
    text = check(load_config(None, [*overrides, f"data.path={augmented}"]))
    assert (
        "80 training and 24 validation tickets\n         and 20 synthetic tickets, which train the classifier alone"
        in text
    )
    assert "synthetic" not in check(load_config(None, [*overrides, f"data.path={small_data}"]))


@pytest.mark.slow
def test_a_classifier_learns_from_them_and_counts_without_them(
    trained_run: RunConfig, augmented: Path, small_data: Path, tmp_path: Path
) -> None:
    config = trained_run.model_copy(
        update={
            "output": str(tmp_path / "run"),
            "data": trained_run.data.model_copy(update={"path": str(augmented)}),
        }
    )
    run = train_classifier(config)
    record, plain = read_json(run / RUN), read_json(trained_run.folder / CLASSIFIER / RUN)
    assert record["synthetic_tickets"] == 20 and record["train_tickets"] == plain["train_tickets"] == 80
    assert record["real_data"] == plain["data"] != record["data"] and "real_data" not in plain
    for column, classes in record["examples"].items():
        for label, found in classes.items():
            assert found["tickets"] == plain["examples"][column][label]["tickets"]
    assert sum(found["drawn"] for found in record["examples"]["priority"].values()) == pytest.approx(100)
    assert record["best"] != plain["best"]
    # calibrating again, comparing with the plain run
    assert read_json(calibrate(tmp_path / "run", tmp_path / "again") / CLASSIFIER / RUN)["decode"] == record["decode"]
    systems = [TwoStageSystem(str(path), open_model(path)) for path in (trained_run.folder, tmp_path / "run")]
    for data in (small_data, augmented):
        warnings = _warnings(systems, data, CompareOptions([tmp_path], tmp_path / "out"), 0)
        assert not any("other data" in warning for warning in warnings)
    assert json.dumps(record)
