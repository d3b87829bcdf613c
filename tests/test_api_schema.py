"""What `duet serve` answers is what its schema says, for requests that Schemathesis makes from the schema."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from bench.served import Served
from tests.serving import sqlite_url

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.slow
@pytest.mark.skipif("DUET_LOAD" not in os.environ, reason="takes many minutes: make test-serve")
@pytest.mark.timeout(3_600)
def test_requests_made_from_the_schema(tmp_path: Path) -> None:
    """No server error, no status and no answer that is not declared; what breaks the schema is refused."""
    server = Served(sqlite_url(tmp_path), "--model", "mini", "--demo")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION), "run"]
    command += [f"{server.address}/openapi.json", "--header", f"Authorization: Bearer {server.token}"]
    command += ["--phases", "coverage,fuzzing,stateful", "--max-examples", "60", "--seed", "7", "--continue-on-failure"]
    command += ["--no-color", "--warnings", "off", "--request-timeout", "120", "--suppress-health-check", "all"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert server.stop() == 0
