"""Values on the command line that are no values: refused in one line, before any work."""

import os
import shutil
import sys
from pathlib import Path

import pytest

import cli
from backbone.config_file import load_config
from pipeline.batch import BatchOptions, predict_batch
from pipeline.engine_choice import EngineChoice
from pipeline.export.export import export
from pipeline.export.options import ExportOptions
from tickets.errors import InputError
from tickets.terminal import whole_characters

NO_TEXT = os.fsdecode(b"\xff")  # as Python has bytes of the command line that are no UTF-8
URL = "http://127.0.0.1:1/v1"


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["duet", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict", "t.txt", "--endpoint", ""], "found --endpoint ''"),
        (["predict-batch", "t.csv", "--out", "a.jsonl", "--endpoint", ""], "found --endpoint ''"),
        (["predict", "t.txt", "--endpoint", URL, "--endpoint-model", NO_TEXT], "--endpoint-model \\udcff: holds half"),
        (["predict", "t.txt", "--endpoint", URL, "--endpoint-timeout", "inf"], "--endpoint-timeout"),
        (["predict", "t.txt", "--endpoint", URL, "--endpoint-timeout", "1e400"], "--endpoint-timeout"),
        (["human-eval", "make", "c", "--seed", "-1"], "--seed"),
        (["human-eval", "make", "c", "--seed", "4294967296"], "--seed"),
        *(
            (["judge", "c", "--endpoint", URL, "--model", "m", option, value], option)
            for option, value in (
                ("--timeout", "inf"),
                ("--timeout", "nan"),
                ("--draws", "99999999999"),
                ("--max-tokens", "9999999999999999"),
                ("--concurrent", "999999999"),
                ("--seed", "99999999999999999999999"),
            )
        ),
    ],
)
def test_values_that_are_none_are_one_line(
    words: list[str], told: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("openai")
    (home / "t.txt").write_text("The printer does not print.")
    assert run(words, monkeypatch) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and told in error and error.count("\n") == 1
    assert not (home / "a.jsonl").exists()


def test_names_that_are_no_text_are_answered_and_gone_on_with(home: Path) -> None:
    """Names of files on Linux are bytes."""
    source = f"b{NO_TEXT}.csv"
    shutil.copy(home / "t.csv", home / source)
    options = BatchOptions(source, Path(f"a{NO_TEXT}.jsonl"), labels_only=True, allowed_contacts=(NO_TEXT,))
    assert predict_batch(options, None, EngineChoice("onnx")) == 3
    (home / options.out).unlink()
    partial, plan = home / f"{options.out}.partial", home / f"{options.out}.plan"
    shutil.copy(home / source, partial)
    with pytest.raises(InputError, match="holds something else than answers"):  # no plan is beside it
        predict_batch(options, None, EngineChoice("onnx"))
    partial.write_text("")
    plan.unlink(missing_ok=True)
    assert predict_batch(options, None, EngineChoice("onnx")) == 3
    assert whole_characters(f"ä{NO_TEXT}") == "ä\\udcff"


def test_a_bundle_has_a_name_that_libraries_can_open(home: Path) -> None:
    with pytest.raises(InputError, match="no UTF-8") as error:
        export(ExportOptions(None, Path(f"b{NO_TEXT}"), quant="none", onnx=True, check=2))
    assert "\n" not in str(error.value) and [path.name for path in home.iterdir()] == ["t.csv"]


def test_adapters_need_layers() -> None:
    with pytest.raises(InputError, match=r"key 'lora.targets': found \[\]"):
        load_config(None, ["lora.targets=[]"])
