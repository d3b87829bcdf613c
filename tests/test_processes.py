"""Two processes over gloo train as one does; only the first writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from backbone.config import RunConfig
from backbone.runs.folder import verify
from backbone.training import processes
from classifier.train import train_classifier
from tests.conftest import MakeConfig, as_overrides
from tickets.errors import InputError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


def torchrun(count: int) -> list[str]:
    return [
        *(sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}"),
        *("--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0"),
    ]


def run(
    stage: str, config: RunConfig, count: int, *, parts: int = 0, stop: int = 0
) -> subprocess.CompletedProcess[str]:
    """Train in `count` processes; the folder of the run is the configuration's."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "DUET_TEST_PARTS": str(parts),
        "DUET_TEST_STOP": str(stop),
    }
    launcher = torchrun(count) if count > 1 else [sys.executable]
    command = [*launcher, str(ROOT / "tests" / "ddp_run.py"), stage, *as_overrides(config)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280)


def history(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("stage", ["classifier", "generator"])
def test_two_processes_train_as_one_does(make_config: MakeConfig, tmp_path: Path, stage: str) -> None:
    # no dropout: two processes draw other masks than one; every step is logged through the evaluations
    settings = {"lora__dropout": 0.0, f"{stage}__training__max_steps": 12, f"{stage}__training__learning_rate": 0.005}
    settings[f"{stage}__training__evaluations_per_epoch"] = 50
    if stage == "generator":  # whose loss is a mean over the tokens of a step, however many batches that has
        settings["generator__training__accumulation"] = 2
    one = make_config(output=tmp_path / "one", **settings)
    two = make_config(output=tmp_path / "two", **settings)
    for config, count, parts in ((one, 1, 2), (two, 2, 0)):
        done = run(stage, config, count, parts=parts)
        assert done.returncode == 0, done.stderr[-3000:]
    verify(two.folder / stage)
    alone, together = (history(config.folder / stage) for config in (one, two))
    losses = [[record["eval_loss"] for record in records if "eval_loss" in record] for records in (alone, together)]
    assert len(losses[0]) == len(losses[1]) == 12
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[0][0] - losses[0][-1] > 0.01  # something was learnt
    trained = [[record["loss"] for record in records if "loss" in record] for records in (alone, together)]
    assert trained[0] == pytest.approx(trained[1], abs=1e-4)
    tokens = [json.loads(Path(f"{two.folder}.tokens.{rank}").read_text(encoding="utf-8")) for rank in (0, 1)]
    assert all(max(pair) <= 1.05 * min(pair) for pair in zip(*tokens, strict=True))
    run_record = json.loads((two.folder / stage / "run.json").read_text(encoding="utf-8"))
    assert run_record["validation_tickets"] == 24  # and metrics over them, each counted once
    if stage == "classifier":
        confusion = run_record["best"]["eval_priority_confusion"]
        assert sum(map(sum, confusion)) == 24


def test_two_processes_go_on_where_they_were_killed(make_config: MakeConfig, tmp_path: Path) -> None:
    whole = make_config(output=tmp_path / "whole", classifier__training__evaluations_per_epoch=5)
    cut = make_config(output=tmp_path / "cut", classifier__training__evaluations_per_epoch=5)
    assert run("classifier", whole, 2).returncode == 0
    killed = run("classifier", cut, 2, stop=4)
    assert killed.returncode != 0
    assert not (cut.folder / "classifier").exists()
    with pytest.raises(InputError, match="unfinished run with other processes"):
        train_classifier(cut)  # alone, with other batches: not the run that was begun
    resumed = run("classifier", cut, 2)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert resumed.stderr.count("resuming from") == 2  # ddp_run silences nobody
    first, second = (weights(config.folder / "classifier") for config in (whole, cut))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_first_process_alone_speaks_and_one_tells_what_is_wrong(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(output=tmp_path / "run")
    overrides = [argument for override in as_overrides(config) for argument in ("--set", override)]
    launcher = [*torchrun(2), str(ROOT / "cli.py"), "train-cls"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, *overrides], capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == str(config.folder / "classifier")
    wrong = [*overrides, "--set", "base.path=./nowhere"]
    failed = subprocess.run([*launcher, *wrong], capture_output=True, text=True, env=environment, timeout=280)
    assert failed.returncode != 0
    assert failed.stderr.count("error: base './nowhere'") == 1


def test_a_single_process_shares_with_nobody() -> None:
    assert processes.world_size() == 1
    assert processes.is_first()
    assert processes.local_items([1, 2, 3]) == [1, 2, 3]
    assert processes.gather_dicts({1: "a"}) == {1: "a"}
    assert processes.any_process(True) and not processes.any_process(False)
    assert processes.broadcast_from_first(lambda: 7) == 7


def test_shares_are_as_long_as_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    found = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        found.append(processes.local_items(list(range(7))))
    assert {len(part) for part in found} == {3}
    assert {item for part in found for item in part} == set(range(7))
