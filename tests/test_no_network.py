"""Nothing leaves the machine unasked: every command works, and none looks for a host, where there is no network."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backbone.config import RunConfig
from tests.conftest import MakeConfig, as_overrides
from tickets.schema import Ticket

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
NAMESPACE = ["unshare", "--user", "--map-root-user", "--net"]


def has_namespaces() -> bool:
    return bool(shutil.which("unshare")) and subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0


def run_offline(commands: list[list[str]], folder: Path) -> dict[str, object]:
    (folder / "commands.json").write_text(json.dumps(commands), encoding="utf-8")
    # as a user runs it: without the switches that tell the libraries to stay offline
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*NAMESPACE, sys.executable, str(ROOT / "tests" / "offline_run.py"), str(folder / "commands.json")],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=290,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found | {"stderr": done.stderr}


@pytest.mark.skipif(not has_namespaces(), reason="needs user namespaces")
def test_every_command_works_without_a_network_and_looks_for_none(
    make_config: MakeConfig, tmp_path: Path, trained_run: RunConfig, tickets: list[Ticket]
) -> None:
    with (tmp_path / "tickets.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["subject", "body", "answer", "type", "queue", "priority"])
        for ticket in tickets:
            columns = [ticket.labels[name] for name in ("type", "queue", "priority")]
            writer.writerow([ticket.subject, ticket.body, ticket.reply, *columns])
    (tmp_path / "ticket.txt").write_text("Subject: Printer\n\nIt does not print.", encoding="utf-8")
    settings = as_overrides(make_config(tensorboard=True))
    training = [part for override in settings for part in ("--set", override)]
    model, comparison = str(trained_run.folder), str(tmp_path / "comparison")
    small = ["source=sample", f"output={tmp_path / 'base'}", "init_from=mini", "training.max_steps=1"]
    commands = [
        ["prepare", "tickets.csv", "--out", "data"],
        ["pretrain", *(part for override in small for part in ("--set", override))],
        ["check", *training],
        ["train-cls", *training],
        ["train-gen", *training],
        ["train-baseline", *training],
        ["export", "--model", model, "--out", "bundle", "--quant", "none", "--onnx", "--check", "4"],
        ["predict", "ticket.txt", "--model", model],
        ["predict-batch", "tickets.csv", "--out", "answers.jsonl", "--model", model, "--labels-only"],
        ["evaluate", "--model", model],
        ["compare", model, "--out", comparison, "--limit", "4", "--timed", "0", "--no-zero-shot"],
        ["human-eval", "make", comparison, "--tickets", "2"],
        ["push", model, "hf://acme/support", "--dry-run"],
    ]
    found = run_offline(commands, tmp_path)
    assert found["codes"] == {" ".join(command[:2]): 0 for command in commands}, found["stderr"]
    assert found["reached"] == []


@pytest.mark.skipif(not has_namespaces(), reason="needs user namespaces")
def test_a_hub_id_is_asked_for_and_that_is_noticed(tmp_path: Path) -> None:
    """The test above would see an attempt: here is one, made because the user names a hub id."""
    found = run_offline([["check", "--set", "base.path=Qwen/Qwen2-0.5B-Instruct"]], tmp_path)
    assert found["codes"] == {"check --set": 2}
    assert found["reached"] != []
    assert "neither a folder nor to be had from the hub" in str(found["stderr"])
