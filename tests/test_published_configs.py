"""Every configuration, as written but for base, data, steps and their size, on a tiny base of its family."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from peft.tuners.lora import LoraLayer

from backbone.config_file import load_config
from backbone.load import unquantised_bytes
from backbone.training.stage import open_stage
from classifier.train import build_model, train_classifier
from generator.single_prompt.train import train_baseline
from generator.train import train_generator
from pipeline.check import check
from pipeline.single_prompt import load_single_prompt, open_single_prompt
from pipeline.two_stage import load_two_stage
from tickets.labels import LabelSpace
from tickets.schema import Ticket

pytestmark = pytest.mark.slow

STAGES = ("classifier", "generator", "baseline")
FOLDER = Path(__file__).parent.parent / "configs"
# configurations of real models, and the tiny base of their family that stands in
STAND_INS = {"qwen2": "real_tokenizer_base", "qwen3": "qwen3_base", "smollm2": "smollm2_base"}
CONFIGS = {path: base for family, base in STAND_INS.items() for path in sorted(FOLDER.glob(f"{family}-*.yaml"))}
PUBLISHED = sorted(FOLDER.glob("published*.yaml"))


@pytest.fixture(params=[*CONFIGS, *PUBLISHED], ids=lambda path: path.stem)
def overrides(request: pytest.FixtureRequest) -> Iterator[tuple[Path, list[str]]]:
    base = request.getfixturevalue(CONFIGS.get(request.param, "tiny_base"))
    data, out = request.getfixturevalue("small_data"), request.getfixturevalue("tmp_path") / "run"
    yield (
        request.param,
        [
            f"base.path={base}",
            f"data.path={data}",
            f"output={out}",
            "data.max_validation=3",
            *(f"{stage}.training.loss_sample=2" for stage in STAGES),
            *(f"{stage}.training.{key}" for stage in STAGES for key in ("max_steps=1", "batch_tickets=2")),
            "baseline.rouge_sample=1",
            "baseline.block_tokens=4",
            "generator.rouge_sample=1",
            "decoding.max_new_tokens=4",
        ],
    )


def test_it_trains_and_answers(overrides: tuple[Path, list[str]], tickets: list[Ticket]) -> None:
    config = load_config(*overrides)
    if overrides[0] in CONFIGS:  # `make published` is tested with both systems, in test_compare.py
        assert "tokens with loss" in check(config)
        train_classifier(config)
        train_generator(config)
        answers = load_two_stage(config.folder).answer(tickets[:2])
        assert all(set(answer.prediction.labels) == {"type", "queue", "priority"} for answer in answers)
        assert all(answer.reply is not None for answer in answers)
    train_baseline(config)
    stage = open_single_prompt(config.folder)
    assert stage is not None
    assert len(load_single_prompt(stage).write(tickets[:2])) == 2


def test_the_published_settings() -> None:
    for path in PUBLISHED:
        config = load_config(path)
        assert config.lora.scale == 2 * config.lora.rank
        for training in (config.classifier.training, config.generator.training, config.baseline.training):
            assert training.batch_tickets * training.accumulation == 32
            assert (training.max_length, training.warmup) == (2048, 0.1)
    ranks = [load_config(FOLDER / f"published-rank{rank}.yaml").lora.rank for rank in (32, 64, 128)]
    assert ranks == [32, 64, 128]
    first, second, third, fourth = (load_config(FOLDER / f"published-exp{n}.yaml") for n in (1, 2, 3, 4))
    training = first.baseline.training
    assert (training.learning_rate, training.weight_decay, training.epochs, first.lora.dropout) == (5e-5, 0.05, 2, 0.15)
    assert second.baseline.class_weights == {"priority": {"low": 2.0}}
    assert (third.baseline.sampling, third.baseline.training.patience) == ("priority", 3)
    assert fourth.base.precision == "nf4"


@pytest.mark.parametrize("overrides", CONFIGS, ids=lambda path: path.stem, indirect=True)
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
    wanted = {2: "torch.bfloat16", 4: "torch.float32"}[unquantised_bytes(stage.config.base)]
    assert str(model.base_model.model.model.embed_tokens.weight.dtype) == wanted
