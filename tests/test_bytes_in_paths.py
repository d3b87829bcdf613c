"""Folders whose names are no UTF-8: what works in them works, and what cannot is one line that says what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backbone.packaged_base import cache_folder
from backbone.shipped import mini_folder
from pipeline.model_folder import open_model
from serve.run import default_database
from tests.conftest import ROWS
from tickets.errors import InputError

ROOT = Path(__file__).parent.parent
BYTES = os.fsdecode(b"nu\xff")

pytestmark = pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="the file system knows Unicode alone")


def test_commands_work_in_such_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / BYTES
    folder.mkdir()
    (folder / "t.csv").write_text(ROWS, encoding="utf-8")
    for source in ("t.csv", str(folder / "t.csv")):
        words = ["predict-batch", source, "--out", "a.jsonl", "--labels-only", "--model", "mini", "--restart"]
        run = subprocess.run([sys.executable, ROOT / "cli.py", *words], cwd=folder, capture_output=True, check=False)
        assert (run.returncode, len((folder / "a.jsonl").read_text().splitlines())) == (0, 3), run.stderr


def test_what_cannot_be_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(mini_folder(), tmp_path / BYTES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / BYTES))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / BYTES))
    for use, mend in (
        (lambda: open_model(tmp_path / BYTES), "rename the folder"),
        (cache_folder, "set XDG_CACHE_HOME"),
        (default_database, "name a file with --db"),
    ):
        with pytest.raises(InputError, match=f"no UTF-8.*{mend}") as error:
            use()
        assert "\n" not in str(error.value)
