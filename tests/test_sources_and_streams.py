"""Sources and outputs under every name, links at our own names, sheets, Markdown and streams that are closed."""

import csv
import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backbone.runs.files import open_new, write_text
from backbone.runs.folder import open_partial, partial_folder
from backbone.runs.locks import file_lock
from backbone.runs.manifest import read_manifest
from engines.answer_cache import AnswerCache
from eval.answers import read_answers
from eval.rating_sheet import read_sheet
from eval.report.blocks import Section, Table
from eval.report.page import _markdown, read_report
from pipeline.batch import BatchOptions, predict_batch
from pipeline.engine_choice import EngineChoice
from serve.hooks.configuration import load_helpdesks
from tests.conftest import ROWS
from tickets.cell_text import without_formula
from tickets.errors import InputError
from tickets.formats.text_file import read_text
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.preparation.prepared_folder import new_folder
from tickets.preparation.rows import UniqueIds
from tickets.schema import read_tickets
from tickets.sources import source_fingerprint

ROOT = Path(__file__).parent.parent


@pytest.fixture
def home(home: Path) -> Path:
    """The same with a ticket."""
    (home / "t.txt").write_text("The printer does not print.", encoding="utf-8")
    return home


def batch(source: str, out: str, **given: bool) -> int:
    """Answers by the shipped mini model."""
    return predict_batch(BatchOptions(source, Path(out), labels_only=True, **given), None, EngineChoice("onnx"))


@pytest.mark.parametrize("source", ["t.csv", "~/t.csv", "./t.csv", "sub/../t.csv", "link.csv", "hard.csv"])
@pytest.mark.parametrize("out", ["t.csv", "~/t.csv"])
def test_a_source_is_never_the_output(home: Path, source: str, out: str) -> None:
    (home / "sub").mkdir()
    (home / "link.csv").symlink_to(home / "t.csv")
    os.link(home / "t.csv", home / "hard.csv")
    with pytest.raises(InputError, match="is what is to be answered"):
        batch(source, out, restart=True)
    assert (home / "t.csv").read_text(encoding="utf-8") == ROWS


def test_names_of_ours_beside_the_output_are_no_source_either(home: Path) -> None:
    for name in ("a.jsonl.partial", "a.jsonl.plan"):
        (home / name).write_text(ROWS, encoding="utf-8")
        with pytest.raises(InputError, match="is what is to be answered"):
            batch(name, "a.jsonl", restart=True)
        (home / name).unlink()
    (home / "saved").mkdir()
    with pytest.raises(InputError, match="inside of it"):
        batch("saved", "saved/a.jsonl")
    with pytest.raises(InputError, match="lies in the source"), new_folder("saved", home / "saved" / "data"):
        pass


def test_the_home_folder_is_known_in_outputs(home: Path) -> None:
    assert batch("~/t.csv", "~/answers.jsonl") == 3
    assert (home / "answers.jsonl").is_file() and not (home / "~").exists()


def test_a_changed_folder_has_another_fingerprint(home: Path) -> None:
    (home / "saved" / "part").mkdir(parents=True)
    data = home / "saved" / "part" / "data.arrow"
    data.write_bytes(b"one")
    first = source_fingerprint("saved")
    assert first and first == source_fingerprint("~/saved") == source_fingerprint("saved/../saved/")
    data.write_bytes(b"two")
    assert source_fingerprint("saved") != first


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_is_refused_without_waiting(home: Path) -> None:
    os.mkfifo(home / "f")
    for call in (lambda: batch("f", "a.jsonl"), lambda: prepare(PrepareOptions("f", home / "d"), progress=False)):
        with pytest.raises(InputError, match="found a pipe, not a regular file"):
            call()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_pipe_among_files_of_ours_is_refused_without_waiting(home: Path) -> None:
    for name in ("sheet.csv", "train.jsonl", "answers.jsonl", "report.json", "manifest.json"):
        os.mkfifo(home / name)
    for call in (
        lambda: read_sheet(home / "sheet.csv", {}),
        lambda: read_tickets(home / "train.jsonl"),
        lambda: read_answers(home),
        lambda: read_report(home),
        lambda: read_manifest(home),
    ):
        with pytest.raises(InputError, match="found a pipe, not a regular file"):
            call()


def test_links_at_our_own_names_are_not_followed(home: Path) -> None:
    victim = home / "victim"
    victim.write_text("mine", encoding="utf-8")
    for name in ("a.jsonl.partial", "a.jsonl.lock"):
        (home / name).symlink_to(victim)
        with pytest.raises(InputError, match="found a symbolic link"):
            batch("t.csv", "a.jsonl", restart=True)
        (home / name).unlink()
    for name in ("a.jsonl.plan", "a.jsonl.plan.part", "a.jsonl.lock.pid", "a.jsonl"):
        (home / name).symlink_to(victim)
    assert batch("t.csv", "a.jsonl", restart=True) == 3
    write_text(home / "a.jsonl", "new")
    (home / "folder").mkdir()
    partial_folder(home / "run").symlink_to(home / "folder")
    with pytest.raises(InputError, match="found a symbolic link"):
        open_partial(home / "run", {}, restart=True)
    inside = partial_folder(home / "other") / "adapter" / "adapter_model.safetensors"
    inside.parent.mkdir(parents=True)
    inside.symlink_to(victim)  # libraries write there, and follow it
    (partial_folder(home / "other") / "plan.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: found a symbolic link"):
        open_partial(home / "other", {})
    open_partial(home / "other", {}, restart=True)
    assert not inside.is_symlink()
    (home / "answers.sqlite").symlink_to(victim)
    with pytest.raises(InputError, match="found a symbolic link"):
        AnswerCache(home / "answers.sqlite")
    (home / "x.lock").symlink_to(victim)
    with pytest.raises(InputError, match="found a symbolic link"):
        file_lock(home / "x.lock")
    (home / "x.new").symlink_to(victim)
    with open_new(home / "x.new", "x", permissions=0o600) as file:
        file.write("ours")
    assert not (home / "x.new").is_symlink() and (home / "x.new").stat().st_mode & 0o077 == 0
    assert victim.read_text(encoding="utf-8") == "mine"


def test_ids_are_those_of_the_column_and_numbered_in_linear_time(home: Path) -> None:
    (home / "t.csv").write_text("id,subject,body\n3,a,one\n1,b,two\n2,c,three\n2,d,four\n,e,five\n", encoding="utf-8")
    batch("t.csv", "a.jsonl")
    lines = (home / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["3", "1", "2", "2#2", "000005"]
    ids = UniqueIds()
    start = time.thread_time()
    made = [ids.unique(name) for name in ["x"] * 100_000 + [f"x#{i}" for i in range(2, 50_000)] + ["x"] * 50_000]
    assert len(set(made)) == len(made) and made[1] == "x#2"
    assert time.thread_time() - start < 10


@given(st.text("=+-@;,\t\r\n\"' a1", max_size=30))
@example("a;=cmd|calc!A0")
@example('x\n"=1+1"')
def test_no_cell_is_a_formula_whatever_parts_them(cell: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerow(["row-1", without_formula(cell), "end"])
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter=separator):
            starts = [cell.lstrip(' "')[:1] for cell in row]
            assert not [start for start in starts if start and start in "=+-@\r"]
            assert separator == "\t" or "\t" not in starts


def test_markdown_shows_html_and_links_as_text() -> None:
    hostile = "<script>alert(1)</script> ![x](http://h/p.png)\n# head & <b>"
    text = _markdown(hostile, [Section(hostile, [hostile, Table([hostile, "b"], [[hostile, "|"]], hostile)])])
    assert "<script" not in text and "<b>" not in text and "](" not in text.replace("]\\(", "")
    assert "&lt;script&gt;" in text and not [line for line in text.splitlines() if line.startswith("# head")]


def run(command: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """A shell line in which DUET is the program."""
    command = command.replace("DUET", f"{sys.executable} {ROOT / 'cli.py'}")
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=home, check=False, timeout=120)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("DUET predict t.txt --labels-only >&-", 2, "error: stdout is closed"),
        ("DUET check >&-", 2, "error: stdout is closed"),
        ("DUET predict - --labels-only <&-", 2, "error: stdin is closed"),
        ("DUET predict t.txt --labels-only 2>&-", 0, ""),
        ("DUET predict nothing 2>&-", 2, ""),
        ("DUET predict t.txt --labels-only >&- 2>&-", 2, ""),
        ("DUET predict-batch t.csv --out a.jsonl --labels-only 2>&-", 0, ""),
        ("DUET predict /dev/zero", 2, "error: /dev/zero: over 16 MB"),
        ("cat t.csv | DUET predict-batch /dev/stdin --out a.jsonl", 2, "error: /dev/stdin: found a pipe"),
        ("DUET predict t.txt --labels-only > /dev/full", 1, "error: the output could not be written"),
        ("PYTHONIOENCODING=ascii DUET predict 'n\u00f6' ", 2, "error: n\\u00f6: No such file"),
        ("DUET check | true", 0, ""),
        ("DUET nosuch 2> /dev/full", 2, ""),
        ("(DUET predict nosuch; echo $? > code) 2>&1 | head -0; exit $(cat code)", 2, ""),
        ("ulimit -f 1; DUET predict-batch t.csv --out a.jsonl --labels-only", 1, "error: a.jsonl.partial: the disk is"),
        ("DUET predict <(cat t.txt) --labels-only > out", 0, ""),
        ("DUET predict /dev/stdin --labels-only < t.txt > out", 0, ""),
        ("mkfifo f; : > f & DUET predict f --labels-only", 2, "error: f: found only white space"),
        ("mkfifo f; timeout -s INT 8 DUET predict f --labels-only 2>&1 | head -1 >&2", 124, "f: a pipe; waiting"),
    ],
)
def test_closed_and_narrow_streams_end_in_one_line(home: Path, line: str, code: int, told: str) -> None:
    done = run(f"set -o pipefail; {line}", home)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (code, 1 if told else 0), done.stderr
    assert done.stderr.startswith(told)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
@pytest.mark.parametrize("pause", [0.0, 0.4])
def test_a_ticket_comes_through_a_pipe_and_waiting_is_said(
    home: Path, pause: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickets.formats.text_file._PATIENCE", 100)
    os.mkfifo(home / "f")

    def write() -> None:
        time.sleep(pause)
        with (home / "f").open("w", encoding="utf-8") as pipe:  # waits for the reader
            pipe.write("Subject: VPN\n\n" + "It hangs. " * 20_000)  # more than a pipe holds
            pipe.flush()
            time.sleep(0.05)
            pipe.write("The end")

    writer = threading.Thread(target=write)
    writer.start()
    text = read_text(home / "f")
    writer.join()
    assert (text.subject, text.body[-7:]) == ("VPN", "The end")
    assert capsys.readouterr().err == (
        f"{home / 'f'}: a pipe; waiting until a program writes into it (Ctrl-C ends this)\n" if pause else ""
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_the_helpdesks_are_not_waited_for_in_a_pipe(home: Path) -> None:
    os.mkfifo(home / "f")
    with pytest.raises(InputError, match="found a pipe, not a regular file"):
        load_helpdesks(home / "f", {})
