"""Which model answers where none is named, and what is made for it at the first use."""

import json
import shutil
from pathlib import Path

import pytest

from backbone import packaged_base, shipped
from backbone.config import RunConfig
from backbone.runs.layout import CLASSIFIER, GENERATOR
from pipeline import shipped as opening
from pipeline.engine_choice import EngineChoice
from pipeline.two_stage import load_two_stage
from tickets.errors import InputError, WorkError
from tickets.schema import Ticket

TICKET = Ticket("t", "VPN", "Our VPN drops every hour.")


@pytest.fixture
def with_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trained_run: RunConfig) -> Path:
    """A machine with the package, on which a tiny trained model stands for the shipped one; returns its folder."""
    folder = tmp_path / "shipped" / "smollm2"
    for stage in (CLASSIFIER, GENERATOR):
        shutil.copytree(trained_run.folder / stage, folder / stage)
    monkeypatch.delenv(shipped.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(packaged_base, "is_installed", lambda: True)
    monkeypatch.setattr(shipped, "shipped_folder", lambda name: tmp_path / "shipped" / name)
    return folder


def test_the_model_is_named_by_path_variable_or_what_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(shipped.VARIABLE, str(tmp_path))
    assert shipped.resolve_model(None) == tmp_path
    assert shipped.resolve_model(Path("runs/mine")) == Path("runs/mine")
    assert shipped.resolve_model(Path("mini")) == shipped.mini_folder()
    assert shipped.resolve_model(Path("smollm2")) == shipped.smollm2_folder()
    monkeypatch.setenv(shipped.VARIABLE, "smollm2")
    assert shipped.resolve_model(None) == shipped.smollm2_folder()
    assert capsys.readouterr().err == ""
    monkeypatch.delenv(shipped.VARIABLE)
    for is_installed, folder in ((True, shipped.smollm2_folder()), (False, shipped.mini_folder())):
        monkeypatch.setattr(packaged_base, "is_installed", lambda there=is_installed: there)
        assert shipped.resolve_model(None) == folder
        assert ("SmolLM2-135M" in capsys.readouterr().err) == is_installed


@pytest.mark.slow
def test_the_bundle_is_made_once_and_answers_as_the_runs_do(
    with_package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("llama_cpp")
    torch = load_two_stage(None, choice=EngineChoice("torch")).answer([TICKET])[0]
    assert "making the GGUF" not in capsys.readouterr().err
    first = opening.open_to_answer(None)
    assert "making the GGUF of the shipped model" in capsys.readouterr().err
    assert first.bundle is not None and first.bundle.quant == "q8_0"
    assert opening.open_to_answer(None).path == first.path
    assert "making" not in capsys.readouterr().err
    assert load_two_stage(None).answer([TICKET])[0].prediction.labels == torch.prediction.labels
    weights = first.path / "base.q8_0.gguf"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"or delete .*, and it is made again|damaged"):
        load_two_stage(None)
    config = first.path / CLASSIFIER / "labels.json"
    config.write_text(json.dumps({}), encoding="utf-8")
    with pytest.raises(InputError, match=r"or delete .*, and it is made again"):
        opening.open_to_answer(None)


@pytest.mark.slow
def test_torch_answers_where_the_bundle_cannot_be_made(
    with_package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("llama_cpp")

    def refused(_: object) -> str:
        raise WorkError("the disk is full")

    monkeypatch.setattr("pipeline.export.export.export", refused)
    assert opening.open_to_answer(None).path == with_package
    assert capsys.readouterr().err.endswith(
        "note: torch is used, because the GGUF could not be made: the disk is full\n"
    )
    monkeypatch.setattr(opening, "find_spec", lambda name: None)
    assert opening.open_to_answer(None).bundle is None
    assert "llama-cpp-python is not installed, so torch is used" in capsys.readouterr().err
