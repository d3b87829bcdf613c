"""Outputs replace nothing but what duet wrote, and every command refuses the same places."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backbone.config_file import load_config
from backbone.dataset import resolve_data
from backbone.shipped import mini_folder
from backbone.training.pretrain import PretrainConfig, pretrain
from backbone.training.token_cache import TokenCache
from classifier.train import train_classifier
from eval.compare import CompareOptions, compare
from pipeline.batch import BatchOptions, predict_batch
from pipeline.check import check
from pipeline.engine_choice import EngineChoice
from pipeline.export.export import export
from pipeline.export.options import ExportOptions
from pipeline.model_folder import open_model
from tests.test_damaged_models import resign
from tickets.errors import InputError
from tickets.preparation.prepare import PrepareOptions, prepare


def batch(out: str | Path, model: Path | None = None, restart: bool = True) -> int:
    options = BatchOptions("t.csv", Path(out), labels_only=True, restart=restart)
    return predict_batch(options, model, EngineChoice("onnx"))


WRITERS: dict[str, Callable[[Path], Any]] = {
    "predict-batch": batch,
    "prepare": lambda out: prepare(PrepareOptions("t.csv", out), progress=False),
    "export": lambda out: export(ExportOptions(None, out, quant="none", onnx=True, check=2)),
    "compare": lambda out: compare(CompareOptions([mini_folder()], out, with_zero_shot=False)),
    "pretrain": lambda out: pretrain(PretrainConfig(source="sample", output=str(out))),
}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("out", ["", ".", "/", "..", "folder/.."])
@pytest.mark.parametrize("command", WRITERS)
def test_an_output_has_a_name(home: Path, command: str, out: str) -> None:
    (home / "folder").mkdir()
    os.chdir(home / "folder")
    (home / "folder" / "t.csv").write_text("id,body\n1,a\n")
    with pytest.raises(InputError, match="without a name of its own") as error:
        WRITERS[command](Path(out))
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in home.rglob("*")) == ["folder", "t.csv", "t.csv"]


@pytest.mark.parametrize("out", ["circle/out", "circle", "nowhere", "x" * 250])
@pytest.mark.parametrize("command", WRITERS)
def test_places_that_cannot_be_written_are_one_line(home: Path, command: str, out: str) -> None:
    (home / "circle").symlink_to(home / "circle")
    (home / "nowhere").symlink_to("/proc/nowhere")
    if command == "predict-batch" and (home / out).is_symlink():
        assert batch(home / out) == 3 and not (home / out).is_symlink()  # the link is replaced, and nothing else
        return
    with pytest.raises(InputError) as error:
        WRITERS[command](home / out)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_answers_replace_no_pipe_device_or_socket(home: Path) -> None:
    os.mkfifo(home / "pipe")
    (home / "null").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for name in ("pipe", "socket", "null", "/dev/null"):
            with pytest.raises(InputError, match="pipe, device or socket"):
                batch(name)
    assert (home / "pipe").is_fifo() and (home / "socket").is_socket() and Path("/dev/null").is_char_device()


@pytest.mark.parametrize("content", ["id,subject\n1,a\n", "[]\n", '{"id": null}\n', '{"name": 1}\n', "{", "\n", "\xff"])
def test_restart_replaces_answers_alone(home: Path, content: str) -> None:
    (home / "a.jsonl").write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match="something else than answers"):
        batch("a.jsonl")
    assert (home / "a.jsonl").read_text(encoding="latin-1") == content
    (home / "a.jsonl").unlink()
    assert batch("a.jsonl") == batch("a.jsonl") == 3
    (home / "a.jsonl").write_text("")
    assert batch("a.jsonl") == 3


def test_answers_are_not_written_into_a_base_elsewhere(home: Path) -> None:
    """The base lies outside the run, which knows it by name or by the folder that it was."""
    shutil.copytree(mini_folder(), home / "run")
    shutil.move(home / "run" / "base", home / "elsewhere")
    record = home / "run" / "classifier" / "base.json"
    assert '"name": "mini"' in record.read_text()
    model = open_model(mini_folder())
    assert model.any_stage.base_places() == []  # a name of ours is no folder here, and nothing is downloaded
    (home / "mini").symlink_to(home / "elsewhere")
    assert model.any_stage.base_places() == [Path("mini")]
    for out in ("elsewhere/a.jsonl", "mini/a.jsonl"):
        with pytest.raises(InputError, match="lies in what is read"):
            batch(out, mini_folder())
    assert not (home / "elsewhere" / "a.jsonl").exists()


@pytest.mark.parametrize("name", ["report.html", "answers.jsonl", "notes.txt", "classifier"])
def test_prepare_replaces_prepared_data_alone(home: Path, name: str) -> None:
    """A comparison has a `report.json` too."""
    (home / "out").mkdir()
    (home / "out" / "report.json").write_text("{}")
    (home / "out" / name).write_text("hours of work")
    before = files(home)
    with pytest.raises(InputError, match=rf"no prepared data \({name} is not of it\)"):
        prepare(PrepareOptions("t.csv", home / "out"), progress=False)
    assert files(home) == before


def test_a_comparison_does_not_replace_the_report_of_prepared_data(home: Path) -> None:
    shutil.copytree(resolve_data("sample"), home / "other", ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (home / "other" / "report.json").write_text("{}")
    before = files(home)
    with pytest.raises(InputError, match="holds prepared tickets"):
        compare(CompareOptions([mini_folder()], Path("other"), data="sample", with_zero_shot=False))
    assert files(home) == before


def test_a_comparison_refuses_the_data_of_its_run_before_it_writes(home: Path) -> None:
    """Without `--data` they are known once the run is open."""
    data = home / "data"
    shutil.copytree(resolve_data("sample"), data, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copytree(mini_folder(), home / "run")
    for stage in ("classifier", "generator"):
        path = home / "run" / stage / "config.yaml"
        path.write_text(path.read_text().replace("path: sample", f"path: {data}"))
    resign(home / "run")
    before = files(home)
    for out in (data, data / "report", home):
        with pytest.raises(InputError, match="what is read"):
            compare(CompareOptions([home / "run"], out, with_zero_shot=False))
        assert files(home) == before and not (data / "report").exists()


def _fill(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "mine.py").write_text("mine")


@pytest.mark.parametrize("run", [check, train_classifier], ids=["check", "train-cls"])
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda out: _fill(out / "classifier"), "no finished run"),
        (lambda out: _fill(out / "classifier.replaced"), "no finished run"),
        (lambda out: (out.mkdir(), (out / "classifier").write_text("mine")), "no finished run"),
        (lambda out: out.write_text("mine"), "is no writable folder"),
        (lambda out: out.symlink_to("/dev/null"), "is no writable folder"),
        (lambda out: (out.mkdir(), (out / "classifier").symlink_to("nowhere")), "no finished run"),
    ],
    ids=["folder", "replaced", "file", "file-above", "device-above", "link"],
)
def test_a_run_replaces_runs_alone(home: Path, run: Any, make: Any, told: str) -> None:
    make(home / "out")
    before = files(home)
    config = load_config(None, ["classifier.columns=[type]", "data.max_train=64", "output=out"])
    with pytest.raises(InputError, match=told) as error:
        run(config)
    assert "\n" not in str(error.value) and "--set output=" in str(error.value) and files(home) == before


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "1", "[1", "9" * 5000])
def test_a_token_cache_of_another_form_is_made_again(tmp_path: Path, text: str) -> None:
    import hashlib

    cache = TokenCache(tmp_path)
    assert cache.rows(["key"], lambda: [1]) == [1]
    (kept,) = (tmp_path / ".tokens").iterdir()
    kept.write_text(f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    assert cache.rows(["key"], lambda: [2]) == [2]


@pytest.mark.parametrize("restart", [False, True])
def test_an_unfinished_file_of_others_is_left_alone(home: Path, restart: bool) -> None:
    (home / "a.jsonl.partial").write_text("my thesis\n")
    with pytest.raises(InputError, match=r"a.jsonl.partial: holds something else than answers"):
        batch(home / "a.jsonl", restart=restart)
    assert (home / "a.jsonl.partial").read_text() == "my thesis\n"
