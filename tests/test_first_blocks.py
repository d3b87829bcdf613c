"""A classifier that reads with the first blocks of its base: the same states on every engine, nothing above them."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backbone.adapters import read_adapter
from backbone.config import DecodingConfig, RunConfig
from backbone.load import first_blocks
from backbone.runs.layout import ADAPTER, CLASSIFIER, GENERATOR
from backbone.training.stage import _relevant
from classifier.train import train_classifier
from engines.layered import LayeredEngine
from engines.protocols import Row
from engines.torch import TorchEngine
from generator.train import train_generator
from pipeline.check import check
from pipeline.engine_choice import EngineChoice
from pipeline.export.export import export
from pipeline.export.options import ExportOptions
from pipeline.model_folder import open_model
from pipeline.two_stage import load_two_stage
from tests.bases import build_base, build_qwen3, build_smollm2
from tests.conftest import MakeConfig, merged, random_adapter
from tickets.errors import InputError
from tickets.schema import Ticket

pytestmark = pytest.mark.slow

GREEDY = DecodingConfig(max_new_tokens=12)
PROMPTS = ([5, 6, 7, 8, 9, 10, 11], [5, 6, 20, 21], list(range(5, 60)))


def states_of(base: Path, adapter: Any, count: int, prompts: Sequence[Sequence[int]]) -> np.ndarray:
    """What transformers makes of the first `count` blocks alone."""
    model = merged(base, adapter).model
    model.layers = model.layers[:count]
    with torch.inference_mode():
        rows = [model(torch.tensor([list(ids)])).last_hidden_state[0, -1].numpy() for ids in prompts]
    return np.stack(rows)


@pytest.fixture(scope="module", params=[build_base, build_qwen3, build_smollm2])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found: Path = request.param(tmp_path_factory.mktemp("base") / "tiny")
    return found


def llama_engine(
    base: Path, folder: Path, names: Sequence[str], reads_for_replies: bool = False, threads: int = 1
) -> Any:
    pytest.importorskip("llama_cpp")
    from backbone.gguf_files import write_adapter, write_base
    from engines.kv_allocator import ContextSizes
    from engines.llama import LlamaEngine
    from engines.llama_model import LlamaOptions

    if not (folder / "base.gguf").exists():
        write_base(base, folder / "base.gguf", "tiny")
        for seed, name in enumerate((CLASSIFIER, GENERATOR)):
            write_adapter(random_adapter(base, seed), folder / f"{name}.gguf", base, name)
    return LlamaEngine(
        folder / "base.gguf",
        {name: folder / f"{name}.gguf" for name in names},
        dict.fromkeys(names, (5, 6)),
        (1,),
        ContextSizes(2, 512),
        LlamaOptions(threads=threads, batch=16),  # fewer than a prompt has
        blocks={CLASSIFIER: 1},
        reads_for_replies=reads_for_replies,
    )


def write(engine: Any, rows: Sequence[Row]) -> None:
    """Write rows, and those in flight, to their ends."""
    waiting = list(rows)
    while waiting or engine._live:
        while waiting and engine.admit(waiting[0]):
            waiting.pop(0)
        engine.step()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("names", "reads_for_replies"),
    [([CLASSIFIER], False), ([CLASSIFIER, GENERATOR], False), ([CLASSIFIER, GENERATOR], True)],
    ids=["labels alone", "a context of its own", "one context"],
)
def test_llama_reads_with_the_first_blocks(
    base: Path, tmp_path: Path, names: list[str], reads_for_replies: bool, threads: int
) -> None:
    engine = llama_engine(base, tmp_path, names, reads_for_replies, threads)
    expected = states_of(base, random_adapter(base, 0), 1, PROMPTS)
    for _ in range(2):  # the second time the beginning is there
        np.testing.assert_allclose(engine.encode(PROMPTS, CLASSIFIER), expected, atol=2e-2)
    if GENERATOR not in names:
        return
    writer = merged(base, random_adapter(base, 1))
    rows = [Row(list(ids), GENERATOR, GREEDY) for ids in PROMPTS]
    assert engine.admit(rows[0])
    engine.step()
    np.testing.assert_allclose(engine.encode(PROMPTS, CLASSIFIER), expected, atol=2e-2)  # while a reply is written
    write(engine, rows[1:])
    for row in rows:
        ids = torch.tensor([[*row.prompt, *row.written]])
        with torch.inference_mode():
            logits = writer(ids).logits[0, len(row.prompt) - 1 :]
        chosen = logits[range(len(row.written)), row.written]
        assert row.written and (logits[: len(row.written)].max(dim=-1).values - chosen).max() < 0.02


def test_a_reply_goes_on_from_a_prefix_that_was_computed_whole(base: Path, tmp_path: Path) -> None:
    engine = llama_engine(base, tmp_path, [CLASSIFIER, GENERATOR], reads_for_replies=True)
    prompt, read = PROMPTS[2], 30
    engine.encode_and_cache([prompt], CLASSIFIER, [read])
    assert engine.cached_prefixes == 1
    row = Row(prompt, GENERATOR, GREEDY, prefix_adapter=CLASSIFIER, prefix_length=read)
    write(engine, [row])
    reader, writer = merged(base, random_adapter(base, 0)), merged(base, random_adapter(base, 1))
    with torch.inference_mode():
        cache = reader(torch.tensor([prompt[:read]]), use_cache=True).cache
        logits = writer(torch.tensor([[*prompt[read:], *row.written]]), cache=cache).logits[0]
    logits = logits[len(prompt) - read - 1 :][: len(row.written)]
    assert (logits.max(dim=-1).values - logits[range(len(row.written)), row.written]).max() < 0.02


@pytest.fixture(scope="module")
def run(trained_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A classifier on the first of two blocks, and a generator on both."""
    output = tmp_path_factory.mktemp("shallow") / "run"
    classifier = trained_run.classifier.model_copy(update={"layers": 1})
    config = trained_run.model_copy(update={"output": str(output), "classifier": classifier})
    train_classifier(config)
    shutil.copytree(trained_run.folder / GENERATOR, output / GENERATOR)
    return config


def test_training_builds_the_first_blocks_alone(run: RunConfig) -> None:
    assert {name.split(".")[2] for name in read_adapter(run.folder / CLASSIFIER / ADAPTER)} == {"0"}
    assert {name.split(".")[2] for name in read_adapter(run.folder / GENERATOR / ADAPTER)} == {"0", "1"}


def test_torch_engines_read_with_the_first_blocks(run: RunConfig, tickets: list[Ticket]) -> None:
    adapters = {stage: run.folder / stage / ADAPTER for stage in (CLASSIFIER, GENERATOR)}
    encoder, base = open_model(run.folder).any_stage.encoder, Path(run.base.path)
    prompts = [encoder.classifier_prompt(ticket, 200).ids for ticket in tickets[:9]]
    changes = read_adapter(adapters[CLASSIFIER])
    expected = states_of(base, changes, 1, prompts)
    assert np.abs(expected - states_of(base, changes, 2, prompts)).max() > 0.1
    whole = TorchEngine(base, adapters, run.base, encoder.pad_id, encoder.end_id, {CLASSIFIER: 1})
    alone = TorchEngine(
        base, {CLASSIFIER: adapters[CLASSIFIER]}, run.base, encoder.pad_id, encoder.end_id, {CLASSIFIER: 1}
    )
    layered = LayeredEngine(base, adapters, run.base, encoder.pad_id, {CLASSIFIER: 1})
    for engine in (whole, alone, layered):
        np.testing.assert_allclose(engine.encode(prompts, CLASSIFIER), expected, atol=1e-4)
    assert (len(whole._model.model.layers), len(alone._model.model.layers)) == (2, 1)
    generated = TorchEngine(base, adapters, run.base, encoder.pad_id, encoder.end_id)
    assert whole.generate(prompts, GENERATOR, GREEDY) == generated.generate(prompts, GENERATOR, GREEDY)


def answers(model: Path, engine: str, tickets: Sequence[Ticket], labels_only: bool = False) -> list[Any]:
    found = load_two_stage(model, labels_only, EngineChoice(engine, together=4)).answer(tickets, labels_only)
    return [(one.prediction.labels, one.reply) for one in found]


@pytest.mark.parametrize("reading", ["own", "classifier"])
def test_every_engine_answers_alike(run: RunConfig, tickets: list[Ticket], tmp_path: Path, reading: str) -> None:
    pytest.importorskip("llama_cpp")
    config = run
    if reading == "classifier":
        shutil.copytree(run.folder / CLASSIFIER, tmp_path / "run" / CLASSIFIER)
        generator = run.generator.model_copy(update={"reading": "classifier"})
        config = run.model_copy(update={"output": str(tmp_path / "run"), "generator": generator})
        train_generator(config)
    told = export(ExportOptions(config.folder, tmp_path / "bundle", quant="f16", onnx=True, int8=False, check=24))
    assert told.count(" 0 labels changed") == 6 and "16 of 16 equal" in told
    assert_graph_is_shorter(tmp_path / "bundle")
    expected = answers(config.folder, "torch", tickets[:6])
    for engine in ("auto", "llama", "onnx", "torch"):
        assert answers(tmp_path / "bundle", engine, tickets[:6]) == expected
    for engine in ("llama", "onnx", "torch"):
        labels = answers(tmp_path / "bundle", engine, tickets[:6], labels_only=True)
        assert labels == [(one, None) for one, _ in expected]


def assert_graph_is_shorter(bundle: Path) -> None:
    import onnx

    (path,) = bundle.rglob("*.onnx")
    nodes = onnx.load(path, load_external_data=False).graph.node
    assert sum(node.op_type == "Attention" for node in nodes) == 1


def test_more_blocks_than_there_are_is_one_line(make_config: MakeConfig, tiny_base: Path) -> None:
    config = make_config(classifier__layers=3)
    for attempt in (train_classifier, check):
        with pytest.raises(InputError, match=r"classifier\.layers: found 3, expected at most 2, the blocks of"):
            attempt(config)
    assert "blocks 1 to 1 of the base" in check(make_config(classifier__layers=1))
    assert first_blocks(tiny_base, None) == {}


def test_all_blocks_by_number_are_all_blocks(make_config: MakeConfig, tickets: list[Ticket], tmp_path: Path) -> None:
    runs = [make_config(classifier__layers=2, output=tmp_path / "two"), make_config(output=tmp_path / "all")]
    for config in runs:
        train_classifier(config)
    assert answers(runs[0].folder, "torch", tickets[:6], True) == answers(runs[1].folder, "torch", tickets[:6], True)


def test_plans_of_before_are_plans_of_now(make_config: MakeConfig) -> None:
    assert "layers" not in _relevant(CLASSIFIER, make_config())[CLASSIFIER]
    assert _relevant(CLASSIFIER, make_config(classifier__layers=1))[CLASSIFIER]["layers"] == 1
