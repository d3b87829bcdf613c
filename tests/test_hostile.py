"""Thousands of damaged files and hostile texts; a short version unless DUET_HOSTILE is set (`make test-hostile`)."""

import json
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.shipped import mini_folder
from pipeline.export.export import export
from pipeline.export.options import ExportOptions
from tickets.errors import InputError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
FULL = bool(os.environ.get("DUET_HOSTILE"))
MUTATIONS, DOCUMENTS, TICKETS = (2_000, 1_000, 1_000) if FULL else (12, 60, 10)
MOST_MB, MOST_SECONDS = 1_500, 60
# what a terminal may get besides text: line breaks, tabs, and the returns of progress bars
FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
PIECES = (
    "My printer is broken. ", "\x1b[2J", "\x1b]0;title\x07", "\x1b]52;c;aGk=\x07", "\x9b31m", "\x08\x08", "\x00",
    "\x7f", "\u202eevil", "\u2066", "\u2028", "\r", "\r\n", "\n", "\t", "=cmd|calc!A0", "@SUM(1)", ";", '"', ",", "'",
    "<script>alert(1)</script>", "<|im_end|>", "<|im_start|>system\n", "\ud800", "\U0010ffff", "\ufeff", "a" * 300,
    "{{7*7}}", "%s%n", "\\u001b[2J", "&#27;[2J", "N\u00e4h" * 40, "\u0300" * 50, "-- \n", "> quoted\n",
)  # fmt: skip


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kinds of files in the long version, the shipped model in the short one."""
    if not FULL:
        return mini_folder()
    folder = tmp_path_factory.mktemp("hostile") / "bundle"
    export(ExportOptions(None, folder, quant="f16", onnx=True, check=2, memory=True))
    return folder


def attempts(bundle: Path, count: int) -> list[dict[str, Any]]:
    """How each attempt ended; a worker that dies is one of them, and another goes on behind it."""
    found: list[dict[str, Any]] = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if not (bundle / "base.f16.gguf").is_file():
        environment["DUET_NO_LLAMA"] = "1"
    first = 0
    while first < count:
        command = [sys.executable, str(ROOT / "tests" / "mutations.py"), str(bundle), str(first), str(count)]
        worker = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        for line in map(json.loads, worker.stdout.splitlines()):
            if "file" in line:
                found.append({**line, "how": f"died with {worker.returncode}: {worker.stderr[-500:]}"})
            else:
                found[-1].update(line)
        assert found, worker.stderr
        first = found[-1]["number"] + 1
    return found


def test_a_damaged_file_is_a_line_or_an_answer(bundle: Path) -> None:
    found = attempts(bundle, MUTATIONS)
    wrong = [one for one in found if one["how"] not in ("told", "answered")]
    print(Counter(one["how"] for one in found), "peak", max(one["peak_mb"] for one in found), "MB")
    assert len(found) == MUTATIONS and not wrong, json.dumps(wrong[:10], indent=1)
    assert max(one["peak_mb"] for one in found) < MOST_MB
    assert max(one["seconds"] for one in found) < MOST_SECONDS


YAML = st.recursive(
    st.sampled_from(
        [
            "1",
            "-1",
            ".inf",
            ".nan",
            "1e400",
            "~",
            "yes",
            "2024-13-45",
            "!!int x",
            "&a x",
            "*a",
            "<<",
            "''",
            "\x07",
            "1" * 5000,
        ]
    )
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(st.sampled_from(["seed", "lora", "rank", "data", "a", "<<"]), inner, max_size=4).map(
            lambda items: "{" + ", ".join(f"{key}: {value}" for key, value in items.items()) + "}"
        )
    ),
    max_leaves=12,
)
KEYS = ("seed", "name", "lora", "data", "classifier", "generator", "base", "output", "decoding", "zzz")


@settings(max_examples=DOCUMENTS, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(KEYS), YAML), max_size=5), st.binary(max_size=20))
def test_a_strange_configuration_is_a_line_or_a_configuration(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[str, str]], noise: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "strange.yaml"
    text = "\n".join(f"{key}: {value}" for key, value in items).encode("utf-8", "surrogatepass")
    path.write_bytes(text + (noise if len(items) % 2 else b""))
    start = time.thread_time()
    try:
        assert isinstance(load_config(path), RunConfig)
    except InputError as error:
        assert "\n" not in str(error) and str(path) in str(error) and len(str(error)) < 1500
    assert time.thread_time() - start < 5


def commands(folder: Path, count: int) -> list[list[str]]:
    """Words of commands that show `count` hostile tickets, ids, names and values."""
    chance = random.Random(3)

    def text(pieces: int) -> str:
        return "".join(chance.choices(PIECES, k=pieces))

    lines: list[list[str]] = []
    for number in range(count // 10):
        name = re.sub(r"[\x00/\ud800]", "", text(2))[:60]
        tickets = [folder / f"{number}-{i}-{name}.txt" for i in range(4)]
        for ticket in tickets:
            ticket.write_bytes(f"Subject: {text(2)}\n\n{text(9)} hangs".encode("utf-8", "surrogatepass"))
        rows = [{"id": text(1), "subject": text(2), "body": text(8), "type": text(1)[:40]} for _ in range(6)]
        source = folder / f"{number}-{name}.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        words = [str(ticket) for ticket in tickets]
        out = str(folder / f"{number}-{name}.out")
        lines.append(["predict", *words, "--labels-only", "--engine", "onnx", *(["--json"] if number % 2 else [])])
        lines.append(["predict-batch", str(source), "--out", out, "--labels-only", "--engine", "onnx"])
        lines.append(["prepare", str(source), "--out", f"{out}.data"])
        lines.append([chance.choice(["verify", "export", "evaluate", "compare"]), str(folder / name)])
        lines.append(["check", "--set", f"name={name}"])
        lines.append(["predict", name, "--model", name, "--engine", name])
        lines.append(["human-eval", "score", str(folder / name), name])
    return lines


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_nothing_hostile_reaches_a_terminal(tmp_path: Path) -> None:
    import pty

    listed = tmp_path / "commands.jsonl"
    lines = commands(tmp_path, TICKETS)
    listed.write_text("".join(json.dumps(words) + "\n" for words in lines), encoding="utf-8")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    command = [sys.executable, str(ROOT / "tests" / "terminal_driver.py"), str(listed)]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=environment)
    os.close(theirs)
    seen = bytearray()
    try:
        while chunk := os.read(ours, 1 << 16):
            seen += chunk
    except OSError:  # how Linux says that nobody is at the other end any more
        pass
    assert child.wait(60) == 0, seen[-2000:].decode("utf-8", "replace")
    shown = seen.decode("utf-8")
    assert not FORBIDDEN.findall(shown)
    assert "Traceback" not in shown, shown[shown.index("Traceback") - 200 :][:3000]
    end = json.loads(Path(f"{listed}.end").read_text(encoding="utf-8"))
    assert len(end["statuses"]) == len(lines) and set(end["statuses"]) <= {0, 1, 2}
    assert end["statuses"].count(0) >= len(lines) // 7  # many of them are answered
    assert end["peak_mb"] < MOST_MB
