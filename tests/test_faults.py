"""Whatever kills a training, it goes on from where it was and ends with the same weights; damage is always noticed.

The long version is `make test-faults`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from backbone.config import RunConfig
from backbone.runs.folder import verify
from backbone.training.checkpoints import checkpoints, find_damage, newest_intact
from classifier.train import train_classifier
from tests.conftest import as_overrides
from tickets.errors import InputError, WorkError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
LONG = bool(os.environ.get("DUET_FAULTS"))
MakeConfig = Callable[..., RunConfig]


def harness(mode: str, count: int, stage: str, config: RunConfig) -> dict[str, float]:
    command = [sys.executable, str(ROOT / "tests" / "fault_harness.py"), mode, str(count), stage]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [*command, *as_overrides(config)], capture_output=True, text=True, env=environment, timeout=880
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "not one line" not in run.stderr, run.stderr[-3000:]
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def same_weights(config: RunConfig, stage: str) -> bool:
    whole = config.folder.with_name(f"{config.folder.name}.whole")
    verify(config.folder / stage)
    names = ["adapter/adapter_model.safetensors", *(["heads.safetensors"] if stage == "classifier" else [])]
    states = [[load_file(folder / stage / name) for name in names] for folder in (config.folder, whole)]
    return all(torch.equal(a[key], b[key]) for a, b in zip(*states, strict=True) for key in a | b)


@pytest.fixture
def config(make_config: MakeConfig) -> RunConfig:
    """Six checkpoints in twelve steps."""
    steps = {f"{stage}__training__max_steps": 12 for stage in ("classifier", "generator", "baseline")}
    every = {f"{stage}__training__evaluations_per_epoch": 5 for stage in ("classifier", "generator", "baseline")}
    return make_config(**steps, **every)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", ["classifier", "generator", "baseline"] if LONG else ["classifier"])
def test_kills_at_random_moments(config: RunConfig, stage: str) -> None:
    found = harness("kill", 20 if LONG else 4, stage, config)
    assert found["cut"] == (20 if LONG else 4)
    assert same_weights(config, stage)


@pytest.mark.skipif(not LONG, reason="make test-faults")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", ["killwrite", "full"])
@pytest.mark.parametrize("stage", ["classifier", "export"])
def test_a_cut_at_every_file_operation(make_config: MakeConfig, stage: str, mode: str) -> None:
    config = make_config(classifier__training__max_steps=6, classifier__training__evaluations_per_epoch=5)
    if stage == "export":
        pytest.importorskip("llama_cpp")
        trained = config.model_copy(update={"output": str(config.folder.with_name("trained"))})
        train_classifier(trained)
    found = harness(mode, 1, stage, config)
    assert found["cut"] >= 15


def _cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {"deleted": Path.unlink, "truncated": _cut_off, "flipped": _flip}
FILES = [
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "adapter_model.safetensors",
    "manifest.json",
    "training_args.bin",
    "adapter_config.json",
    "plan.json",
    "clock.json",
]


def _unfinished(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that trained to its end and failed right after."""

    def fail(*_: object) -> None:
        raise WorkError("after training")

    monkeypatch.setattr("classifier.train.save_adapter", fail)
    with pytest.raises(WorkError, match="after training"):
        train_classifier(config)
    monkeypatch.undo()


def test_every_damage_is_noticed_and_gone_around(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = config.model_copy(update={"output": f"{config.folder}.whole"})
    train_classifier(whole)
    _unfinished(config, monkeypatch)
    kept = config.folder.with_name("kept")
    partial = config.folder / "classifier.partial"
    shutil.copytree(partial, kept)
    newest = checkpoints(partial / "checkpoints")[0].name
    cases = [(name, damage) for name in FILES for damage in DAMAGES]
    for name, damage in cases:
        shutil.rmtree(partial)
        shutil.copytree(kept, partial)
        DAMAGES[damage](partial / "checkpoints" / newest / name)
        assert find_damage(partial / "checkpoints" / newest) is not None, (name, damage)
        capsys.readouterr()
        if LONG or (name, damage) in cases[::7]:
            train_classifier(config)
            assert f"{newest}: " in capsys.readouterr().err
            assert same_weights(config, "classifier"), (name, damage)
            shutil.rmtree(config.folder / "classifier")
            partial.mkdir(exist_ok=True)


def test_with_no_intact_checkpoint_training_starts_over(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    train_classifier(config.model_copy(update={"output": f"{config.folder}.whole"}))
    _unfinished(config, monkeypatch)
    folder = config.folder / "classifier.partial" / "checkpoints"
    for checkpoint in checkpoints(folder):
        (checkpoint / "optimizer.pt").unlink()
    assert newest_intact(folder) is None
    assert checkpoints(folder) == []
    train_classifier(config)
    assert same_weights(config, "classifier")


def test_a_second_process_is_refused_with_the_firsts_number(config: RunConfig, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from backbone.runs.folder import open_partial; "
        "open_partial(Path(sys.argv[1]), {}); print('held', flush=True); time.sleep(60)"
    )
    folder = config.folder / "classifier"
    first = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline().strip() == "held"
        with pytest.raises(InputError, match=f"process {first.pid} is writing it"):
            train_classifier(config)
    finally:
        first.kill()
        first.wait()
    train_classifier(config)  # a dead process holds nothing
    assert not folder.with_name("classifier.lock").exists()
