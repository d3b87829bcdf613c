"""Tickets without some of their labels, and labels that training never saw, from the loss to the evaluation."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from backbone.config import ClassifierConfig, SinglePromptConfig
from backbone.config_file import dump_config, load_config
from backbone.dataset import load_part
from backbone.runs.layout import BASELINE
from backbone.training.balance import class_weights, effective_examples, sampling_weights
from backbone.training.stage import open_stage
from classifier.calibration import HeadCalibration, fit_head
from classifier.label_checks import labelled_tickets, validation_warnings
from classifier.loss import ClassifierLoss
from classifier.metrics import head_report
from classifier.train import train_classifier
from eval.bootstrap import Resamples
from eval.confidence import confidence_report
from eval.evaluate import evaluate, render
from eval.labels import labelled_tickets as labelled_for_evaluation
from eval.labels import macro_f1_replicates, score_column
from eval.references import majority, tfidf_regression
from generator.single_prompt.format import UNLABELLED, single_prompt_encoder, target_parts
from generator.single_prompt.train import encode_outputs
from generator.train import train_generator
from pipeline.check import check
from tests.conftest import MakeConfig
from tickets.errors import InputError
from tickets.labels import NO_LABEL, UNSEEN, LabelSpace
from tickets.schema import Ticket, read_tickets, write_tickets

COLUMNS = ("type", "queue", "priority")


def old_loss(
    weights: dict[str, torch.Tensor | None], smoothing: float, logits: dict[str, torch.Tensor], targets: torch.Tensor
) -> torch.Tensor:
    """The loss of tickets with every label, as it was before labels could be missing."""
    loss = torch.zeros(())
    for i, (column, weight) in enumerate(weights.items()):
        losses = functional.cross_entropy(
            logits[column], targets[:, i], weight=weight, label_smoothing=smoothing, reduction="none"
        )
        loss = loss + losses.mean()
    return loss


@given(st.integers(1, 40), st.booleans(), st.sampled_from([0.0, 0.1]), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_the_loss_of_complete_labels_is_the_same_to_the_last_bit(
    rows: int, weighted: bool, smoothing: float, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    weights = {"a": torch.rand(3, generator=random) + 0.1 if weighted else None, "b": None}
    values = {"a": torch.randn(rows, 3, generator=random), "b": torch.randn(rows, 5, generator=random)}
    targets = torch.stack([torch.randint(n, (rows,), generator=random) for n in (3, 5)], dim=1)
    losses, gradients = [], []
    for objective in (
        lambda logits: old_loss(weights, smoothing, logits, targets),
        lambda logits: ClassifierLoss(weights, smoothing, 1.0)(logits, targets, None),
    ):
        logits = {name: value.clone().requires_grad_() for name, value in values.items()}
        losses.append(objective(logits))
        losses[-1].backward()
        gradients.append([value.grad for value in logits.values()])
    assert torch.equal(*losses)
    assert all(torch.equal(old, new) for old, new in zip(*gradients, strict=True))


@pytest.mark.parametrize("missing", [NO_LABEL, UNSEEN])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_head_gets_no_gradient_from_tickets_without_its_label(missing: int, smoothing: float) -> None:
    logits = {"a": torch.randn(4, 3, requires_grad=True), "b": torch.randn(4, 2, requires_grad=True)}
    weights = {"a": torch.tensor([1.0, 2.0, 0.5]), "b": None}
    targets = torch.tensor([[0, 1], [missing, 0], [2, missing], [missing, missing]])
    loss = ClassifierLoss(weights, smoothing, 1.0)
    total = loss(logits, targets, None)
    total.backward()
    without = {name: value.grad.abs().sum(dim=1) > 0 for name, value in logits.items() if value.grad is not None}
    assert without["a"].tolist() == [True, False, True, False]
    assert without["b"].tolist() == [True, True, False, False]
    # each head is the mean over its own tickets
    a = old_loss({"a": weights["a"]}, smoothing, {"a": logits["a"][[0, 2]]}, targets[[0, 2]][:, :1])
    b = old_loss({"b": None}, smoothing, {"b": logits["b"][[0, 1]]}, targets[[0, 1]][:, 1:])
    assert float(total) == pytest.approx(float(a + b), abs=1e-6)


def test_a_batch_without_any_label_of_a_head_has_a_finite_loss() -> None:
    logits = {"a": torch.randn(2, 3, requires_grad=True)}
    loss = ClassifierLoss({"a": None}, 0.0, 1.0)(logits, torch.full((2, 1), NO_LABEL), None)
    loss.backward()
    assert float(loss) == 0.0 and logits["a"].grad is not None and not logits["a"].grad.any()


def tickets_of(labels: list[str | None]) -> list[Ticket]:
    return [Ticket(str(n), "", "b", labels={"p": label} if label else {}) for n, label in enumerate(labels)]


def test_weights_count_the_labelled_tickets_alone() -> None:
    plain = tickets_of(["high"] * 6 + ["low"] * 2)
    partly = [*plain, *tickets_of([None] * 12)]
    space = LabelSpace.learn(partly, ["p"])
    for scheme in ("balanced", "effective"):
        config = ClassifierConfig(columns=("p",), class_weights=scheme)
        assert class_weights(partly, space, config) == class_weights(plain, space, config)
    sampling = sampling_weights(partly, space, ClassifierConfig(columns=("p",), sampling="p"))
    assert sampling is not None
    shares = np.array(sampling) / sum(sampling)
    assert shares[:6].sum() == pytest.approx(0.2) == shares[6:8].sum()
    assert shares[8:].sum() == pytest.approx(12 / 20)
    examples = effective_examples(partly, space, ClassifierConfig(columns=("p",), sampling="p"))["p"]
    assert (examples["high"]["tickets"], examples["low"]["tickets"]) == (6, 2)
    assert examples["high"]["drawn"] == pytest.approx(4) == examples["low"]["drawn"]


def test_metrics_leave_out_no_label_and_count_unseen_as_wrong() -> None:
    scores = np.log(np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4], [0.9, 0.1], [0.9, 0.1]]))
    targets = np.array([0, 1, 1, NO_LABEL, UNSEEN])
    report = head_report(scores, targets, ["a", "b"])
    assert report["accuracy"] == 2 / 4
    assert report["confusion"] == [[1, 0], [1, 1]]
    assert report["recall"] == {"a": 1.0, "b": 0.5}
    assert report["cross_entropy"] == pytest.approx(-np.log([0.8, 0.7, 0.4]).mean())
    assert report["macro_f1"] == pytest.approx((0.5 + 2 / 3 + 0) / 3)  # the unseen class is never right
    nothing = head_report(scores, np.full(5, NO_LABEL), ["a", "b"])
    assert np.isnan(nothing["accuracy"]) and nothing["confusion"] == [[0, 0], [0, 0]] and nothing["recall"] == {}


def test_calibration_is_fitted_on_labelled_rows() -> None:
    random = np.random.default_rng(0)
    logits, targets = random.normal(size=(400, 3)) * 3, random.integers(0, 3, 400)
    priors, settings = np.ones(3) / 3, ("accuracy", 0.8)
    more = np.concatenate([logits, random.normal(size=(100, 3)) * 50])
    assert fit_head(more, np.append(targets, [NO_LABEL] * 100), priors, *settings) == fit_head(
        logits, targets, priors, *settings
    )
    unfitted = fit_head(logits, np.full(400, NO_LABEL), priors, *settings)
    assert unfitted.temperature == 1.0 and unfitted.threshold > 1 and unfitted.offset == (0.0, 0.0, 0.0)
    # unseen labels are wrong: with them the same accuracy needs a higher confidence
    unseen = np.concatenate([logits, logits[:100]]), np.append(targets, [UNSEEN] * 100)
    assert fit_head(*unseen, priors, *settings).temperature == pytest.approx(
        fit_head(logits, targets, priors, *settings).temperature
    )


def test_labels_of_validation_alone_are_said() -> None:
    space = LabelSpace({"queue": ("A", "B"), "type": ("x", "y")})
    tickets = [Ticket("1", "", "b", labels={"queue": "Pager"}), Ticket("2", "", "b", labels={"queue": "A"})]
    assert [space.label_ids(ticket)["queue"] for ticket in tickets] == [UNSEEN, 0]
    assert validation_warnings(tickets, space) == [
        "queue: validation tickets with 'Pager' (1) count as wrong; no training ticket has that label",
        "type: no validation ticket has a label, so its confidence is not calibrated",
    ]


def test_tickets_without_any_label_train_the_generator_only() -> None:
    space = LabelSpace({"queue": ("A", "B")}, ("vpn",))
    tickets = [
        Ticket("1", "", "b", labels={"queue": "A"}),
        Ticket("2", "", "b", labels={"other": "A"}),
        Ticket("3", "", "b", tags=("vpn",)),
        Ticket("4", "", "b", tags=("rare",)),
    ]
    assert [ticket.id for ticket in labelled_tickets(tickets, space, "training")] == ["1", "3"]
    with pytest.raises(InputError, match="no validation ticket has a label in queue"):
        labelled_tickets(tickets[1:2], space, "validation")


# --- the evaluation


def test_scores_leave_out_tickets_without_the_label() -> None:
    truth, given = ["a", "b", None, "b", None, "b"], ["a", "a", "b", None, "a", "b"]
    resamples = Resamples(6)
    scores = score_column(truth, given, resamples, macro_f1_replicates(truth, given, resamples))
    known, said = ["a", "b", "b", "b"], ["a", "a", None, "b"]
    four = Resamples(4)
    expected = score_column(known, said, four, macro_f1_replicates(known, said, four))
    assert scores.accuracy.value == expected.accuracy.value == 1 / 2
    assert scores.macro_f1.value == expected.macro_f1.value
    assert scores.confusion == expected.confusion
    assert scores.missing == expected.missing == 1 / 4
    assert {c: (s.precision.value, s.recall.value, s.support) for c, s in scores.classes.items()} == {
        c: (s.precision.value, s.recall.value, s.support) for c, s in expected.classes.items()
    }


def test_confidence_leaves_out_tickets_without_the_label() -> None:
    head = HeadCalibration((0.0, 0.0), temperature=1.5, threshold=0.7)
    rows = [{"a": 0.9, "b": 0.1}, {"a": 0.2, "b": 0.8}, {"a": 0.6, "b": 0.4}]
    report = confidence_report(rows, ["a", "b", "a"], ["a", None, "b"], head, 0.8, Resamples(3))
    expected = confidence_report([rows[0], rows[2]], ["a", "a"], ["a", "b"], head, 0.8, Resamples(2))
    for name in ("error_before", "error_after", "above", "accuracy_above"):
        assert getattr(report, name).value == getattr(expected, name).value
    assert (report.reliability, report.coverage[-1]) == (expected.reliability, expected.coverage[-1])


def test_references_learn_from_labelled_tickets() -> None:
    words = {"a": "printer paper tray", "b": "invoice payment refund"}
    train = [
        Ticket(str(n), "", f"{words[label]} {label} case", labels={"p": label}) for n, label in enumerate("aaabb" * 4)
    ]
    train += [Ticket(f"u{n}", "", "nothing at all", labels={}) for n in range(40)]
    test = [Ticket("t", "", "the printer has no paper in the tray"), Ticket("u", "", "a refund of the invoice")]
    assert majority(train, test, ["p"]) == [{"p": "a"}, {"p": "a"}]
    assert tfidf_regression(train, test, ["p"]) == [{"p": "a"}, {"p": "b"}]


def test_columns_without_test_labels_are_left_out_aloud(capsys: pytest.CaptureFixture[str]) -> None:
    tickets = [Ticket("1", "", "b", labels={"p": "a"}), Ticket("2", "", "b")]
    found, columns = labelled_for_evaluation(tickets, ["p", "q"], "test")
    assert ([ticket.id for ticket in found], columns) == (["1"], ["p"])
    assert "q: no test ticket has a label" in capsys.readouterr().err
    with pytest.raises(InputError, match="no test ticket has a label in q"):
        labelled_for_evaluation(tickets, ["q"], "test")


# --- data that is read


@pytest.mark.parametrize(
    ("override", "weights"),
    [
        ("{priority: {1: 3.0}}", {"priority": {"1": 3.0}}),
        ("{type: {No: 3.0, yes: 2}}", {"type": {"No": 3.0, "yes": 2.0}}),
        (
            "{type: {2024-01-01: 3, null: 2, ~: 2, 1.50: 4, 0x1F: 5}}",
            {"type": {"2024-01-01": 3, "null": 2, "~": 2, "1.50": 4, "0x1F": 5}},
        ),
        ("{type: {'1': 3.0, \"No\": 2}}", {"type": {"1": 3.0, "No": 2.0}}),
    ],
)
def test_labels_that_yaml_takes_for_something_else_work_as_keys(
    tmp_path: Path, override: str, weights: dict[str, dict[str, float]]
) -> None:
    config = load_config(None, [f"classifier.class_weights={override}"])
    assert config.classifier.class_weights == weights
    (tmp_path / "run.yaml").write_text(f"classifier:\n  class_weights: {override}\n")
    assert load_config(tmp_path / "run.yaml").classifier.class_weights == weights
    (tmp_path / "again.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "again.yaml") == config


def test_merged_keys_stay_text(tmp_path: Path) -> None:
    text = "classifier:\n  class_weights:\n    priority: &w {1: 2.0, 2: 5.0}\n    type:\n      <<: *w\n      2: 4.0\n"
    (tmp_path / "run.yaml").write_text(text)
    found = load_config(tmp_path / "run.yaml").classifier.class_weights
    assert found == {"priority": {"1": 2.0, "2": 5.0}, "type": {"1": 2.0, "2": 4.0}}


def test_max_train_keeps_every_class(tmp_path: Path) -> None:
    tickets = [
        Ticket(str(n), "", "b", labels={"queue": "Pager" if n == 90 else "AB"[n % 2], "customer": f"c{n}"})
        for n in range(100)
    ]
    for part in ("train", "validation"):
        write_tickets(tmp_path / f"{part}.jsonl", tickets)
    kept = load_part(tmp_path, "train", 20)
    assert [ticket.id for ticket in kept] == [*(str(n) for n in range(19)), "90"]
    assert [ticket.id for ticket in load_part(tmp_path, "validation", 20)] == [str(n) for n in range(20)]
    assert [ticket.id for ticket in load_part(tmp_path, "train", 95)] == [str(n) for n in range(95)]
    assert len(load_part(tmp_path, "train", 1)) == 1


# --- whole runs


@pytest.fixture(scope="module")
def gappy_data(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data with labels taken away: every fourth queue, every third priority, all of some tickets."""
    folder = tmp_path_factory.mktemp("gappy")
    for part in ("train", "validation", "test"):
        tickets = []
        for n, ticket in enumerate(read_tickets(small_data / f"{part}.jsonl")):
            labels = {c: label for c, label in ticket.labels.items() if (c, n % 4) != ("queue", 1)}
            labels = {c: label for c, label in labels.items() if (c, n % 3) != ("priority", 2)}
            labels |= {"queue": "Pager"} if part == "validation" and n == 0 else {}
            tickets.append(
                replace(ticket, labels={} if n % 10 == 9 else labels, tags=() if n % 10 == 9 else ticket.tags)
            )
        write_tickets(folder / f"{part}.jsonl", tickets)
    return folder


def test_a_whole_run_with_missing_and_unseen_labels(
    make_config: MakeConfig, gappy_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(data__path=gappy_data, classifier__training__select_by="queue_accuracy")
    text = check(config)
    assert "queue: validation tickets with 'Pager' (1) count as wrong" in text.replace("\n", " ")
    assert "8 training tickets have no label; they train the generator alone" in text
    folder = train_classifier(config)
    record = json.loads((folder / "run.json").read_text())
    train, validation = (read_tickets(gappy_data / f"{part}.jsonl") for part in ("train", "validation"))
    assert record["train_tickets"] == sum(bool(t.labels) for t in train) == 72
    for column in COLUMNS:
        known = [t.labels[column] for t in validation if t.labels.get(column, "Pager") != "Pager"]
        assert sum(map(sum, record["calibrated"][column]["confusion"])) == len(known)
        assert {label: e["tickets"] for label, e in record["examples"][column].items()} == Counter(
            t.labels[column] for t in train if column in t.labels
        )
    assert "'Pager' (1) count as wrong" in capsys.readouterr().err
    train_generator(config)
    scores = evaluate(config.folder, str(gappy_data), "test", 0)
    assert scores.tickets == sum(bool(t.labels) for t in read_tickets(gappy_data / "test.jsonl"))
    assert "accuracy" in render(scores)


def test_the_single_prompt_does_not_learn_to_write_unknown(make_config: MakeConfig, gappy_data: Path) -> None:
    config = make_config(data__path=gappy_data)
    stage = open_stage(BASELINE, config)
    space = LabelSpace.learn(stage.train, config.classifier.columns)
    stage = replace(stage, encoder=single_prompt_encoder(stage.base_folder, space, config))
    tickets = [t for t in stage.train if t.reply]
    weights = class_weights(tickets, space, SinglePromptConfig(class_weights="balanced"))
    for given_weights in (None, weights):
        samples = encode_outputs(stage, tickets, space, given_weights)
        assert samples.weights is not None
        for ticket, names, row in zip(tickets, samples.segments, samples.weights, strict=True):
            assert (UNLABELLED in names) == any(column not in ticket.labels for column in COLUMNS)
            assert all((weight == 0.0) == (name == UNLABELLED) for name, weight in zip(names, row, strict=True))
    complete = [t for t in tickets if all(column in t.labels for column in COLUMNS)]
    assert encode_outputs(stage, complete, space).weights is None
    assert "Unknown" in "".join(text for _, text in target_parts(Ticket("1", "", "b"), COLUMNS))
