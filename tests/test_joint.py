"""Labels decoded together: exactness, what is fitted, where it is chosen, and runs and bundles that have it."""

import json
import shutil
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad

from backbone.config import RunConfig
from backbone.runs.files import read_json, sha256
from backbone.runs.layout import JOINT, MANIFEST, RUN
from classifier import joint
from classifier.fitting import _gain
from classifier.joint import JointDecoder
from classifier.joint_fit import JointFit, _Likelihood, pair_information
from classifier.label_checks import check_decode
from classifier.metrics import softmax
from classifier.review import folds_of
from classifier.train import train_classifier
from pipeline.engine_choice import EngineChoice
from pipeline.predict import answer_to_dict
from pipeline.two_stage import load_two_stage
from tests.conftest import MakeConfig
from tickets.errors import InputError
from tickets.labels import NO_LABEL, LabelSpace
from tickets.schema import Ticket

SIZES = {"type": 3, "queue": 4, "priority": 2, "team": 3}
SPACE = LabelSpace({name: tuple(f"{name}{i}" for i in range(size)) for name, size in list(SIZES.items())[:3]})


def random_decoder(rng: Any, columns: int, weighted: bool = False) -> JointDecoder:
    sizes = dict(list(SIZES.items())[:columns])
    return JointDecoder(
        {name: float(rng.uniform(0.2, 2)) for name in sizes},
        {name: rng.normal(size=size) * weighted for name, size in sizes.items()},
        {(a, b): rng.normal(size=(sizes[a], sizes[b])) for a, b in combinations(sizes, 2)},
    )


def random_logits(rng: Any, columns: int, rows: int) -> dict[str, Any]:
    return {name: rng.normal(size=(rows, size)) * 2 for name, size in list(SIZES.items())[:columns]}


def no_offsets(logits: dict[str, Any]) -> dict[str, Any]:
    return {name: np.zeros(values.shape[1]) for name, values in logits.items()}


# --- decoding


@pytest.mark.parametrize("columns", [2, 3, 4])
@pytest.mark.parametrize("seed", range(5))
def test_decoding_is_what_trying_every_combination_finds(
    columns: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    decoder, logits = random_decoder(rng, columns, weighted=True), random_logits(rng, columns, 7)
    offsets = {name: rng.normal(size=values.shape[1]) for name, values in logits.items()}
    monkeypatch.setattr(joint, "_MAX_SCORES", 2 * decoder.pair_scores.size)  # blocks of two tickets
    found = decoder.decode(logits, offsets)
    names = list(logits)
    for row in range(7):
        chosen, likely = {}, {}
        for labels in product(*(range(values.shape[1]) for values in logits.values())):
            pairs = sum(
                decoder.tables[names[a], names[b]][labels[a], labels[b]] for a, b in combinations(range(columns), 2)
            )
            plain = [decoder.scales[n] * logits[n][row, y] for n, y in zip(names, labels, strict=True)]
            weights = [decoder.scales[n] * decoder.weightings[n][y] for n, y in zip(names, labels, strict=True)]
            moved = [decoder.scales[n] * offsets[n][y] for n, y in zip(names, labels, strict=True)]
            likely[labels] = np.exp(sum(plain) - sum(weights) + pairs)  # class weights are no evidence
            chosen[labels] = sum(plain) + sum(moved) + pairs  # but they were asked for
        best, total = max(chosen, key=lambda labels: chosen[labels]), sum(likely.values())
        assert tuple(found.labels[name][row] for name in names) == best
        assert found.joint_probability is not None
        assert found.joint_probability[row] == pytest.approx(likely[best] / total)
        for place, name in enumerate(names):
            for label in range(logits[name].shape[1]):
                share = sum(p for labels, p in likely.items() if labels[place] == label) / total
                assert found.marginals[name][row, label] == pytest.approx(share)


def test_without_tables_the_labels_are_those_of_the_heads() -> None:
    rng = np.random.default_rng(1)
    decoder, logits = random_decoder(rng, 3), random_logits(rng, 3, 500)
    for table in decoder.tables.values():
        table[:] = 0.0
    found = decoder.decode(logits, no_offsets(logits))
    for name, values in logits.items():
        assert (found.labels[name] == values.argmax(axis=1)).all()
        np.testing.assert_allclose(found.marginals[name], softmax(decoder.scales[name] * values))


def test_no_ticket_is_no_label() -> None:
    rng = np.random.default_rng(0)
    found = random_decoder(rng, 2).decode(random_logits(rng, 2, 0), {"type": np.zeros(3), "queue": np.zeros(4)})
    assert found.marginals["type"].shape == (0, 3) and len(found.labels["queue"]) == 0


# --- fitting


def tickets_of(combined: Any) -> list[Ticket]:
    names = list(SPACE.columns)
    return [
        Ticket(str(i), "", "b", labels={n: SPACE.columns[n][y] for n, y in zip(names, row, strict=True)})
        for i, row in enumerate(combined)
    ]


def drawn(rows: int, seed: int, related: bool) -> tuple[Any, dict[str, Any]]:
    """Class ids (rows, 3), and logits that say a little of each; related labels come in six of the 24 combinations."""
    rng = np.random.default_rng(seed)
    every = np.array(list(product(range(3), range(4), range(2))))
    usual = every[[1, 4, 11, 14, 17, 22]]
    targets = (usual if related else every)[rng.integers(0, 6 if related else 24, rows)]
    logits = {}
    for place, (name, classes) in enumerate(SPACE.columns.items()):
        noise = rng.normal(size=(rows, len(classes)))
        logits[name] = noise + 1.2 * (targets[:, [place]] == np.arange(len(classes)))
    return targets, logits


def fit_of(rows: int, seed: int, related: bool) -> JointFit:
    targets, logits = drawn(rows, seed, related)
    train, _ = drawn(1000, seed + 1000, related)
    return JointFit(logits, targets, no_offsets(logits), pair_information(tickets_of(train), SPACE))


def gain_of(fit: JointFit) -> dict[str, Any]:
    offsets = no_offsets(dict(fit.logits))
    alone = {name: values.argmax(axis=1) for name, values in fit.logits.items()}
    return _gain(alone, fit.cross_fit(folds_of(len(fit.targets))).decode(offsets).labels, fit.targets, "auto")


def test_the_information_of_pairs_is_that_of_their_counts() -> None:
    space = LabelSpace({"a": ("0", "1"), "b": ("0", "1")})
    pairs = [("0", "0")] * 400 + [("1", "1")] * 400 + [("0", "1")] * 200
    tickets = [Ticket("", "", "b", labels={"a": a, "b": b}) for a, b in pairs]
    tickets += [Ticket("", "", "b", labels={"a": "1"})] * 50  # without the other label it says nothing of pairs
    table = pair_information(tickets, space)["a", "b"]
    assert table[0, 0] == pytest.approx(np.log(0.4 / (0.6 * 0.4)), abs=0.02)
    assert table[1, 1] == pytest.approx(np.log(0.4 / (0.4 * 0.6)), abs=0.02)
    assert -6 < table[1, 0] < -4  # never seen, and finite


def test_the_gradient_is_that_of_finite_differences() -> None:
    fit = fit_of(40, 0, related=True)
    fit.targets[::3, 1] = NO_LABEL  # of what is not known nothing is learnt
    fit.targets[5] = NO_LABEL
    likelihood = _Likelihood(fit)
    rng = np.random.default_rng(0)
    size = 3 + 1 + 3 * 4 + 3 * 2 + 4 * 2
    values = np.concatenate([rng.uniform(0.5, 1.5, 4), rng.normal(size=size - 4)])
    error = check_grad(lambda v: likelihood.loss(v, 3.0)[0], lambda v: likelihood.loss(v, 3.0)[1], values)
    assert error < 1e-3 * np.linalg.norm(likelihood.loss(values, 3.0)[1])


def test_related_labels_are_decoded_together_and_gain() -> None:
    fit = fit_of(300, 0, related=True)
    found = gain_of(fit)
    assert found["decode"] == "joint"
    assert found["gain"] > 0.1
    targets, logits = drawn(2000, 7, related=True)
    decoded = fit.fit().decode(logits, no_offsets(logits))
    right = np.all([decoded.labels[name] == targets[:, i] for i, name in enumerate(logits)], axis=0)
    assert found["all_right_joint"] == pytest.approx(right.mean(), abs=0.06)  # cross-fitting promises what then comes
    assert decoded.joint_probability is not None
    assert decoded.joint_probability.mean() == pytest.approx(right.mean(), abs=0.03)


def test_unrelated_labels_are_decoded_alone(capsys: pytest.CaptureFixture[str]) -> None:
    gains = [gain_of(fit_of(300, seed, related=False)) for seed in range(3)]
    assert [found["decode"] for found in gains].count("independent") >= 2
    assert all(abs(found["gain"]) < 0.03 for found in gains)
    assert "standard error" in capsys.readouterr().err


def test_little_is_no_gain() -> None:
    one = {"type": np.array([0]), "queue": np.array([0])}
    assert _gain(one, one, np.array([[0, 0]]), "auto")["decode"] == "independent"
    assert _gain(one, one, np.array([[0, 0]]), "joint")["decode"] == "joint"


def test_few_labels_are_enough_for_a_fit_and_none_leave_what_the_heads_say() -> None:
    for known in (0, 1, 3):
        fit = fit_of(30, 0, related=True)
        fit.targets[known:] = NO_LABEL
        decoded = fit.fit().decode(fit.logits, no_offsets(dict(fit.logits)))
        assert all(np.isfinite(values).all() for values in decoded.marginals.values())
        if not known:
            assert all((decoded.labels[n] == values.argmax(axis=1)).all() for n, values in fit.logits.items())


def test_class_weights_change_no_probability_and_stay_in_the_choice() -> None:
    targets, logits = drawn(300, 3, related=True)
    weights = {name: np.log(np.linspace(0.3, 3, values.shape[1])) for name, values in logits.items()}
    weighted = {name: values + weights[name] for name, values in logits.items()}
    information = pair_information(tickets_of(targets), SPACE)
    plain = JointFit(logits, targets, no_offsets(logits), information).fit()
    ours = JointFit(weighted, targets, weights, information).fit()
    expected, found = (d.decode(v, no_offsets(logits)) for d, v in ((plain, logits), (ours, weighted)))
    for name in logits:
        np.testing.assert_allclose(found.marginals[name], expected.marginals[name], atol=1e-3)
    last = [
        sum((d.labels[name] == values.shape[1] - 1).mean() for name, values in logits.items())
        for d in (expected, found)
    ]
    assert last[1] > last[0]  # the last class weighs most


# --- files and limits


def test_a_decoder_comes_back_and_damage_is_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    decoder, logits = random_decoder(rng, 3, weighted=True), random_logits(rng, 3, 20)
    decoder.save(tmp_path / JOINT)
    again = JointDecoder.load(tmp_path / JOINT, SPACE)
    expected, found = (d.decode(logits, no_offsets(logits)) for d in (decoder, again))
    for name in logits:
        assert (expected.marginals[name] == found.marginals[name]).all()
    record = read_json(tmp_path / JOINT)

    def without_table(r: Any) -> None:
        r["tables"].pop()

    def not_a_number(r: Any) -> None:
        r["columns"]["type"]["scale"] = float("nan")

    def fewer_classes(r: Any) -> None:
        r["columns"]["type"]["weighting"].pop()

    def other_column(r: Any) -> None:
        r["columns"]["kind"] = r["columns"].pop("type")

    def no_list(r: Any) -> None:
        r["tables"] = 3

    damages: list[Callable[[Any], None]] = [without_table, not_a_number, fewer_classes, other_column, no_list]
    for damage in damages:
        broken = json.loads(json.dumps(record))
        damage(broken)
        (tmp_path / JOINT).write_text(json.dumps(broken))
        with pytest.raises(InputError, match="train the classifier again"):
            JointDecoder.load(tmp_path / JOINT, SPACE)


def test_too_many_combinations_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    space = LabelSpace({name: tuple(map(str, range(101))) for name in ("a", "b")})
    with pytest.raises(InputError, match="10,201 combinations of labels, expected at most 10,000"):
        check_decode(space, "joint")
    check_decode(space, "independent")
    assert capsys.readouterr().err == ""
    check_decode(space, "auto")
    assert "decoded independently" in capsys.readouterr().err
    with pytest.raises(InputError, match="one label column"):
        check_decode(LabelSpace({"a": ("x", "y")}), "joint")


# --- whole runs


@pytest.fixture(scope="module")
def joint_run(trained_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    settings = trained_run.classifier.model_copy(update={"decode": "joint"})
    out = str(tmp_path_factory.mktemp("joint") / "run")
    config = trained_run.model_copy(update={"output": out, "classifier": settings})
    train_classifier(config)
    return config


@pytest.mark.slow
def test_a_run_decodes_together_keeps_the_figures_and_older_runs_do_not(
    joint_run: RunConfig, tickets: list[Ticket], tmp_path: Path
) -> None:
    folder = joint_run.folder / "classifier"
    record = read_json(folder / RUN)
    assert record["decode"]["decode"] == "joint"
    assert {"gain", "standard_error", "all_right_joint", "all_right_independent", "tickets"} <= record["decode"].keys()
    assert JOINT in read_json(folder / MANIFEST)["files"]
    answer = load_two_stage(joint_run.folder, labels_only=True).answer(tickets[:1])[0]
    prediction = answer.prediction
    assert prediction.joint_probability is not None
    assert answer_to_dict(answer)["confidence_all"] == round(prediction.joint_probability, 4)
    assert prediction.joint_probability <= min(prediction.confidence.values())
    older = Path(shutil.copytree(joint_run.folder, tmp_path / "older"))
    (older / "classifier" / JOINT).unlink()
    with pytest.raises(InputError, match=r"joint\.json"):
        load_two_stage(older, labels_only=True)
    manifest = older / "classifier" / MANIFEST
    sums = read_json(manifest)
    del sums["files"][JOINT]
    manifest.write_text(json.dumps(sums))
    classifier = load_two_stage(older, labels_only=True).classifier
    assert classifier.decoder is None


@pytest.mark.slow
def test_joint_asked_for_in_vain_is_one_line_before_training(make_config: MakeConfig) -> None:
    with pytest.raises(InputError, match=r"classifier\.decode=joint: found one label column"):
        train_classifier(make_config(classifier__columns="[type]", classifier__decode="joint"))


@pytest.fixture(scope="module")
def joint_bundle(joint_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("llama_cpp")
    from pipeline.export.export import export
    from pipeline.export.options import ExportOptions

    out = tmp_path_factory.mktemp("bundle") / "bundle"
    export(ExportOptions(joint_run.folder, out, quant="f16", onnx=True, int8=False, check=8))
    return out


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "onnx", "llama"])
def test_every_engine_decodes_together(
    joint_run: RunConfig, joint_bundle: Path, engine: str, tickets: list[Ticket]
) -> None:
    assert sha256(joint_bundle / "classifier" / JOINT) == sha256(joint_run.folder / "classifier" / JOINT)
    expected = load_two_stage(joint_run.folder, labels_only=True).answer(tickets[:8])
    found = load_two_stage(joint_bundle, labels_only=True, choice=EngineChoice(engine, together=4)).answer(tickets[:8])
    for one, other in zip(expected, found, strict=True):
        assert one.prediction.labels == other.prediction.labels
        assert one.prediction.joint_probability == pytest.approx(other.prediction.joint_probability, abs=2e-3)
        assert one.apply == other.apply
