"""The command line as a user meets it: what is printed where, and the exit code."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backbone.config import RunConfig
from backbone.config_file import dump_config
from backbone.shipped import mini_folder
from pipeline.check import check
from tests.conftest import write_sparse_weights

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "tickets" / "sample" / "examples").glob("*.txt"))


def duet(*words: object, stdin: str = "", cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "cli.py"), *map(str, words)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=cwd, check=False)


def assert_one_line(run: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert run.returncode == code, run.stderr
    lines = run.stderr.strip().splitlines()
    assert len(lines) == 1, run.stderr
    assert lines[0].startswith("error: ")
    assert all(word in lines[0] for word in words), run.stderr
    assert not run.stdout


def test_the_pages_that_are_made_are_fresh() -> None:
    spec = importlib.util.spec_from_file_location("write_docs", ROOT / "scripts" / "write_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, make in module.PAGES.items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == make(), "run `make docs`"


def test_a_command_that_needs_another_shows_its_help() -> None:
    run = duet("human-eval")
    assert run.returncode == 2
    assert run.stderr.startswith("Usage: ")
    assert len(run.stderr.splitlines()) > 5


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, cli; print(sorted({'torch', 'transformers', 'sklearn', 'pandas', 'pydantic'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [(), ("serve",), ("human-eval",), ("serve", "token")])
def test_help_tells_every_command_in_a_whole_line_of_80_columns(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, _, listed = duet(*words, "--help").stdout.partition("Commands:\n")
    lines = listed.splitlines()
    assert len(lines) >= 2 and all(len(line) <= 80 and line.endswith(".") and "..." not in line for line in lines)


def test_predict_answers_files_and_prints_only_data_on_stdout(tmp_path: Path) -> None:
    run = duet("predict", *EXAMPLES, "--json", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [str(path) for path in EXAMPLES]
    for answer in answers:
        assert set(answer) == {
            "id", "labels", "confidence", "confidence_all", "tags", "reply", "apply", "needs_review", "masked",
            "truncated", "reply_cut", "timings",
        }  # fmt: skip
        columns = {"type", "queue", "priority"}
        assert set(answer["labels"]) == set(answer["confidence"]) == set(answer["apply"]) == columns
        assert answer["needs_review"] == (not all(answer["apply"].values()))
        assert all(0 < value <= 1 for value in answer["confidence"].values())
        assert len(answer["reply"].split()) > 10
        assert set(answer["timings"]) == {"labels", "reply"}
    assert run.stderr == ""


def test_predict_reads_stdin_and_fits_80_columns() -> None:
    run = duet("predict", "-", stdin=EXAMPLES[0].read_text(encoding="utf-8"))
    assert run.returncode == 0, run.stderr
    assert max(len(line) for line in run.stdout.splitlines()) <= 80
    for name in ("type", "queue", "priority", "review", "reply"):
        assert any(line.startswith(name) for line in run.stdout.splitlines())


def test_labels_only_writes_no_reply_and_the_subject_counts() -> None:
    run = duet("predict", "-", "--labels-only", "--json", stdin="Betreff: Rechnung INV-1 doppelt\n\nBitte prüfen.")
    answer = json.loads(run.stdout)
    assert answer["reply"] is None
    assert set(answer["timings"]) == {"labels"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["white space", "text of a ticket"]),
        (b" \n\t ", ["white space"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x01\0", ["binary data", "plain text"]),
    ],
)
def test_unusable_tickets_are_one_line(tmp_path: Path, content: bytes, words: list[str]) -> None:
    path = tmp_path / "ticket.txt"
    path.write_bytes(content)
    assert_one_line(duet("predict", path), 2, "ticket.txt", *words)


def test_a_10_megabyte_ticket_is_cut_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("The printer is on fire again. " * 350_000, encoding="utf-8")
    run = duet("predict", path, "--labels-only", "--json")
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["truncated"]
    assert run.stderr.startswith("warning: ")
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "code", "found"),
    [
        (["predict"], 2, ["Missing argument"]),
        (["predict", "/nowhere.txt"], 2, ["/nowhere.txt", "No such file"]),
        (["predict", str(EXAMPLES[0]), "--model", "/nowhere"], 2, ["--model /nowhere", "no such folder"]),
        (["predict", str(EXAMPLES[0]), "--model", str(ROOT / "docs")], 2, ["not a model", "train-cls"]),
        (["prdict"], 2, ["No such command"]),
        (["train-cls", "--set", "lora.rnk=3"], 2, ["lora.rnk", "lora.rank"]),
        (["train-cls", "--config", "/nowhere.yaml"], 2, ["/nowhere.yaml"]),
        (["train-cls", "--set", "data.path=/nowhere"], 2, ["train.jsonl", "duet prepare"]),
        (["train-cls", "--set", "classifier.columns=[colour]", "--set", "output=/tmp/x"], 2, ["'colour'", "queue"]),
        (["check", "--set", "base.path=/nowhere/x/y"], 2, ["no such folder"]),
        (["pretrain", "--set", "layrs=3"], 2, ["layrs", "layers"]),
        (["evaluate", "--data", "/nowhere"], 2, ["/nowhere"]),
        (["evaluate", "--part", "tset"], 2, ["'tset'", "train, validation, test"]),
        (["export", "--generator", "/nowhere", "--out", "/tmp/x"], 2, ["--generator /nowhere", "no such folder"]),
        (["train-cls", "--set", "packing=true"], 2, ["'classifier.training.packing' or 'generator.training.packing'"]),
        (["train-cls", "--set", "classifier.columns=type"], 2, ["a list, such as [type, queue]"]),
        *[
            ([command, "--set", f"output={ROOT / 'README.md'}/run"], 2, ["README.md/run", "cannot be written"])
            for command in ("train-cls", "train-gen", "train-baseline", "pretrain")
        ],
        (["predict", str(EXAMPLES[0]), "--engine", "llama"], 2, ["no GGUF", "--out bundle"]),
    ],
)
def test_bad_usage_is_one_line(words: list[str], code: int, found: list[str]) -> None:
    assert_one_line(duet(*words), code, *found)


def test_check_shows_batch_and_cost_and_finds_unseen_labels(
    make_config: Callable[..., RunConfig], small_data: Path, tmp_path: Path
) -> None:
    config = make_config()
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(config), encoding="utf-8")
    run = duet("check", "--config", path)
    assert run.returncode == 0, run.stderr
    for word in ("tokens without loss", "tokens with loss", "longest", "memory", "GiB free", "<|im_start|>assistant"):
        assert word in run.stdout
    data = tmp_path / "data"
    data.mkdir()
    for part in ("train", "validation"):
        (data / f"{part}.jsonl").write_bytes((small_data / f"{part}.jsonl").read_bytes())
    unseen = json.loads((data / "validation.jsonl").read_text(encoding="utf-8").splitlines()[0])
    unseen["labels"]["queue"] = "Moon Office"
    with (data / "validation.jsonl").open("a", encoding="utf-8") as out:
        out.write(json.dumps(unseen) + "\n")
    for command in ("check", "train-cls"):
        run = duet(command, "--config", path, "--set", f"data.path={data}")
        assert run.returncode == 0, run.stderr
        said = run.stdout if command == "check" else run.stderr
        assert "queue: validation tickets with 'Moon Office' (1) count as wrong" in said


def test_check_estimates_the_7b_run(tiny_base: Path, tmp_path: Path, make_config: Callable[..., RunConfig]) -> None:
    """A folder with the shape of Qwen2-7B and no weights to speak of: 7.6 billion parameters, 15 GB in bf16."""
    shape = {
        "model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "intermediate_size": 18944,
        "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(shape), encoding="utf-8")
    (tmp_path / "tokenizer.json").write_bytes((tiny_base / "tokenizer.json").read_bytes())
    write_sparse_weights(tmp_path)
    text = check(make_config(base__path=tmp_path, base__precision="bf16", lora__rank=64))
    assert "7.62 billion parameters" in text  # 7,615,616,512 with biases and norms
    assert "161 million parameters" in text
    assert "14.2 + 2.4" in text


def test_the_shipped_model_is_small_and_explains_itself() -> None:
    folder = mini_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size < 30_000_000
    assert (folder / "base" / "recipe.yaml").is_file()
    shape: dict[str, Any] = json.loads((folder / "base" / "config.json").read_text(encoding="utf-8"))
    assert shape["model_type"] == "qwen2"
    assert all(shape[key] % 256 == 0 for key in ("hidden_size", "intermediate_size"))
