"""The classifier's numbers: pooling, loss, weights, calibration, metrics."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel

from backbone.config import ClassifierConfig, RunConfig
from backbone.training.balance import class_weights, sampling_weights
from backbone.training.stage import open_stage
from classifier.calibration import fit_head, fit_tag_threshold
from classifier.loss import ClassifierLoss
from classifier.metrics import cross_entropy, expected_calibration_error, head_report, softmax
from classifier.model import Heads, last_positions
from classifier.train import build_model
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.schema import Ticket

SPACE = LabelSpace({"type": ("a", "b"), "queue": ("x", "y", "z")}, ("red", "green"))


@pytest.fixture
def model(make_config: Callable[..., RunConfig]) -> PeftModel:
    stage = open_stage("classifier", make_config())
    torch.manual_seed(0)
    built = build_model(stage, LabelSpace.learn(stage.train, ["type", "queue", "priority"], 10))
    with torch.no_grad():  # a fresh adapter does nothing; make it count
        for name, parameter in built.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.05)
    return built.eval()


def logits(model: PeftModel, rows: list[list[int]], side: str, pad: int) -> dict[str, torch.Tensor]:
    width = max(map(len, rows))
    ids, mask = torch.full((len(rows), width), pad), torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids[i, place], mask[i, place] = torch.tensor(row), 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        return dict(model(input_ids=ids, attention_mask=mask, position_ids=positions).logits)


def test_padding_side_batch_and_order_change_no_logit(model: PeftModel) -> None:
    rows = [[5, 6, 7], [8] * 30, [9, 3, 3, 9, 3], [4, 5] * 8]  # 3 is used as padding too
    alone = [logits(model, [row], "right", 3) for row in rows]
    for side in ("left", "right"):
        for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
            together = logits(model, [rows[i] for i in order], side, 3)
            for column, values in together.items():
                for place, i in enumerate(order):
                    assert torch.allclose(values[place], alone[i][column][0], atol=1e-5), (side, column)


def test_only_adapter_and_heads_are_trained(model: PeftModel) -> None:
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert all("lora_" in name or ".heads." in name for name in trained)
    assert any(".heads." in name for name in trained)
    assert {parameter.dtype for name, parameter in model.named_parameters() if ".heads." in name} == {torch.float32}


def test_the_state_is_read_at_the_last_unmasked_place() -> None:
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1]])
    assert last_positions(mask).tolist() == [2, 11]


def test_a_column_may_have_any_name() -> None:
    heads = Heads(8, LabelSpace({"type": ("a", "b"), "forward": ("c", "d"), "a.b".replace(".", "_"): ("e", "f")}))
    assert set(heads(torch.zeros(1, 8))) == {"type", "forward", "a_b"}


def test_loss_is_the_weighted_sum_over_heads_and_tags() -> None:
    loss = ClassifierLoss({"type": torch.tensor([1.0, 3.0]), "queue": None}, label_smoothing=0.0, tag_weight=0.5)
    given = {"type": torch.tensor([[2.0, 0.0], [0.0, 1.0]]), "queue": torch.zeros(2, 3), "tags": torch.zeros(2, 2)}
    found = loss(given, torch.tensor([[1, 0], [1, 2]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    first = 3 * (np.log(1 + np.exp(2)) + np.log(1 + np.exp(-1))) / 2
    assert float(found) == pytest.approx(first + np.log(3) + 0.5 * np.log(2), abs=1e-5)


def tickets_of(counts: dict[str, int]) -> list[Ticket]:
    return [Ticket(f"{label}{i}", "", "b", labels={"p": label}) for label, n in counts.items() for i in range(n)]


def test_class_weights_are_exact() -> None:
    tickets = tickets_of({"high": 60, "low": 20, "medium": 20})
    space = LabelSpace.learn(tickets, ["p"])

    def weights(scheme: Any) -> Any:
        return class_weights(tickets, space, ClassifierConfig(columns=("p",), class_weights=scheme))["p"]

    assert weights("none") is None
    assert weights("balanced") == pytest.approx([100 / 180, 100 / 60, 100 / 60])
    assert weights({"p": {"low": 2.0}}) == [1.0, 2.0, 1.0]
    effective = weights("effective")
    assert effective[1] / effective[0] == pytest.approx((1 - 0.999**60) / (1 - 0.999**20))
    assert np.dot(effective, [60, 20, 20]) == pytest.approx(100)


@pytest.mark.parametrize("scheme", [{"q": "balanced"}, {"p": {"lowest": 2.0}}, {"low": 2.0}])
def test_unknown_columns_and_classes_are_named(scheme: Any) -> None:
    tickets = tickets_of({"high": 3, "low": 3})
    config = ClassifierConfig(columns=("p",), class_weights=scheme)
    with pytest.raises(InputError, match=r"classifier\.class_weights"):
        class_weights(tickets, LabelSpace.learn(tickets, ["p"]), config)


def test_sampling_makes_classes_equally_likely() -> None:
    tickets = tickets_of({"high": 90, "low": 10})
    space = LabelSpace.learn(tickets, ["p"])
    weights = sampling_weights(tickets, space, ClassifierConfig(columns=("p",), sampling="balanced"))
    assert weights is not None
    assert sum(weights[:90]) == pytest.approx(sum(weights[90:]))
    assert sampling_weights(tickets, space, ClassifierConfig(columns=("p",))) is None
    with pytest.raises(InputError, match="sampling"):
        sampling_weights(tickets, space, ClassifierConfig(columns=("p",), sampling="colour"))


def overconfident(rows: int = 4000) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(rows, 3))
    targets = np.array([rng.choice(3, p=p) for p in softmax(true)])
    return true * 3.0, targets


def calibration_error(probabilities: Any, targets: Any) -> float:
    return expected_calibration_error(probabilities.max(1), probabilities.argmax(1) == targets)


def test_temperature_recovers_the_scale_and_calibrates() -> None:
    scaled, targets = overconfident()
    head = fit_head(scaled, targets, np.ones(3) / 3, "none", 0.8)
    assert head.temperature == pytest.approx(3.0, rel=0.1)
    before = calibration_error(softmax(scaled), targets)
    after = calibration_error(head.probabilities(scaled), targets)
    assert after < before / 3
    assert (head.probabilities(scaled).argmax(1) == scaled.argmax(1)).all()


def test_the_review_threshold_keeps_the_wanted_accuracy_above_it() -> None:
    scaled, targets = overconfident()
    head = fit_head(scaled, targets, np.ones(3) / 3, "none", 0.8)
    probabilities = head.probabilities(scaled)
    sure = probabilities.max(1) >= head.threshold
    assert 0.1 < sure.mean() < 1
    assert (probabilities.argmax(1) == targets)[sure].mean() >= 0.8
    never = fit_head(np.zeros((50, 3)), np.arange(50) % 3, np.ones(3) / 3, "none", 0.99)
    assert never.threshold > 1


def test_adjustment_raises_macro_f1_on_skewed_logits() -> None:
    rng = np.random.default_rng(1)
    targets = rng.choice(2, p=[0.9, 0.1], size=3000)
    evidence = rng.normal(size=(3000, 2))
    evidence[np.arange(3000), targets] += 1.5
    priors = np.array([0.9, 0.1])
    plain = fit_head(evidence + np.log(priors), targets, priors, "none", 0.8)
    adjusted = fit_head(evidence + np.log(priors), targets, priors, "macro_f1", 0.8)
    assert plain.strength == 0
    assert adjusted.strength > 0

    def macro(head: Any) -> float:
        return float(
            head_report(np.log(head.probabilities(evidence + np.log(priors))), targets, ["a", "b"])["macro_f1"]
        )

    assert macro(adjusted) > macro(plain)


def test_tag_threshold_finds_the_best_micro_f1() -> None:
    targets = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    probabilities = np.array([[0.35, 0.1], [0.4, 0.2], [0.1, 0.45]])
    assert 0.2 < fit_tag_threshold(probabilities, targets) <= 0.35


def test_metrics_agree_with_hand_counts() -> None:
    scores = np.log(np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]]))
    report = head_report(scores, np.array([0, 1, 1, 2]), ["a", "b", "c"])
    assert report["accuracy"] == 0.75
    assert report["recall"] == {"a": 1.0, "b": 0.5, "c": 1.0}
    assert report["confusion"] == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    assert cross_entropy(scores, np.array([0, 1, 1, 2])) == pytest.approx(-np.log([0.8, 0.7, 0.3, 0.8]).mean())


def test_label_space_names_what_is_wrong() -> None:
    tickets = [Ticket("1", "", "b", labels={"type": "a"}), Ticket("2", "", "b", labels={"type": "b"})]
    with pytest.raises(InputError, match="'queue' is in no training ticket"):
        LabelSpace.learn(tickets, ["queue"])
    with pytest.raises(InputError, match="single class"):
        LabelSpace.learn(tickets[:1], ["type"])
