"""Whole training runs on a tiny base: what they write, resuming, and refusing."""

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from backbone.base import find_base, identify
from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.runs.folder import check_replaceable, open_partial, publish, verify
from backbone.runs.locks import release
from backbone.training.callbacks import SELECTED, evaluations_since_best
from backbone.training.sampler import TokenBudgetSampler
from classifier.loss import ClassifierLoss
from classifier.train import train_classifier
from generator.train import train_generator
from pipeline.model_folder import open_model
from pipeline.two_stage import load_two_stage
from tickets.errors import InputError, WorkError
from tickets.schema import Ticket

pytestmark = pytest.mark.slow

MakeConfig = Callable[..., RunConfig]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found = load_file(folder / "adapter" / "adapter_model.safetensors")
    if (folder / "heads.safetensors").is_file():
        found |= load_file(folder / "heads.safetensors")
    return found


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


def test_a_two_stage_run_end_to_end(make_config: MakeConfig, tickets: list[Ticket]) -> None:
    config = make_config()
    classifier, generator = train_classifier(config), train_generator(config)
    for folder in (classifier, generator):
        verify(folder)
        assert not folder.with_name(folder.name + ".partial").exists()
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        assert {"eval_loss", "eval_train_loss", "eval_ratio"} <= set(record["best"])
        assert record["loss_ratio"] == pytest.approx(record["best"]["eval_loss"] / record["best"]["eval_train_loss"])
        history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        losses = [row["eval_loss"] for row in history if "eval_loss" in row]
        assert record["best"]["eval_loss"] == min(losses)
    best = json.loads((classifier / "run.json").read_text(encoding="utf-8"))["best"]
    for column in ("type", "queue", "priority"):
        for name in ("accuracy", "macro_f1", "confusion", "calibration_error"):
            assert f"eval_{column}_{name}" in best
    assert 0 <= best["eval_priority_recall_low"] <= 1
    assert "rouge_l" in json.loads((generator / "run.json").read_text(encoding="utf-8"))["generated"]

    system = load_two_stage(config.folder)
    answers = system.answer(tickets[:5])
    for answer in answers:
        assert set(answer.prediction.labels) == {"type", "queue", "priority"}
        assert all(sum(p.values()) == pytest.approx(1) for p in answer.prediction.probabilities.values())
        assert answer.reply is not None
    reordered = system.answer(list(reversed(tickets[:5])), labels_only=True)
    assert [a.prediction.labels for a in reversed(reordered)] == [a.prediction.labels for a in answers]
    one = [system.answer([ticket], labels_only=True)[0].prediction for ticket in tickets[:5]]
    for alone, answer in zip(one, answers, strict=True):
        for column, confidence in alone.confidence.items():
            assert confidence == pytest.approx(answer.prediction.confidence[column], abs=1e-5)
    assert all(answer.reply is None for answer in load_two_stage(classifier).answer(tickets[:2]))
    with pytest.raises(InputError, match="no classifier"):
        load_two_stage(generator)


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_inference_sees_the_states_that_training_saw(make_config: MakeConfig, compute: str) -> None:
    """The classifier is trained without, and run with, a vocabulary head: labels and logits must be the same.

    Under bf16 compute too: calibration is fitted on what engines compute, not on what training did.
    """
    config = make_config(base__precision="fp32", base__compute=compute)
    folder = train_classifier(config)
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    system = load_two_stage(config.folder)
    assert any(tensor.abs().max() > 1e-4 for name, tensor in weights(folder).items() if "lora_B" in name)
    validation = [
        Ticket(**{**json.loads(line), "tags": ()})
        for line in (Path(config.data.path) / "validation.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    answers = system.answer(validation, labels_only=True)
    for column, classes in system.classifier.space.columns.items():
        found = np.zeros((len(classes), len(classes)), dtype=int)
        for answer, ticket in zip(answers, validation, strict=True):
            found[classes.index(ticket.labels[column]), classes.index(answer.prediction.labels[column])] += 1
        assert found.tolist() == record["calibrated"][column]["confusion"]
        likelihood = [
            a.prediction.probabilities[column][t.labels[column]] for a, t in zip(answers, validation, strict=True)
        ]
        assert -np.log(likelihood).mean() == pytest.approx(record["calibrated"][column]["cross_entropy"], abs=1e-5)


@pytest.mark.parametrize("signal_at", [3, 14])  # in the first epoch, and in the second
@pytest.mark.parametrize("train", [train_classifier, train_generator])
def test_an_interrupted_run_ends_with_the_same_weights(
    make_config: MakeConfig, train: Any, signal_at: int, tmp_path: Path
) -> None:
    long = {f"{stage}__training__max_steps": 18 for stage in ("classifier", "generator")}
    whole = train(make_config(output=tmp_path / "whole", **long))
    config = make_config(output=tmp_path / "parts", **long)
    with pytest.raises(WorkError, match="interrupted at step"), _signal_after(signal_at):
        train(config)
    assert not (config.folder / whole.name).exists()
    parts = train(config)
    assert equal(weights(whole), weights(parts))
    assert _metrics(parts) == _metrics(whole)


def test_a_run_that_failed_after_its_last_step_trains_no_further(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = weights(train_classifier(make_config(output=tmp_path / "other")))
    monkeypatch.setattr("classifier.train.save_adapter", _fail)
    with pytest.raises(RuntimeError, match="after training"):
        train_classifier(make_config())
    monkeypatch.undo()
    monkeypatch.setattr("transformers.Trainer.train", _fail)
    assert equal(weights(train_classifier(make_config())), expected)


def _metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("cut", ["in the middle", "after the last step"])
def test_a_run_that_was_moved_ends_with_its_best_weights(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cut: str
) -> None:
    # every evaluation is worse than the one before, so the best weights come from an earlier checkpoint
    falling = count(0, -1)
    monkeypatch.setattr("backbone.training.trainer.score", lambda *_: float(next(falling)))
    steps = {"evaluations_per_epoch": 5, "max_steps": 8, "patience": 50}
    often = {f"classifier__training__{key}": value for key, value in steps.items()}
    whole = train_classifier(make_config(output=tmp_path / "whole", **often))
    scores = [record[SELECTED] for record in _metrics(whole) if SELECTED in record]
    assert scores == [0, -1, -2, -3]
    config = make_config(output=tmp_path / "here", **often)
    if cut == "in the middle":
        with pytest.raises(WorkError, match="interrupted at step"), _signal_after(6):
            train_classifier(config)
    else:
        with monkeypatch.context() as failing, pytest.raises(RuntimeError, match="after training"):
            failing.setattr("classifier.train.save_adapter", _fail)
            train_classifier(config)
    shutil.copytree(config.folder, tmp_path / "there")  # not renamed: this process holds the lock of the old place
    shutil.rmtree(config.folder)
    moved = train_classifier(config.model_copy(update={"output": str(tmp_path / "there")}))
    assert equal(weights(moved), weights(whole))


def test_a_generator_is_not_continued_with_another_classifier(make_config: MakeConfig) -> None:
    config = make_config()
    with pytest.raises(WorkError, match="interrupted at step"), _signal_after(2):
        train_generator(config)
    train_classifier(config)
    with pytest.raises(InputError, match="an unfinished run with other confusions"):
        train_generator(config)


def test_the_plan_of_an_unfinished_run_is_never_done_without(
    make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WorkError), _signal_after(2):
        train_classifier(make_config())
    partial = make_config().folder / "classifier.partial"
    plan, checkpoint = partial / "plan.json", next((partial / "checkpoints").iterdir())
    faster = make_config(classifier__training__learning_rate=0.5)
    for damage in (Path.unlink, lambda path: path.write_text('{"config')):
        damage(plan)
        with pytest.raises(InputError, match=r"unfinished run with other classifier\.training\.learning_rate"):
            train_classifier(faster)
        plan.touch()
    (checkpoint / "plan.json").unlink()
    with pytest.raises(InputError, match=r"no readable plan\.json.*--restart"):
        train_classifier(faster)
    train_classifier(faster, restart=True)
    train_classifier(faster)
    assert "is a finished run; it stays until this one is done" in capsys.readouterr().err


def _fail(*args: Any, **kwargs: Any) -> Any:
    raise RuntimeError("after training")


def test_patience_is_counted_in_the_history() -> None:
    def history(*losses: float) -> list[dict[str, Any]]:
        return [{SELECTED: -loss} for loss in losses] + [{"loss": 1.0}]

    assert evaluations_since_best(history(3.0, 2.0, 2.5, 2.5)) == 2
    assert evaluations_since_best(history(3.0, 2.0)) == 0
    assert evaluations_since_best(history(float("nan"), float("nan"))) == 2


def test_every_epoch_has_its_own_batches(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[int] = []
    plan = TokenBudgetSampler.__iter__

    def recorded(sampler: TokenBudgetSampler) -> Any:
        epochs.append(sampler._epoch)
        return plan(sampler)

    monkeypatch.setattr(TokenBudgetSampler, "__iter__", recorded)
    train_classifier(make_config(classifier__training__max_steps=-1, classifier__training__epochs=3))
    assert epochs == [0, 1, 2]


def test_a_diverged_run_is_not_published(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config(classifier__training__max_steps=2)
    finished = train_classifier(config)
    before = weights(finished)
    wild = make_config(classifier__training__max_steps=2, classifier__training__learning_rate=1.0)
    monkeypatch.setattr(ClassifierLoss, "forward", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    with pytest.raises(WorkError, match="loss is not a number at step"):
        train_classifier(wild)
    assert equal(weights(finished), before)


def test_a_run_refused_by_its_first_checks_may_be_corrected(make_config: MakeConfig) -> None:
    with pytest.raises(InputError, match="'colour'"):
        train_classifier(make_config(classifier__columns="[colour]"))
    train_classifier(make_config(classifier__training__max_steps=1))


class _signal_after:
    """Sends SIGINT to this process after so many optimiser steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self._step = torch.optim.AdamW.step

    def __enter__(self) -> None:
        def step(optimizer: Any, *args: Any, **kwargs: Any) -> Any:
            result = self._step(optimizer, *args, **kwargs)
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGINT)
            return result

        torch.optim.AdamW.step = step  # type: ignore[method-assign]

    def __exit__(self, *exception: object) -> None:
        torch.optim.AdamW.step = self._step  # type: ignore[method-assign]


@pytest.mark.parametrize("restart", [False, True])
def test_an_unfinished_folder_of_others_is_left_alone(make_config: MakeConfig, restart: bool) -> None:
    config = make_config()
    partial = config.folder / "classifier.partial"
    partial.mkdir(parents=True)
    (partial / "thesis.txt").write_text("mine")
    for refuse in (
        lambda: open_partial(config.folder / "classifier", {}, restart),
        lambda: check_replaceable(config.folder / "classifier"),
    ):
        with pytest.raises(InputError, match=r"classifier.partial: holds 'thesis.txt' and no plan.json"):
            refuse()
    assert (partial / "thesis.txt").read_text() == "mine"
    (partial / "thesis.txt").rename(partial / "plan.json.part")  # what a kill at the first write leaves
    assert open_partial(config.folder / "classifier", {}, restart) == partial
    release(config.folder / "classifier")


def test_an_unfinished_run_with_other_settings_is_refused(make_config: MakeConfig) -> None:
    with pytest.raises(WorkError), _signal_after(2):
        train_classifier(make_config())
    changed = make_config(lora__rank=2)
    with pytest.raises(InputError, match=r"lora\.rank"):
        train_classifier(changed)
    with pytest.raises(InputError, match="unfinished"):
        open_model(changed.folder)
    train_classifier(changed, restart=True)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 2457216 vs 2457108"),  # torch, really
    ],
    ids=["os", "torch"],
)
def test_a_full_disk_loses_nothing(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    config = make_config()
    finished = train_classifier(config)
    before = weights(finished)
    save, calls = torch.save, 0

    def full(*args: Any, **kwargs: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise error
        save(*args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(WorkError, match="disk is full"):
        train_classifier(config)
    verify(finished)
    assert equal(weights(finished), before)
    monkeypatch.undo()
    assert equal(weights(train_classifier(config)), before)


def test_same_seed_same_weights_and_another_seed_others(make_config: MakeConfig, tmp_path: Path) -> None:
    first = weights(train_classifier(make_config(output=tmp_path / "a")))
    again = weights(train_classifier(make_config(output=tmp_path / "b")))
    other = weights(train_classifier(make_config(output=tmp_path / "c", seed=7)))
    assert equal(first, again)
    assert not equal(first, other)


def test_init_from_starts_from_an_adapter(make_config: MakeConfig, tmp_path: Path) -> None:
    first = train_classifier(make_config(output=tmp_path / "first"))
    rates = {f"classifier__training__{name}learning_rate": 1e-12 for name in ("", "head_")}
    second = train_classifier(make_config(output=tmp_path / "second", **rates), init_from=first)
    for name, tensor in weights(first).items():
        assert torch.allclose(tensor, weights(second)[name], atol=1e-6), name
    with pytest.raises(InputError, match=r"rank is 4.*lora\.rank=4"):
        train_classifier(make_config(output=tmp_path / "third", lora__rank=8), init_from=first)
    with pytest.raises(InputError, match="not a classifier run"):
        train_classifier(make_config(output=tmp_path / "fourth"), init_from=tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"classifier__sampling": "priority", "classifier__class_weights": "none"},
        {"classifier__class_weights": "effective", "classifier__label_smoothing": 0.1},
        {"classifier__class_weights": "{priority: {low: 2.0}}", "classifier__adjustment": "macro_f1"},
        {"classifier__columns": "[priority]", "classifier__max_tags": 0},
    ],
)
def test_every_lever_trains(make_config: MakeConfig, options: dict[str, Any]) -> None:
    config = make_config(classifier__training__max_steps=2, **options)
    train_classifier(config)
    assert load_two_stage(config.folder, labels_only=True).classifier.space.columns


def test_training_lowers_the_loss(make_config: MakeConfig) -> None:
    config = make_config(
        classifier__training__max_steps=-1,
        classifier__training__epochs=6,
        classifier__training__learning_rate=5e-3,
        classifier__class_weights="none",
    )
    folder = train_classifier(config)
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [row["eval_train_loss"] for row in history if "eval_train_loss" in row]
    assert min(losses) < losses[0] * 0.9


def test_a_damaged_or_foreign_model_is_refused_by_name(
    make_config: MakeConfig, tmp_path: Path, tiny_base: Path
) -> None:
    config = make_config(classifier__training__max_steps=1)
    folder = train_classifier(config)
    heads = folder / "heads.safetensors"
    content = heads.read_bytes()
    heads.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"heads\.safetensors: damaged"):
        load_two_stage(config.folder)
    heads.unlink()
    with pytest.raises(InputError, match=r"heads\.safetensors: missing"):
        load_two_stage(config.folder)
    heads.write_bytes(content)
    load_two_stage(config.folder)
    for path, word in ((tmp_path / "nothing", "no such folder"), (tmp_path, "not a model"), (tiny_base, "not a model")):
        with pytest.raises(InputError, match=word):
            open_model(path)


def test_a_run_of_another_base_is_refused(make_config: MakeConfig, tmp_path: Path, tiny_base: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for path in tiny_base.iterdir():
        (base / path.name).write_bytes(path.read_bytes())
    config = make_config(base__path=base, classifier__training__max_steps=1)
    train_classifier(config)
    content = (base / "model.safetensors").read_bytes()
    (base / "model.safetensors").write_bytes(content[:-8] + bytes(8))
    with pytest.raises(InputError, match="trained on another base"):
        load_two_stage(config.folder)
    (base / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"model\.safetensors: missing or damaged"):
        load_two_stage(config.folder)
    (base / "model.safetensors").write_bytes(content)
    (base / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        load_two_stage(config.folder)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    with pytest.raises(InputError, match="'gpt2'; expected one of Qwen2"):
        find_base(str(tmp_path))
    with pytest.raises(InputError, match="targets"):
        load_config(None, ["lora.targets=[q_prj]"])
    with pytest.raises(InputError, match="neither a folder nor to be had from the hub"):
        find_base("nobody/nothing")
    with pytest.raises(InputError, match="no such folder"):
        find_base("/nowhere/at/all")


def test_publish_replaces_a_folder_whole(tmp_path: Path) -> None:
    for text in ("one", "two"):
        partial = tmp_path / "run.partial"
        partial.mkdir()
        (partial / "file").write_text(text, encoding="utf-8")
        (partial / "plan.json.part").write_text("cut off", encoding="utf-8")
        publish(partial, tmp_path / "run")
    assert (tmp_path / "run" / "file").read_text(encoding="utf-8") == "two"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["file", "manifest.json"]


def test_the_fingerprint_sees_weights_and_tokenizer(tiny_base: Path, tmp_path: Path) -> None:
    first = identify(tiny_base, "x")
    for path in tiny_base.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert identify(tmp_path, "x") == first
    (tmp_path / "tokenizer.json").write_bytes((tmp_path / "tokenizer.json").read_bytes() + b" ")
    assert identify(tmp_path, "x") != first
