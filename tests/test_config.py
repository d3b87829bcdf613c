from pathlib import Path

import pytest

from backbone.config import RunConfig
from backbone.config_file import dump_config, load_config
from tickets.errors import InputError

CONFIGS = [p for p in sorted((Path(__file__).parent.parent / "configs").glob("*.yaml")) if p.stem != "mini-base"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_loads_and_survives_a_round_trip(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump_config(config), encoding="utf-8")
    assert load_config(copy) == config


def test_without_a_path_the_mini_configuration_is_used() -> None:
    assert load_config(None).base.path == "mini"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("lora.rnk=8", ["'lora.rnk'", "nearest valid key: 'lora.rank'"]),
        ("clasifier.max_tags=3", ["'clasifier'", "'classifier'"]),
        ("lora.rank=many", ["'lora.rank'", "'many'", "integer"]),
        ("lora.rank=0", ["lora.rank", "greater than or equal to 1"]),
        ("lora", ["key=value"]),
        ("lora.rank.deep=1", ["'rank' is a value"]),
        ("classifier.training.batch_tokens=64", ["batch_tokens 64 is below max_length"]),
        ("base.precision=int3", ["base.precision", "'int3'", "nf4"]),
        ("lora.targets=foo_proj", ["'lora.targets'", "q_proj, or all-linear", "--set lora.targets="]),
        ("classifier.class_weights=heavy", ["'classifier.class_weights'", "none, balanced, effective"]),
        ("classifier.class_weights={priority: {low: -1}}", ["'classifier.class_weights'", "--set classifier.class_w"]),
        ("classifier.training.max_steps=0", ["'classifier.training.max_steps'", "found 0", "1 or more, or -1 for all"]),
    ],
)
def test_errors_name_key_value_and_mend(override: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        load_config(None, [override])
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_overrides_reach_nested_keys_and_read_numbers_as_people_write_them() -> None:
    config = load_config(None, ["lora.rank=64", "classifier.training.learning_rate=2e-4", "base.path=Qwen/Qwen2-7B"])
    assert (config.lora.rank, config.classifier.training.learning_rate) == (64, 2e-4)
    assert config.base.path == "Qwen/Qwen2-7B"
    assert config.lora.scale == 128


def test_class_weights_take_names_and_explicit_weights() -> None:
    config = load_config(None, ["classifier.class_weights={priority: {low: 2.0}, queue: balanced}"])
    assert config.classifier.class_weights == {"priority": {"low": 2.0}, "queue": "balanced"}


def test_missing_and_broken_files_are_one_line_each(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1\n", encoding="utf-8")
    listed = tmp_path / "list.yaml"
    listed.write_text("- 1\n", encoding="utf-8")
    for path in (tmp_path / "none.yaml", broken, listed):
        with pytest.raises(InputError) as caught:
            load_config(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


def test_run_folder_defaults_to_the_name() -> None:
    assert RunConfig(name="trial").folder == Path("runs/trial")


@pytest.mark.parametrize(
    "key",
    [
        "lora.rank",
        "lora.dropout",
        "seed",
        "name",
        "data.max_train",
        "classifier.layers",
        "classifier.adjustment",
        "classifier.review_accuracy",
        "classifier.training.epochs",
        "decoding.temperature",
    ],
)
@pytest.mark.parametrize("value", ["true", "false", "{type: true}"])
def test_true_and_false_are_no_numbers(key: str, value: str) -> None:
    with pytest.raises(InputError, match=key) as caught:
        load_config(None, [f"{key}={value}"])
    assert "\n" not in str(caught.value)


def test_true_and_false_stay_where_they_belong() -> None:
    config = load_config(None, ["base.gradient_checkpointing=true", "tensorboard=true", "decoding.mask_contacts=false"])
    assert config.base.gradient_checkpointing is True and config.tensorboard and not config.decoding.mask_contacts
