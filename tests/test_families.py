"""Base families: found by their files, trained, exported and served alike; anything else is refused in one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from backbone.architecture import FAMILIES, base_tensors, find_family, read_shape
from backbone.base import find_base
from backbone.config import RunConfig
from backbone.training.cost import Shape
from classifier.train import train_classifier
from generator.single_prompt.train import train_baseline
from generator.train import train_generator
from pipeline.check import check
from pipeline.engine_choice import EngineChoice
from pipeline.export.export import export
from pipeline.export.options import ExportOptions
from pipeline.two_stage import load_two_stage
from tests.conftest import MakeConfig
from tickets.errors import InputError
from tickets.schema import Ticket

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["tiny_base", "qwen3_base", "smollm2_base"])
def base(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


@pytest.mark.parametrize(
    ("fixture", "name"),
    [("tiny_base", "Qwen2 and Qwen2.5"), ("qwen3_base", "Qwen3 (dense)"), ("smollm2_base", "SmolLM2")],
)
def test_a_family_is_known_by_its_files(fixture: str, name: str, request: pytest.FixtureRequest) -> None:
    assert find_family(request.getfixturevalue(fixture)).name == name


def test_the_tensors_of_a_record_are_those_of_the_library(base: Path) -> None:
    tensors = load_file(base / "model.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == base_tensors(find_family(base), read_shape(base))
    shape = Shape.of(read_shape(base), ("q_proj", "v_proj"))
    assert shape.linear == sum(t.numel() for name, t in tensors.items() if "_proj.weight" in name)
    per_rank = sum(sum(t.shape) for name, t in tensors.items() if name.endswith(("q_proj.weight", "v_proj.weight")))
    assert shape.per_rank == per_rank


def test_the_whole_path_from_training_to_the_bundle(
    base: Path, make_config: MakeConfig, tmp_path: Path, tickets: list[Ticket]
) -> None:
    settings: dict[str, object] = {"base__path": base, "baseline__training__max_length": 1024}
    for stage in ("classifier", "generator", "baseline"):  # strong enough to be seen
        settings |= {f"{stage}__training__learning_rate": 0.02, f"{stage}__training__max_steps": 4}
    config = make_config(**settings)
    assert "billion parameters" in check(config)
    train_classifier(config)
    train_generator(config)
    train_baseline(config)
    bundle = tmp_path / "bundle"
    text = export(ExportOptions(config.folder, bundle, quant="f16", onnx=True, merged=True, check=8))
    assert "GGUF f16" in text and "ONNX fp32" in text
    expected = load_two_stage(config.folder, choice=EngineChoice("torch", 4)).answer(tickets[:4])
    answers = load_two_stage(bundle, choice=EngineChoice("llama", 4)).answer(tickets[:4])
    for answer, reference in zip(answers, expected, strict=True):
        assert answer.prediction.labels == reference.prediction.labels
        assert answer.reply is not None
        for column, confidence in reference.prediction.confidence.items():
            assert answer.prediction.confidence[column] == pytest.approx(confidence, abs=0.02)


def test_a_run_on_one_family_is_refused_on_another(
    make_config: MakeConfig, qwen3_base: Path, smollm2_base: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(qwen3_base, tmp_path / "base")
    config = make_config(base__path=base, classifier__training__max_steps=1)
    train_classifier(config)
    shutil.rmtree(base)
    shutil.copytree(smollm2_base, base)
    with pytest.raises(InputError, match="was trained on another base"):
        load_two_stage(config.folder, labels_only=True)


@pytest.mark.parametrize("method", ["awq", "gptq", "bitsandbytes"])
def test_quantised_weights_are_refused(
    method: str, base: Path, tmp_path: Path, make_config: Callable[..., RunConfig]
) -> None:
    copy = shutil.copytree(base, tmp_path / "base")
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": method}}))
    for use in (check, train_classifier):
        with pytest.raises(InputError) as error:
            use(make_config(base__path=copy))
        assert f"weights are quantised ({method}); expected the unquantised model; set base.path to" in str(error.value)
        assert find_family(base).example in str(error.value) and "base.precision=nf4" in str(error.value)


def change_tensors(base: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    copy = shutil.copytree(base, folder)
    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def test_missing_unknown_and_misshapen_tensors_are_refused(base: Path, tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    lacking = change_tensors(base, tmp_path / "lacking", lambda t: t.pop(name))
    with pytest.raises(InputError, match=rf"found weights without {name}; expected the tensors of a"):
        find_base(str(lacking))
    strange = change_tensors(base, tmp_path / "strange", lambda t: t.update(extra=t["model.norm.weight"].clone()))
    with pytest.raises(InputError, match="found weights with extra; expected"):
        find_base(str(strange))
    bent = change_tensors(base, tmp_path / "bent", lambda t: t.update({name: t[name][:-1].clone()}))
    with pytest.raises(InputError, match=rf"found {name} of shape \[127, 64\], expected \[128, 64\]"):
        find_base(str(bent))


def test_an_index_of_weights_leads_nowhere_else(base: Path, tmp_path: Path) -> None:
    copy = change_tensors(base, tmp_path / "base", lambda t: None)
    index = {"weight_map": {"model.norm.weight": "../other/model.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"names '../other/model.safetensors', which is no file of this folder"):
        find_base(str(copy))


def test_norms_of_another_family_do_not_pass(tiny_base: Path, tmp_path: Path) -> None:
    """A Qwen3 under Qwen2's name would load with its head norms dropped in silence."""
    copy = change_tensors(
        tiny_base,
        tmp_path / "base",
        lambda t: t.update({"model.layers.0.self_attn.q_norm.weight": t["model.norm.weight"][:16].clone()}),
    )
    with pytest.raises(InputError, match=r"found weights with model\.layers\.0\.self_attn\.q_norm"):
        find_base(str(copy))


def test_a_llama_with_another_tokenizer_is_refused(smollm2_base: Path, tiny_base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(smollm2_base, tmp_path / "base")
    shutil.copyfile(tiny_base / "tokenizer.json", copy / "tokenizer.json")
    with pytest.raises(InputError, match="a llama model with another tokenizer than SmolLM2 has"):
        find_base(str(copy))


def test_every_record_names_an_example() -> None:
    assert all(family.example.count("/") == 1 for family in FAMILIES)
    assert np.unique([family.name for family in FAMILIES]).size == len(FAMILIES)
