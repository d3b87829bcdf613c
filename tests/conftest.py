"""Tiny Qwen2 models built in the test process, and small sets of the built-in tickets."""

import gc
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["DUET_MODEL"] = "mini"  # whatever is installed

import pytest
import torch

from backbone.adapters import LowRank
from backbone.architecture import base_tensors, find_family, read_shape
from backbone.config import ALL_LINEAR, RunConfig
from backbone.config_file import load_config
from backbone.dataset import load_part, resolve_data
from tests.bases import build_base, build_qwen3, build_smollm2
from tickets.schema import Ticket, write_tickets

torch.set_num_threads(1)  # tiny products; a test process per core
ROWS = "id,subject,body\n" + "".join(f"t{i},s,My printer {i} is broken\n" for i in range(3))
SHARED = Path(__file__).parent.parent.parent / "shared"


def pytest_collection_finish() -> None:
    """What is imported by now stays: the libraries collect garbage all the time, which walks through all of it."""
    gc.collect()
    gc.freeze()


def write_sparse_weights(folder: Path) -> None:
    """Write weights of the shape in config.json that take no room on the disk: a header, and a hole behind it."""
    header, end = {}, 0
    for name, size in base_tensors(find_family(folder), read_shape(folder)).items():
        length = 2 * math.prod(size)
        header[name] = {"dtype": "BF16", "shape": list(size), "data_offsets": [end, end + length]}
        end += length
    text = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def random_adapter(base: Path, seed: int, rank: int = 4, targets: Sequence[str] = ALL_LINEAR) -> dict[str, LowRank]:
    """Low-rank changes of a base's linear layers, strong enough to be seen."""
    model = find_family(base).transformers_class("ForCausalLM").from_pretrained(base, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    return {
        name: LowRank(
            torch.randn(rank, module.in_features, generator=generator) * 0.05,
            torch.randn(module.out_features, rank, generator=generator) * 0.05,
            2.0,
        )
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in targets
    }


def merged(base: Path, adapter: Mapping[str, LowRank]) -> Any:
    """A base with an adapter's changes in its weights: the reference that knows no adapters."""
    model = find_family(base).transformers_class("ForCausalLM").from_pretrained(base, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, change in adapter.items():
            weight = model.get_submodule(name).weight
            weight.copy_(change.merged(weight))
    return model


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder and the folder one is in, with a source of three rows."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(ROWS, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture(scope="session")
def qwen3_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_qwen3(tmp_path_factory.mktemp("base") / "qwen3")


@pytest.fixture(scope="session")
def smollm2_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_smollm2(tmp_path_factory.mktemp("base") / "smollm2")


@pytest.fixture(scope="session")
def real_tokenizer() -> Path:
    folder = SHARED / "tokenizer" / "qwen2"
    if not folder.is_dir():
        pytest.skip("the real Qwen2 tokenizer is not here")
    return folder


@pytest.fixture(scope="session")
def real_tokenizer_base(tmp_path_factory: pytest.TempPathFactory, real_tokenizer: Path) -> Path:
    """Two layers with the module names of Qwen2-7B and its tokenizer of 151,646 tokens, untied."""
    return build_base(tmp_path_factory.mktemp("base") / "qwen2", real_tokenizer, tied=False, bias=0.02)


@pytest.fixture(scope="session")
def tickets() -> list[Ticket]:
    return load_part(resolve_data("sample"), "train", 160)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory, tickets: list[Ticket]) -> Path:
    """80 training, 24 validation and 16 test tickets, every validation label seen in training."""
    folder = tmp_path_factory.mktemp("data")
    train = tickets[:80]
    seen = {column: {t.labels[column] for t in train} for column in ("type", "queue", "priority")}
    rest = [t for t in tickets[80:] if all(t.labels[column] in seen[column] for column in seen)]
    for name, part in {"train": train, "validation": rest[:24], "test": rest[24:40]}.items():
        write_tickets(folder / f"{name}.jsonl", part)
    return folder


@pytest.fixture(scope="session")
def trained_run(tiny_base: Path, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A finished classifier, generator and single prompt on the tiny base, with adapters strong enough to be seen."""
    from classifier.train import train_classifier
    from generator.single_prompt.train import train_baseline
    from generator.train import train_generator

    overrides = [
        f"base.path={tiny_base}",
        f"data.path={small_data}",
        f"output={tmp_path_factory.mktemp('run') / 'run'}",
    ]
    overrides += ["base.compute=fp32", "lora.rank=4", "decoding.max_new_tokens=12", "generator.rouge_sample=2"]
    overrides += ["baseline.rouge_sample=2", "baseline.block_tokens=40"]
    for stage in ("classifier", "generator", "baseline"):
        overrides += [f"{stage}.training.max_steps=8", f"{stage}.training.learning_rate=0.02"]
        overrides += [f"{stage}.training.max_length=256", f"{stage}.training.evaluations_per_epoch=1"]
    overrides.append("baseline.training.max_length=512")  # its prompt carries the label lists
    config = load_config(None, overrides)
    train_classifier(config)
    train_generator(config)
    train_baseline(config)
    return config


MakeConfig = Callable[..., RunConfig]


def as_overrides(config: RunConfig) -> list[str]:
    """`KEY=VALUE` for every key of a configuration, from which another process can build it."""

    def flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in record.items():
            found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return found

    values = flat(config.model_dump(mode="json"))
    # the output is told as it is: the harness appends to it
    return [
        f"{key}={value if key == 'output' else json.dumps(value)}" for key, value in values.items() if value is not None
    ]


@pytest.fixture
def make_config(tiny_base: Path, small_data: Path, tmp_path: Path) -> MakeConfig:
    """A two-evaluation run on the tiny base in fp32; keyword arguments are dotted keys with `__` for dots."""

    def make(**overrides: object) -> RunConfig:
        values: dict[str, object] = {
            "base__path": tiny_base,
            "base__compute": "fp32",
            "data__path": small_data,
            "output": tmp_path / "run",
            "lora__rank": 4,
            "lora__dropout": 0.1,
            "decoding__max_new_tokens": 8,
            "generator__rouge_sample": 2,
            "baseline__rouge_sample": 2,
            "baseline__block_tokens": 8,
        }
        for stage in ("classifier", "generator", "baseline"):
            values |= {
                f"{stage}__training__max_steps": 6,
                f"{stage}__training__evaluations_per_epoch": 2,
                f"{stage}__training__batch_tickets": 8,
                f"{stage}__training__loss_sample": 16,
                f"{stage}__training__patience": 50,
            }
        values |= overrides
        return load_config(None, [f"{key.replace('__', '.')}={value}" for key, value in values.items()])

    return make
