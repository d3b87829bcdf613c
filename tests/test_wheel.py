"""The wheel, installed elsewhere, answers a ticket from an empty folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_installed_command_answers_a_ticket(tmp_path: Path) -> None:
    source, wheels, site, empty = (tmp_path / name for name in ("source", "wheels", "site", "empty"))
    empty.mkdir()
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source], check=True)
    (wheel,) = wheels.glob("ticket_duet-*.whl")
    # its own packages from the wheel, third-party ones from this environment
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    ticket = empty / "ticket.txt"
    ticket.write_text("Subject: VPN Falke drops\n\nOur VPN Falke connection drops every hour.", encoding="utf-8")
    run = subprocess.run(
        [site / "bin" / "duet", "predict", "ticket.txt", "--json"],
        cwd=empty,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert set(answer["labels"]) == {"type", "queue", "priority"}
    assert answer["reply"]
    where = [sys.executable, "-c", "import cli, tickets; print(cli.__file__, tickets.__file__)"]
    found = subprocess.run(
        where, cwd=empty, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(site)}
    )
    assert str(site) in found.stdout.split()[0]
