"""What a training run keeps, chooses and decides by itself."""

import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from backbone.batches import collate
from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.training import trainer
from backbone.training.balance import effective_examples
from backbone.training.callbacks import _wrapped
from backbone.training.cost import Shape, memory, operations, packs, recomputes
from backbone.training.job import TrainingJob
from backbone.training.selection import score
from backbone.training.stage import open_stage
from backbone.training.token_cache import TokenCache
from classifier.encoded import encode_tickets
from classifier.loss import ClassifierLoss
from classifier.train import build_model, train_classifier
from generator.single_prompt.train import train_baseline
from generator.train import train_generator
from pipeline.check import check
from tests.conftest import MakeConfig
from tickets.errors import InputError, WorkError
from tickets.labels import LabelSpace
from tickets.schema import Ticket

pytestmark = pytest.mark.slow

QWEN2_7B = {
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}
LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GIB = 1024**3


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("metric", ["loss", "macro_f1", "priority_recall_low", "queue_accuracy"])
def test_the_best_weights_are_chosen_by_the_metric_asked_for(make_config: MakeConfig, metric: str) -> None:
    run = train_classifier(
        make_config(
            classifier__training__select_by=metric,
            classifier__training__learning_rate=0.01,
            classifier__training__max_steps=12,
        )
    )
    evaluations = [record for record in history(run) if "eval_loss" in record]
    best = json.loads((run / "run.json").read_text(encoding="utf-8"))["best"]
    values = [record[f"eval_{metric}"] for record in evaluations]
    assert best[f"eval_{metric}"] == (min(values) if metric == "loss" else max(values))
    assert len(set(values)) > 1  # otherwise this shows nothing


def test_of_equal_metrics_the_lower_loss_is_better() -> None:
    def found(recall: float, loss: float) -> float:
        return score({"loss": loss, "priority_recall_low": recall}, "priority_recall_low")

    assert found(0.0, 3.0) < found(0.0, 2.0) < found(1e-5, 9.0)
    assert math.isnan(found(0.5, math.inf))


def test_an_unknown_metric_is_refused_before_training(make_config: MakeConfig) -> None:
    with pytest.raises(InputError, match=r"select_by: found 'macrof1', expected one of loss, macro_f1, type_accuracy"):
        train_classifier(make_config(classifier__training__select_by="macrof1"))
    with pytest.raises(InputError, match=r"^generator\.training\.select_by: .*expected one of loss; correct it"):
        train_generator(make_config(generator__training__select_by="macro_f1"))


@pytest.mark.parametrize("which", [0, 2, -1])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_evaluation_that_is_cut_off_is_made_up_for(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int, number: int
) -> None:
    every = {"classifier__training__evaluations_per_epoch": 5, "classifier__training__max_steps": 8}
    whole = train_classifier(make_config(output=tmp_path / "whole", **every))
    count = sum("eval_loss" in record for record in history(whole))
    evaluate, seen = trainer.StageTrainer.evaluate, []

    def cut(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(1)
        if len(seen) == range(1, count + 1)[which]:
            inner = self._job.evaluate
            job = {**vars(self._job), "evaluate": lambda: (os.kill(os.getpid(), number), inner())[1]}
            self._job = TrainingJob(**job)
        return evaluate(self, *args, **kwargs)

    monkeypatch.setattr(trainer.StageTrainer, "evaluate", cut)
    config = make_config(output=tmp_path / "cut", **every)
    with pytest.raises(WorkError, match="interrupted at step"):
        train_classifier(config)
    monkeypatch.undo()
    resumed = train_classifier(config)
    evaluations = [
        [{k: v for k, v in record.items() if k != "epoch"} for record in history(run) if "eval_loss" in record]
        for run in (whole, resumed)
    ]
    assert evaluations[0] == evaluations[1]
    first, second = weights(whole), weights(resumed)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_two_signals_end_a_step_that_never_returns() -> None:
    # the product of a thousand million hashes stands for a backward pass: no handler of Python's runs meanwhile
    script = """
import hashlib, os, signal, threading, time
from backbone.training.interrupt import Interrupt

def signals():
    for _ in range(2):
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

with Interrupt():
    threading.Thread(target=signals).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert run.returncode == 130
    assert run.stderr.splitlines()[-2:] == ["saving after this step; once more to stop at once", "error: interrupted"]


def test_the_line_of_an_evaluation_breaks_between_figures() -> None:
    parts = ["step 6/19", "epoch 0.3", *(f"figure_{i} 0.123" for i in range(8))]
    lines = _wrapped(parts, 40).splitlines()
    assert max(map(len, lines)) <= 40
    assert [part for line in lines for part in line.strip().split("  ")] == parts
    assert _wrapped(parts, None) == "  ".join(parts)


def test_metrics_are_written_while_it_trains(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make_config()

    def fail(*_: object) -> None:
        raise WorkError("after training")

    monkeypatch.setattr("classifier.train.save_adapter", fail)
    with pytest.raises(WorkError, match="after training"):
        train_classifier(config)
    records = history(config.folder / "classifier.partial")
    assert [record["step"] for record in records if "eval_loss" in record][-1] == 6


def test_the_padding_of_batches_is_logged(make_config: MakeConfig) -> None:
    found = {}
    for packing in (False, True):
        run = train_classifier(
            make_config(
                output=f"{make_config().folder}-{packing}",
                classifier__training__packing=packing,
                classifier__training__max_steps=12,
            )
        )
        found[packing] = [record["padding"] for record in history(run) if "loss" in record]
    assert found[False] and all(0 < share < 0.3 for share in found[False])
    assert set(found[True]) == {0.0}


@pytest.mark.parametrize("train", [train_classifier, train_generator, train_baseline])
def test_packing_trains_to_the_same_losses(make_config: MakeConfig, tmp_path: Path, train: Any) -> None:
    settings: dict[str, object] = {"lora__dropout": 0.0}
    losses = []
    for packing in (False, True):
        packed = {f"{stage}__training__packing": packing for stage in ("classifier", "generator", "baseline")}
        run = train(make_config(output=tmp_path / str(packing), **settings, **packed))
        losses.append([record["eval_loss"] for record in history(run) if "eval_loss" in record])
        assert json.loads((run / "run.json").read_text(encoding="utf-8"))["packed"] is packing
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_tensorboard_events_when_asked(make_config: MakeConfig) -> None:
    run = train_classifier(make_config(tensorboard=True))
    events = list((run / "tensorboard").glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"eval/loss" in events[0].read_bytes()


def test_tensorboard_without_its_package_is_one_line(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match=r"pip install 'ticket-duet\[tensorboard\]'"):
        train_classifier(make_config(tensorboard=True))


def test_effective_examples_by_weights_and_by_sampling(tickets: list[Ticket]) -> None:
    space = LabelSpace.learn(tickets, ("priority",))
    plain, weighted, sampled = (
        effective_examples(tickets, space, load_config(None, [f"classifier.{key}"]).classifier)["priority"]
        for key in ("class_weights=none", "class_weights=balanced", "sampling=priority")
    )
    counts = {label: sum(t.labels["priority"] == label for t in tickets) for label in space.columns["priority"]}
    assert {label: found["effective"] for label, found in plain.items()} == pytest.approx(counts)
    third = len(tickets) / len(counts)
    for label, found in weighted.items():
        assert (found["tickets"], found["drawn"]) == pytest.approx((counts[label], counts[label]))
        assert found["effective"] == pytest.approx(third)
    for found in sampled.values():
        assert (found["drawn"], found["effective"]) == pytest.approx((third, found["weight"] * third))


def config_7b(*overrides: str) -> RunConfig:
    settings = ["base.precision=bf16", "base.compute=bf16", "lora.rank=64", "lora.dropout=0.05"]
    settings += [f"{stage}.training.batch_tokens=8192" for stage in ("classifier", "generator", "baseline")]
    return load_config(None, [*settings, *overrides])


def test_activations_are_recomputed_when_memory_asks_for_it() -> None:
    shape, config = Shape.of(QWEN2_7B, LAYERS), config_7b()
    assert shape.linear + shape.embedding == pytest.approx(7.615e9, rel=0.001)  # biases and norms are not counted
    assert not recomputes(config, "generator", shape, available=139 * GIB)
    assert recomputes(config, "generator", shape, available=79 * GIB)
    assert not recomputes(config_7b("base.gradient_checkpointing=false"), "generator", shape, available=1 * GIB)
    assert recomputes(config_7b("base.gradient_checkpointing=true"), "generator", shape, available=999 * GIB)
    nf4 = config_7b("base.precision=nf4", "generator.training.batch_tokens=2048")
    assert memory(nf4, "generator", shape, recompute=True).total < 14 * GIB


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_activations_are_estimated_as_they_are(
    make_config: MakeConfig, dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything autograd keeps for the backward pass of a packed batch, but for parameters, counted once.

    With the norms that a GPU runs, where memory is scarce: those of the CPU keep less.
    """
    monkeypatch.setattr("backbone.layers.norms.FrozenRMSNorm", Qwen2RMSNorm)
    config = make_config(
        base__path="mini", base__precision="bf16", base__compute="bf16", lora__rank=32, lora__dropout=dropout
    )
    stage = open_stage("classifier", config)
    space = LabelSpace.learn(stage.train, config.classifier.columns, 10)
    samples = encode_tickets(stage, stage.train[:16], space)
    model = build_model(stage, space).train()
    batch = collate(samples.prompts, stage.encoder.pad_id, packed=True)
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}  # holding them keeps their addresses their own

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16):
        model(**batch, targets=torch.from_numpy(samples.targets), tag_targets=torch.from_numpy(samples.tags))
    sizes = {place: tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in parameters}
    measured = sum(sizes.values()) / batch["input_ids"].numel()
    shape = Shape.load(stage.base_folder, config)
    estimated = memory(config, "classifier", shape, recompute=False).activations / stage.settings.batch_tokens
    assert 0.85 < measured / estimated < 1.05


def test_batches_are_packed_on_cuda_in_bf16() -> None:
    assert packs(config_7b(), "classifier", on_cuda=True)
    assert not packs(config_7b(), "classifier", on_cuda=False)
    assert not packs(config_7b("base.compute=fp32"), "classifier", on_cuda=True)
    assert packs(config_7b("classifier.training.packing=true"), "classifier", on_cuda=False)


def test_operations_are_four_per_frozen_parameter() -> None:
    shape, config = Shape.of(QWEN2_7B, LAYERS), config_7b()
    plain = operations(config, "classifier", shape, 1.0, 1.0, recompute=False)
    assert plain == pytest.approx(4 * shape.linear, rel=0.05)  # and six per adapter parameter
    assert operations(config, "generator", shape, 1.0, 1.0, False) - plain == 4 * 152064 * 3584
    assert operations(config, "classifier", shape, 1.0, 1.0, recompute=True) / plain == pytest.approx(1.5, rel=0.02)
    unread = plain - operations(config, "classifier", shape, 1.0, 0.0, recompute=False)
    assert unread == 4 * 3 * 3584 * 18944  # the last layer's feed-forward part


def test_check_says_what_will_be_active_and_how_long_it_takes(make_config: MakeConfig) -> None:
    text = check(make_config(classifier__class_weights="balanced", base__gradient_checkpointing=True))
    assert "padded batches bucketed by length, activations recomputed" in text
    assert "vocabulary head at reply tokens alone" in text
    assert "time     estimated for an epoch" in text
    assert "N>M: N tickets count as M in an epoch" in text


def test_tickets_are_encoded_once(make_config: MakeConfig, small_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(small_data, data, ignore=shutil.ignore_patterns(".tokens"))
    config = make_config(data__path=data)
    trains = (train_classifier, train_generator, train_baseline)
    first = [weights(train(config)) for train in trains]
    files = sorted((data / ".tokens").glob("*.json"))
    assert len(files) == 6  # training and validation tickets of three stages
    times = [file.stat().st_mtime_ns for file in files]
    again = [weights(train(config)) for train in trains]
    assert [file.stat().st_mtime_ns for file in files] == times
    for a, b in zip(first, again, strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_token_cache_notices_damage_and_other_texts(tmp_path: Path) -> None:
    cache, made = TokenCache(tmp_path), []

    def rows(text: str) -> list[list[int]]:
        return cache.rows([text], lambda: made.append(text) or [[len(text)], [1, 2]])  # type: ignore[func-returns-value]

    assert rows("a") == rows("a") == [[1], [1, 2]]
    assert rows("bb") == [[2], [1, 2]]
    assert made == ["a", "bb"]
    for file in (tmp_path / ".tokens").iterdir():
        file.write_bytes(file.read_bytes().replace(b"[1, 2]", b"[1, 3]"))
    assert rows("a") == [[1], [1, 2]]
    assert made == ["a", "bb", "a"]
    for i in range(30):
        rows("c" * i)
    assert len(list((tmp_path / ".tokens").iterdir())) == 16


def test_a_token_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / ".tokens").write_text("in the way", encoding="utf-8")
    assert TokenCache(tmp_path).rows(["a"], lambda: [[1]]) == [[1]]
    assert TokenCache(None).rows(["a"], lambda: [[1]]) == [[1]]


def test_data_workers_change_nothing_and_outlive_signals(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train_classifier(make_config(output=tmp_path / "plain"))
    monkeypatch.setattr(trainer, "_CPU_WORKERS", 2)
    step, workers = trainer.StageTrainer.training_step, set()

    def signalled(self: Any, *args: Any, **kwargs: Any) -> Any:
        for child in multiprocessing.active_children():
            workers.add(child.pid)
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(child.pid or 0, number)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(trainer.StageTrainer, "training_step", signalled)
    run = train_classifier(make_config(output=tmp_path / "workers"))
    assert len(workers) >= 2
    first, second = weights(plain), weights(run)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_nf4_with_fp32_compute_trains_and_writes(make_config: MakeConfig) -> None:
    """What a GPU without bf16 is told to use."""
    config = make_config(base__precision="nf4", base__compute="fp32", generator__training__max_steps=1)
    assert (train_generator(config) / "samples.jsonl").is_file()


def test_a_diverged_run_says_so_again(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    wild = make_config(classifier__training__max_steps=2, classifier__training__learning_rate=1.0)
    monkeypatch.setattr(ClassifierLoss, "forward", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    for _ in range(2):
        with pytest.raises(WorkError, match="loss is not a number at step"):
            train_classifier(wild)


def test_a_run_whose_last_evaluation_was_cut_off_has_its_closing_record(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(classifier__training__evaluations_per_epoch=1, classifier__training__max_steps=3)
    evaluate = trainer.StageTrainer.evaluate

    def cut(self: Any, *args: Any, **kwargs: Any) -> Any:
        inner = self._job.evaluate
        if self.state.global_step == 3:
            replaced = {"evaluate": lambda: (os.kill(os.getpid(), signal.SIGTERM), inner())[1]}
            self._job = TrainingJob(**{**vars(self._job), **replaced})
        return evaluate(self, *args, **kwargs)

    monkeypatch.setattr(trainer.StageTrainer, "evaluate", cut)
    with pytest.raises(WorkError, match="interrupted at step 3 of 3"):
        train_classifier(config)
    monkeypatch.undo()
    assert history(train_classifier(config))[-1]["total_flos"] > 0
