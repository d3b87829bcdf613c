"""Paths: `~` in every option, one folder under every spelling, and no output where something is read."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

import cli
from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.dataset import resolve_data
from backbone.hub.address import model_path
from backbone.runs.folder import paths_written_for
from backbone.shipped import mini_folder
from backbone.training.pretrain import PretrainConfig, _plan, pretrain
from backbone.training.pretrain_texts import Texts
from classifier.train import train_classifier
from commands import options
from eval.compare import CompareOptions, compare
from generator.train import train_generator
from pipeline import batch
from pipeline.batch import BatchOptions, predict_batch
from pipeline.check import check
from pipeline.engine_choice import EngineChoice
from pipeline.export.export import export
from pipeline.export.options import ExportOptions
from pipeline.model_folder import open_model
from tests.conftest import ROWS
from tickets.errors import InputError
from tickets.sources import holds, refuse_overlap


@pytest.fixture
def home(home: Path) -> Path:
    """The same with prepared tickets and a model."""
    (home / "data").mkdir()
    for part in ("train", "validation", "test"):
        shutil.copy(resolve_data("sample") / f"{part}.jsonl", home / "data")
    shutil.copytree(mini_folder(), home / "mini-copy")
    return home


def files(folder: Path) -> dict[str, int]:
    """Every file with its size: what a refused command must leave alone."""
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def configuration(*overrides: str) -> RunConfig:
    return load_config(None, ["classifier.columns=[type,priority]", "data.max_train=64", *overrides])


@pytest.mark.parametrize("train", [train_classifier, train_generator, check], ids=["train-cls", "train-gen", "check"])
@pytest.mark.parametrize("output", ["data", "./data", "~/data", "data/inside"])
def test_a_run_is_not_written_among_its_data(home: Path, train: Callable[[RunConfig], Any], output: str) -> None:
    before = files(home)
    with pytest.raises(InputError, match="lies in what is read") as error:
        train(configuration("data.path=data", f"output={output}"))
    assert "\n" not in str(error.value) and files(home) == before


@pytest.mark.parametrize("place", ["classifier", "classifier/data", "classifier.partial/data", "classifier.replaced"])
def test_data_that_a_run_would_replace_are_refused(home: Path, place: str) -> None:
    data = home / "run" / place
    data.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(home / "data", data)
    before = files(home)
    with pytest.raises(InputError, match="what is read"):
        train_classifier(configuration(f"data.path={data}", "output=run"))
    assert files(home) == before


def test_a_run_may_lie_beside_its_data(home: Path) -> None:
    refuse_overlap([home / "data"], paths_written_for(home / "run" / "classifier"), "output")
    (home / "run").mkdir()
    shutil.move(home / "data", home / "run" / "data")
    refuse_overlap([home / "run" / "data"], paths_written_for(home / "run" / "classifier"), "output")


@pytest.mark.parametrize("start", ["mini-copy", "mini-copy/classifier", "./mini-copy"])
def test_a_run_does_not_replace_the_one_that_it_starts_from(home: Path, start: str) -> None:
    before = files(home)
    with pytest.raises(InputError, match="what is read"):
        train_classifier(configuration("output=mini-copy"), Path(start))
    assert files(home) == before


@pytest.mark.parametrize("name", ["a.lock", "a.lock.pid", "a.plan.part", "a.lock.pid.part", "a.plan", "a.partial", "a"])
def test_temporary_names_of_predict_batch_are_no_source(home: Path, name: str) -> None:
    (home / name).write_text(ROWS, encoding="utf-8")
    with pytest.raises(InputError, match="is what is to be answered"):
        predict_batch(BatchOptions(name, Path("a"), labels_only=True, restart=True), None, EngineChoice("onnx"))
    assert (home / name).read_text(encoding="utf-8") == ROWS


@pytest.mark.parametrize("out", ["mini-copy/manifest.json", "mini-copy/classifier/labels.json"])
def test_answers_do_not_replace_a_file_of_the_model(home: Path, out: str) -> None:
    before = files(home)
    options = BatchOptions("t.csv", Path(out), labels_only=True, restart=True)
    with pytest.raises(InputError, match="lies in what is read"):
        predict_batch(options, home / "mini-copy", EngineChoice("onnx"))
    assert files(home) == before


@pytest.mark.parametrize("out", ["mini-copy", "mini-copy/bundle", "mini-copy/classifier", "mini-copy/../mini-copy"])
def test_a_bundle_is_not_written_over_its_model(home: Path, out: str) -> None:
    before = files(home)
    with pytest.raises(InputError, match="what is read"):
        export(ExportOptions(home / "mini-copy", Path(out), quant="none", onnx=True, check=2))
    assert files(home) == before


@pytest.mark.parametrize("out", ["mini-copy", "mini-copy/classifier", "data", "data/report"])
def test_a_comparison_is_not_written_over_a_run_or_the_data(home: Path, out: str) -> None:
    before = files(home)
    with pytest.raises(InputError, match="what is read"):
        compare(CompareOptions([Path("mini-copy")], Path(out), data="data", with_zero_shot=False))
    assert files(home) == before


def test_a_base_does_not_replace_what_it_starts_from(home: Path) -> None:
    (home / "mini-copy" / "base" / "run.json").write_text("{}")
    before = files(home)
    with pytest.raises(InputError, match="holds what is read"):
        pretrain(PretrainConfig(source="sample", init_from="mini-copy/base", output="./mini-copy/base"))
    assert files(home) == before


def path_parameters() -> list[tuple[str, str, Any]]:
    """Command, parameter and typer's facts of everything that is declared as a path."""
    found = []
    waiting = [cli.app]
    while waiting:
        app = waiting.pop()
        waiting += [group.typer_instance for group in app.registered_groups if group.typer_instance]
        callbacks = [command.callback for command in app.registered_commands]
        callbacks += [app.registered_callback.callback] if app.registered_callback else []
        for callback in filter(None, callbacks):
            for name, hint in get_type_hints(callback, include_extras=True).items():
                if "pathlib" in str(get_args(hint)[:1]):
                    found.append((callback.__name__, name, hint.__metadata__[0]))
    return found


def test_every_path_of_the_command_line_knows_the_home_folder(home: Path) -> None:
    parameters = path_parameters()
    assert len(parameters) > 25
    parsers = (options.path, model_path)
    assert not [f"{command} {name}" for command, name, facts in parameters if facts.parser not in parsers]
    assert options.path("~/x") == model_path("~/x") == home / "x" and options.path("-") == Path("-")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["verify", "~/mini-copy"], "files as they were written"),
        (["predict", "~/ticket.txt", "--model", "~/mini-copy", "--labels-only"], "priority"),
        (["check", "--config", "~/c.yaml"], "training and"),
    ],
)
def test_the_home_folder_on_the_command_line(
    home: Path, words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "ticket.txt").write_text("My printer is broken.")
    (home / "c.yaml").write_text("extends: ~/below.yaml\ndata: {path: ~/data, max_train: 64}\noutput: ~/out\n")
    (home / "below.yaml").write_text("classifier: {columns: [type]}\n")
    monkeypatch.setattr(sys, "argv", ["duet", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0 and told in capsys.readouterr().out
    assert not (home / "~").exists()


def test_the_home_folder_in_a_configuration_and_a_variable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration("output=~/out").folder == home / "out"
    with pytest.raises(InputError, match="no home folder of that name"):
        resolve_data("~nobody-of-this-name/data")
    for name in ("a\0b", "a" * 256, "x/\ud800", "ä" * 128):
        for call in (resolve_data, lambda name: configuration(f"output={json.dumps(name)}").folder, options.path):
            with pytest.raises(InputError, match="no path") as error:
                call(name)
            assert "\n" not in str(error.value)
    monkeypatch.setenv("DUET_MODEL", "~/mini-copy")
    assert predict_batch(BatchOptions("~/t.csv", Path("~/a.jsonl"), labels_only=True), None, EngineChoice("onnx")) == 3


def test_another_spelling_goes_on_with_what_is_unfinished(home: Path) -> None:
    config, texts = PretrainConfig(source="data", output="out"), Texts([], [], "x")
    spelt = PretrainConfig(source="./data", output="./out")
    assert _plan(config, texts, None) == _plan(spelt, texts, None)
    model = open_model(home / "mini-copy")
    (home / "a.jsonl.partial").write_bytes(b"{}")
    for place, source in enumerate(("t.csv", "./t.csv", "~/t.csv", str(home / "t.csv"))):
        plan = batch._plan(BatchOptions(source, Path("a.jsonl")), model, EngineChoice())
        if place == 0:
            (home / "a.jsonl.plan").write_text(json.dumps(plan))
        with (home / "a.jsonl.partial").open("rb") as file:
            batch._check_plan(file, home / "a.jsonl.partial", home / "a.jsonl.plan", plan)
    (home / "t.csv").write_text(ROWS + "t9,s,more\n")
    plan = batch._plan(BatchOptions("t.csv", Path("a.jsonl")), model, EngineChoice())
    with (
        (home / "a.jsonl.partial").open("rb") as file,
        pytest.raises(InputError, match=r"with another content \("),
    ):
        batch._check_plan(file, home / "a.jsonl.partial", home / "a.jsonl.plan", plan)


def test_links_in_a_circle_are_no_place(home: Path) -> None:
    (home / "a").symlink_to("b")
    (home / "b").symlink_to("a")
    assert not holds("a", home / "data") and holds("a", home / "a")
