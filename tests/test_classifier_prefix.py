"""A generator that reuses the classifier's KV cache: exact in training, the same on every engine, read once."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from backbone.adapters import LowRank, read_adapter
from backbone.batches import causal_batch
from backbone.config import ALL_LINEAR, DecodingConfig, RunConfig
from backbone.layers.lora import set_classifier_prefix
from backbone.runs.layout import ADAPTER, CLASSIFIER, GENERATOR, MANIFEST
from classifier.train import train_classifier
from engines.layered import LayeredEngine
from engines.protocols import SharedPrefix
from engines.torch import TorchEngine
from engines.writing import write_all
from generator.train import train_generator
from pipeline.batch import BatchOptions, predict_batch
from pipeline.engine_choice import EngineChoice
from pipeline.export.export import export
from pipeline.export.options import ExportOptions
from pipeline.model_folder import open_model
from pipeline.scheduler import Request
from pipeline.two_stage import load_two_stage
from tests.conftest import MakeConfig, merged, random_adapter
from tests.test_packing import COMPLETIONS, PROMPTS, assert_same, gradients, replies_model
from tickets.errors import InputError
from tickets.schema import Ticket

pytestmark = pytest.mark.slow

READ = [2, 6, 1]  # of PROMPTS
FEWER = tuple(name for name in ALL_LINEAR if name not in ("q_proj", "down_proj"))  # a classifier that changes less
GREEDY = DecodingConfig(max_new_tokens=12)


def adapter_of(model: Any) -> dict[str, LowRank]:
    return {
        name.removeprefix("base_model.model."): LowRank(
            layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach(), layer.scaling["default"]
        )
        for name, layer in model.named_modules()
        if hasattr(layer, "lora_A")
    }


def by_two_models(reader: Any, writer: Any, prompt: list[int], completion: list[int], read: int) -> torch.Tensor:
    """Cross-entropy of a completion that `writer` predicts from keys and values that `reader` computed of the start."""
    cache = reader(torch.tensor([prompt[:read]]), use_cache=True).cache
    logits = writer(torch.tensor([[*prompt[read:], *completion]]), cache=cache).logits[0]
    return cross_entropy(logits[-len(completion) - 1 : -1], torch.tensor(completion), reduction="none")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("targets", [ALL_LINEAR, FEWER])
def test_losses_are_those_of_two_models_one_after_the_other(
    tiny_base: Path, packed: bool, targets: tuple[str, ...]
) -> None:
    model = replies_model(tiny_base)
    changes = random_adapter(tiny_base, seed=5, targets=targets)
    model.get_base_model().adapter_mask = set_classifier_prefix(model, changes)
    batch = causal_batch(PROMPTS, COMPLETIONS, 0, packed=packed, prefix_lengths=READ)
    found = model(**batch)
    with torch.inference_mode():
        models = merged(tiny_base, changes), merged(tiny_base, adapter_of(model))
        rows = zip(PROMPTS, COMPLETIONS, READ, strict=True)
        expected = torch.cat([by_two_models(*models, *row) for row in rows])
    torch.testing.assert_close(found.losses, expected, atol=1e-5, rtol=1e-4)
    own = model(
        **{name: value for name, value in batch.items() if name != "classifier_mask"}
        | {"classifier_mask": torch.zeros_like(batch["classifier_mask"])}
    )
    assert (own.losses - found.losses).abs().max() > 1e-3


def test_gradients_are_the_same_packed_padded_and_recomputed(tiny_base: Path) -> None:
    model = replies_model(tiny_base)
    changes = random_adapter(tiny_base, seed=5)
    model.get_base_model().adapter_mask = set_classifier_prefix(model, changes)
    padded = causal_batch(PROMPTS, COMPLETIONS, 0, prefix_lengths=READ)
    expected = gradients(model, model(**padded).loss)
    assert_same(
        gradients(model, model(**causal_batch(PROMPTS, COMPLETIONS, 0, packed=True, prefix_lengths=READ)).loss),
        expected,
    )
    model.get_base_model().gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.enable_input_require_grads()
    model.train()
    assert_same(gradients(model, model(**padded).loss), expected)


def test_a_layer_that_the_generator_leaves_alone_is_refused(tiny_base: Path) -> None:
    changes = random_adapter(tiny_base, seed=5)
    foreign = {"model.layers.0.self_attn.x_proj": next(iter(changes.values()))}
    with pytest.raises(InputError, match=r"x_proj, the generator's would not; expected the same lora\.targets"):
        set_classifier_prefix(replies_model(tiny_base), changes | foreign)


@pytest.fixture(scope="module")
def run(trained_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """The classifier of `trained_run`, and a generator that reuses its KV cache."""
    output = tmp_path_factory.mktemp("handed") / "run"
    shutil.copytree(trained_run.folder / CLASSIFIER, output / CLASSIFIER)
    generator = trained_run.generator.model_copy(update={"reading": "classifier"})
    config = trained_run.model_copy(update={"output": str(output), "generator": generator})
    train_generator(config)
    return config


@pytest.fixture(scope="module")
def bundle(run: RunConfig) -> Path:
    pytest.importorskip("llama_cpp")
    out = run.folder.with_name("bundle")
    text = export(ExportOptions(run.folder, out, quant="f16", onnx=True, check=24))
    assert "0 labels changed" in text and "16 of 16 equal" in text
    return out


def test_torch_engines_write_what_two_models_write(run: RunConfig, tickets: list[Ticket]) -> None:
    """The batched engine and the one that goes block by block."""
    adapters = {stage: run.folder / stage / ADAPTER for stage in (CLASSIFIER, GENERATOR)}
    encoder, base = open_model(run.folder).any_stage.encoder, Path(run.base.path)
    prompts = [encoder.generator_prompt(ticket, {"type": "Incident"}, 200).ids for ticket in tickets[:9]]
    shared_prefix = SharedPrefix(CLASSIFIER, [encoder.ticket_end(ids) for ids in prompts])
    engine = TorchEngine(base, adapters, run.base, encoder.pad_id, encoder.end_id)
    written = engine.generate(prompts, GENERATOR, GREEDY, shared_prefix=shared_prefix)
    assert written != engine.generate(prompts, GENERATOR, GREEDY)
    reader, writer = (merged(base, read_adapter(folder)) for folder in adapters.values())
    for ids, count, own in zip(prompts, shared_prefix.lengths, written, strict=True):
        with torch.inference_mode():
            cache = reader(torch.tensor([ids[:count]]), use_cache=True).cache
            logits = writer(torch.tensor([[*ids[count:], *own]]), cache=cache).logits[0]
        assert logits.argmax(dim=-1).tolist()[-len(own) - 1 : -1] == own
    layered = LayeredEngine(base, adapters, run.base, encoder.pad_id)
    chosen = layered.choices(prompts, written, GENERATOR, shared_prefix)
    assert [row[: len(ids)] for row, ids in zip(chosen, written, strict=True)] == written


@pytest.mark.parametrize("engine", ["auto", "llama", "onnx", "torch"])
def test_every_engine_answers_alike(bundle: Path, run: RunConfig, engine: str, tickets: list[Ticket]) -> None:
    expected = load_two_stage(run.folder).answer(tickets[:6])
    system = load_two_stage(bundle, choice=EngineChoice(engine, together=4))
    assert (system.prefix_caching_engine is not None) == (engine in ("auto", "llama"))
    found = system.answer(tickets[:6])
    if engine != "onnx":  # whose int8 labels may differ
        assert [one.prediction.labels for one in found] == [one.prediction.labels for one in expected]
        assert [one.reply for one in found] == [one.reply for one in expected]


def decoded(engine: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens every call of the context computes from now on."""
    counts: list[int] = []
    real = engine._context.decode

    def counting(ids: Any, *rest: Any) -> None:
        counts.append(len(ids))
        real(ids, *rest)

    monkeypatch.setattr(engine._context, "decode", counting)
    return counts


class Stages:
    """Both stages of a system one after the other, for a closed list of tickets."""

    def __init__(self, bundle: Path, together: int) -> None:
        self.system: Any = load_two_stage(bundle, choice=EngineChoice("llama", together=together))
        self.engine: Any = self.system.label_engine

    def label(self, tickets: list[Ticket]) -> list[Any]:
        """Labels, and as many readings kept as there is room for."""
        ids = [prompt.ids for prompt in self.system.classifier.prompts(tickets)]
        lengths = [self.system.classifier.encoder.ticket_end(one) for one in ids]
        states = self.engine.encode_and_cache(ids, CLASSIFIER, lengths)
        return [one.labels for one in self.system.classifier.predict(states)]

    def reply(self, tickets: list[Ticket], labels: list[Any], on_token: Any = None) -> list[str]:
        generator = self.system.generator
        ids = [prompt.ids for prompt in generator.prompts(tickets, labels)]
        shared_prefix = generator.shared_prefix(ids)
        written = write_all(self.engine, ids, GENERATOR, generator.decoding, on_token, shared_prefix=shared_prefix)
        return [generator.text(one) for one in written]

    def reading(self, ticket: Ticket) -> tuple[int, ...]:
        """What the classifier reads of a ticket."""
        ids = self.system.classifier.prompts([ticket])[0].ids
        return tuple(ids[: self.system.classifier.encoder.ticket_end(ids)])

    def cut_alike(self, tickets: list[Ticket]) -> list[Ticket]:
        """Those that are not cut otherwise for the generator, which has to leave room for the labels and the reply."""
        prompts = self.system.generator.prompts(tickets, [{}] * len(tickets))
        limit = max(len(one.ids) for one in prompts) - 40  # for labels
        return [ticket for ticket, one in zip(tickets, prompts, strict=True) if len(one.ids) < limit]

    @property
    def free(self) -> int:
        """Sequences that nobody holds."""
        return len(self.engine._allocator._free)


def test_llama_reads_a_ticket_once(bundle: Path, tickets: list[Ticket], monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(bundle, together=6)
    engine, free = stages.engine, stages.free
    some = stages.cut_alike(tickets)[:6]
    labels = stages.label(some)
    assert engine.cached_prefixes == 6
    counts = decoded(engine, monkeypatch)
    replies = stages.reply(some, labels)
    first = sum(counts)
    assert not engine.cached_prefixes and stages.free == free
    assert stages.reply(some, labels) == replies  # nothing is left of the reading, so all tickets are read
    read = [len(ids) - len(engine._adapter_prefixes[CLASSIFIER]) for ids in map(stages.reading, some)]
    assert sum(counts) - first == first + sum(read)


def test_llama_gives_up_what_it_keeps_where_room_is_short(bundle: Path, tickets: list[Ticket]) -> None:
    """More tickets than places, a ticket twice, another order, labels that are never answered, and an interruption."""
    stages = Stages(bundle, together=3)
    engine, free = stages.engine, stages.free
    some = [*tickets[:8], tickets[0]]
    expected = [one.reply for one in load_two_stage(bundle, choice=EngineChoice("torch")).answer(some)]
    labels = stages.label(some)
    assert engine.cached_prefixes == 4  # one ahead of the places
    assert stages.reply(some, labels) == expected
    stages.label(some[:3])
    assert stages.reply(some[::-1], labels[::-1]) == expected[::-1]
    stages.label(some[:3])
    states = engine.encode([p.ids for p in stages.system.classifier.prompts(some[3:6])], CLASSIFIER)
    assert engine.cached_prefixes == 3 and np.isfinite(states).all()

    def interrupted(_row: int, _token: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stages.reply(some[:3], labels[:3], interrupted)
    assert stages.free + engine.cached_prefixes == free


def test_what_no_reply_asks_for_holds_up_none(
    bundle: Path, tickets: list[Ticket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readings of other tickets, as of those that are cut otherwise for the generator, give way at once."""
    stages = Stages(bundle, together=8)
    labels = stages.label(tickets[:8])
    expected = stages.reply(tickets[8:15], labels[:7])
    stages.label([*tickets[:7], tickets[14]])
    counts = decoded(stages.engine, monkeypatch)
    assert stages.reply(tickets[8:15], labels[:7]) == expected
    assert counts.count(7) >= 5 and len(counts) < 20  # all tickets write together


def test_a_prefix_that_no_reply_will_use_is_dropped(bundle: Path, tickets: list[Ticket]) -> None:
    """Of labels alone, of tickets that were given up between the stages, and of those cut otherwise for the reply."""
    stages = Stages(bundle, together=2)
    scheduler, free = stages.system.scheduler(), stages.free
    long = Ticket("long", "", "the printer does not work " * 300)
    requests = [
        Request(tickets[0], labels_only=True),
        *(Request(one) for one in stages.cut_alike(tickets)[1:5]),
        Request(long),
    ]
    for request in requests:
        scheduler.add(request)
    ended = scheduler.step()
    assert ended == [requests[0]] and stages.engine.cached_prefixes == 1
    for request in requests[1:]:
        scheduler.end(request)
    assert not scheduler.has_work and (stages.engine.cached_prefixes, stages.free) == (0, free)


@pytest.mark.filterwarnings("error::FutureWarning:engines.*")
def test_no_notice_of_the_libraries_reaches_the_user(
    trained_run: RunConfig, run: RunConfig, tickets: list[Ticket]
) -> None:
    for config in (trained_run, run):
        assert load_two_stage(config.folder).answer(tickets[:2])[0].reply is not None


def test_a_file_is_answered_as_its_tickets_are(bundle: Path, tickets: list[Ticket], tmp_path: Path) -> None:
    some = tickets[:7]
    rows = [json.dumps({"subject": ticket.subject, "body": ticket.body}) for ticket in some]
    (tmp_path / "t.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    options = BatchOptions(str(tmp_path / "t.jsonl"), tmp_path / "a.jsonl")
    predict_batch(options, bundle, EngineChoice("llama", together=3))
    found = [json.loads(line)["reply"] for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert found == [one.reply for one in load_two_stage(bundle, choice=EngineChoice("torch")).answer(some)]


def test_what_cannot_go_together_is_one_line(run: RunConfig, make_config: MakeConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--merged: .* reuses the classifier's KV cache"):
        export(ExportOptions(run.folder, tmp_path / "merged", quant="f16", merged=True))
    with pytest.raises(InputError, match=r"--endpoint: .* a server has one adapter"):
        load_two_stage(run.folder, choice=EngineChoice(endpoint=("http://127.0.0.1:9/v1", "m")))
    handed = make_config(generator__reading="classifier", classifier__training__max_steps=2)
    with pytest.raises(InputError, match=r"holds no finished run; run `duet train-cls`"):
        train_generator(handed)
    train_classifier(handed)
    other = Path(shutil.copytree(run.folder, tmp_path / "other"))
    shutil.rmtree(other / CLASSIFIER)
    shutil.copytree(handed.folder / CLASSIFIER, other / CLASSIFIER)
    with pytest.raises(InputError, match=r"reuses the KV cache of another classifier"):
        open_model(other)
    with pytest.raises(InputError, match=r"reuses the KV cache of another classifier"):
        export(ExportOptions(handed.folder, tmp_path / "out", generator=run.folder / GENERATOR, quant="f16"))
    prompt = handed.prompt.model_copy(update={"instruction": "Be brief."})
    with pytest.raises(InputError, match=r"was trained with another prompt\.instruction than this generator"):
        train_generator(handed.model_copy(update={"prompt": prompt}))


def test_an_unfinished_generator_of_another_classifier_is_refused(make_config: MakeConfig) -> None:
    config = make_config(generator__reading="classifier", classifier__training__max_steps=2)
    train_classifier(config)
    train_generator(config)
    record = json.loads((config.folder / GENERATOR / "run.json").read_text(encoding="utf-8"))
    assert len(record["reader"]) == 64
    checkpoint = config.folder / "generator.partial" / "checkpoints" / "checkpoint-1"
    checkpoint.mkdir(parents=True)
    (checkpoint / MANIFEST).touch()
    plan = {"reader": record["reader"]}  # of what an interrupted run would leave
    (checkpoint.parent.parent / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    shutil.rmtree(config.folder / CLASSIFIER)
    train_classifier(config.model_copy(update={"seed": 7}))
    with pytest.raises(InputError, match=r"an unfinished run with other .*reader"):
        train_generator(config)
