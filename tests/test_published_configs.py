"""Every published configuration, exactly as written but for base and data, on a tiny Qwen2 with the real tokenizer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from peft.tuners.lora import LoraLayer

from backbone.config import load_config
from backbone.stage import open_stage
from classifier.train import build_model, train_classifier
from generator.train import train_generator
from pipeline.check import check
from pipeline.two_stage import load_two_stage
from tickets.labels import LabelSpace
from tickets.schema import Ticket

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("qwen2-*.yaml"))


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def overrides(request: pytest.FixtureRequest) -> Iterator[tuple[Path, list[str]]]:
    base = request.getfixturevalue("real_tokenizer_base")
    data, out = request.getfixturevalue("small_data"), request.getfixturevalue("tmp_path") / "run"
    yield (
        request.param,
        [
            f"base.path={base}",
            f"data.path={data}",
            f"output={out}",
            "classifier.training.max_steps=1",
            "generator.training.max_steps=1",
            "generator.rouge_sample=1",
            "decoding.max_new_tokens=4",
        ],
    )


def test_it_trains_both_adapters_and_answers(overrides: tuple[Path, list[str]], tickets: list[Ticket]) -> None:
    config = load_config(*overrides)
    assert "tokens with loss" in check(config)
    train_classifier(config)
    train_generator(config)
    answers = load_two_stage(config.folder).answer(tickets[:2])
    assert all(set(answer.prediction.labels) == {"type", "queue", "priority"} for answer in answers)
    assert all(answer.reply is not None for answer in answers)


def test_weights_are_in_the_wanted_format(overrides: tuple[Path, list[str]]) -> None:
    config = load_config(*overrides)
    stage = open_stage("classifier", config)
    model = build_model(stage, LabelSpace.learn(stage.train, ["type"], 5))
    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    assert len(adapted) == 2 * 7  # layers x linear layers
    wanted = "Params4bit" if config.base.precision == "nf4" else "Parameter"
    assert {type(module.base_layer.weight).__name__ for _, module in adapted} == {wanted}
    dtypes = {name: parameter.dtype for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {str(dtype) for dtype in dtypes.values()} == {"torch.float32"}
    assert str(model.base_model.model.model.embed_tokens.weight.dtype) == "torch.bfloat16"
