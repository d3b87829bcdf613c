"""The scheduler on the shipped mini model in llama.cpp, with tickets that come and go."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backbone.adapters import read_adapter
from backbone.dataset import load_part, resolve_data
from backbone.gguf_files import write_adapter, write_base
from backbone.runs.layout import ADAPTER, CLASSIFIER, GENERATOR
from engines.kv_allocator import ContextSizes
from engines.protocols import Row
from engines.torch import TorchEngine
from generator.reply import GrowingReply
from pipeline.engine_choice import EngineChoice
from pipeline.export.export import export
from pipeline.export.options import ExportOptions
from pipeline.model_folder import open_model
from pipeline.service import Service
from pipeline.two_stage import load_two_stage
from tickets.schema import Ticket

pytest.importorskip("llama_cpp")

from engines.llama import LlamaEngine  # needs llama_cpp
from engines.llama_context import LlamaContext
from engines.llama_model import LlamaModel, LlamaOptions

pytestmark = pytest.mark.slow

TIE = 0.02  # in logits


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mini") / "bundle"
    export(ExportOptions(None, out, quant="f16", check=2))
    return out


@pytest.fixture(scope="module")
def sample() -> list[Ticket]:
    return load_part(resolve_data("sample"), "test", 16)


def test_a_service_writes_what_a_closed_list_gets(bundle: Path, sample: list[Ticket]) -> None:
    """Streamed pieces are the reply; labels alone come between; one that is cancelled disturbs none."""
    system = load_two_stage(bundle, choice=EngineChoice("llama", together=4))
    expected = system.answer(sample[:8])
    service = Service(system, together=4)
    pieces: dict[str, list[str]] = {ticket.id: [] for ticket in sample[:8]}
    pendings = [service.submit(ticket, on_token=pieces[ticket.id].append) for ticket in sample[:8]]
    dropped = service.submit(sample[8])
    labels = service.submit(sample[9], labels_only=True)
    assert labels.result(200).reply is None
    dropped.cancel()
    same = 0
    for pending, answer in zip(pendings, expected, strict=True):
        found = pending.result(200)
        assert found.prediction.labels == answer.prediction.labels
        assert "".join(pieces[pending.ticket.id]) == found.reply
        same += found.reply == answer.reply
    assert same >= 7  # ties may fall otherwise among other neighbours, see below
    assert service.close(60) == [] and service.rate > 0


class Direct:
    """The mini model's engine with the base and the adapters of the shipped folder."""

    def __init__(self, folder: Path) -> None:
        self.model = open_model(None)
        stages = self.model.stages
        self.base = folder / "base.gguf"
        write_base(self.model.base_folder(), self.base, "mini")
        self.adapters: dict[str, Path | None] = {}
        for name, stage in stages.items():
            path = folder / f"{name}.gguf"
            write_adapter(read_adapter(stage.path / ADAPTER), path, self.model.base_folder(), name)
            self.adapters[name] = path
        self.encoder = stages[GENERATOR].encoder

    def engine(self, sizes: ContextSizes) -> LlamaEngine:
        prefixes = dict.fromkeys(self.adapters, self.encoder.prefix)
        return LlamaEngine(self.base, self.adapters, prefixes, (self.encoder.end_id, self.encoder.pad_id), sizes)

    def regret(self, row: Row) -> float:
        """By how much any id of a greedy reply was beaten, in logits, when the row is computed alone in one go."""
        options = LlamaOptions(sequences=2, cells=1024)
        context = LlamaContext(LlamaModel(self.base, self.adapters, options), options)
        ids = [*row.prompt, *row.written]
        start = len(row.prompt) - 1
        n, read = len(ids), row.prefix_length
        for first, last, adapter in ((0, read, row.prefix_adapter), (read, start, row.adapter)):
            if last > first:
                context.activate(adapter)
                positions = np.arange(first, last, dtype=np.int32)
                zeros = np.zeros(last - first, np.int32)
                context.decode(np.array(ids[first:last], np.int32), positions, zeros, zeros.astype(np.int8))
        context.activate(row.adapter)
        worst = 0.0
        for at in range(start, n - 1):  # one by one: few outputs fit into a call
            one = np.ones(1, np.int32)
            context.decode(np.array([ids[at]], np.int32), one * at, one * 0, one.astype(np.int8))
            scores = context.logits(0)
            worst = max(worst, float(scores.max() - scores[ids[at + 1]]))
        return worst


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Direct:
    return Direct(tmp_path_factory.mktemp("direct"))


@pytest.mark.parametrize("handed_over", [False, True])
def test_neighbours_that_come_and_go_decide_ties_alone(direct: Direct, sample: list[Ticket], handed_over: bool) -> None:
    """Greedy replies among admissions, ends and labels, against the logits of each row by itself."""
    chance = random.Random(5)
    engine = direct.engine(ContextSizes(max_rows=4, cells=1600, max_cached_prefixes=2, label_cells=512))
    model = direct.model
    options = model.stages[GENERATOR].config.decoding.model_copy(update={"max_new_tokens": 24})
    rows = []
    for ticket in sample:
        prompt = direct.encoder.generator_prompt(ticket, {"type": "Incident"}, 352).ids
        read = direct.encoder.ticket_end(prompt) if handed_over else 0
        rows.append(Row(prompt, GENERATOR, options, CLASSIFIER if handed_over else "", read))
    waiting, live, complete = list(rows), list[Row](), list[Row]()
    while waiting or live:
        if waiting and chance.random() < 0.3:
            if handed_over and chance.random() < 0.5:
                engine.encode_and_cache([waiting[0].prompt], CLASSIFIER, [waiting[0].prefix_length])
            if engine.admit(waiting[0]):
                live.append(waiting.pop(0))
        if chance.random() < 0.1:
            engine.encode([chance.choice(rows).prompt], CLASSIFIER)
        if live and chance.random() < 0.01:
            engine.end(live.pop(chance.randrange(len(live))))
        for row in engine.step():
            live.remove(row)
            complete.append(row)
    assert len(complete) >= 10
    assert max(direct.regret(row) for row in complete) < TIE


def test_noise_is_the_tickets_own_on_every_engine(direct: Direct, sample: list[Ticket]) -> None:
    """A sampled reply is the same alone, among others in any order, and, up to ties, on torch."""
    stage = direct.model.stages[GENERATOR]
    options = stage.config.decoding.model_copy(update={"temperature": 0.8, "top_p": 0.9, "max_new_tokens": 12})
    prompts = [direct.encoder.generator_prompt(ticket, {"type": "Incident"}, 352).ids for ticket in sample[:5]]

    def sampled(engine: Any, order: list[int], seed: int = 1) -> list[list[int]]:
        seeded = options.model_copy(update={"seed": seed})
        rows = [Row(prompts[i], GENERATOR, seeded) for i in order]
        left = len(rows)
        assert all(engine.admit(row) for row in rows)
        while left:
            left -= len(engine.step())
        return [row.written for row in rows]

    llama = direct.engine(ContextSizes(max_rows=5, cells=2560))
    together = sampled(llama, [0, 1, 2, 3, 4])
    assert sampled(llama, [4, 2, 0]) == [together[i] for i in (4, 2, 0)]
    assert [sampled(llama, [i])[0] for i in range(5)] == together
    assert sampled(llama, [0, 1, 2, 3, 4], seed=2) != together
    encoder = direct.encoder
    torch = TorchEngine(
        direct.model.base_folder(),
        {GENERATOR: stage.path / ADAPTER},
        stage.config.base,
        encoder.pad_id,
        encoder.end_id,
    )
    drawn = sampled(torch, [3, 1, 0, 2, 4])
    assert sum(ids == together[i] for ids, i in zip(drawn, (3, 1, 0, 2, 4), strict=True)) >= 4


def test_torch_ends_single_rows(direct: Direct, sample: list[Ticket]) -> None:
    """A listener that raises, and an end from elsewhere, stop one row; the rest of its group goes on."""

    def failing(_token: int) -> None:
        raise ValueError("gone")

    stage, encoder = direct.model.stages[GENERATOR], direct.encoder
    options = stage.config.decoding.model_copy(update={"max_new_tokens": 16})
    prompts = [encoder.generator_prompt(ticket, {"type": "Incident"}, 352).ids for ticket in sample[:4]]
    adapters = {GENERATOR: stage.path / ADAPTER}
    engine = TorchEngine(direct.model.base_folder(), adapters, stage.config.base, encoder.pad_id, encoder.end_id)
    rows = [Row(prompt, GENERATOR, options) for prompt in prompts]
    rows[1].on_token = failing

    def cancelling(_token: int) -> None:
        if len(rows[2].written) == 3:
            rows[2].error = RuntimeError("cancelled")  # as from another thread

    rows[2].on_token = cancelling
    assert all(engine.admit(row) for row in rows)
    engine.end(rows[3])
    assert set(engine.step()) == set(rows[:3]) and engine.step() == []
    assert isinstance(rows[1].error, ValueError) and len(rows[1].written) == 1
    assert isinstance(rows[2].error, RuntimeError) and len(rows[2].written) == 3
    assert rows[0].error is None and len(rows[0].written) > 3 and rows[3].written == []


@pytest.mark.parametrize("reply", ["Grüße aus Köln 👩‍💻, 打印机\n\n  ok \n", " a", "\n", "", "one  two\n\nthree 🔥"])
def test_pieces_of_a_growing_reply_are_the_reply(direct: Direct, reply: str) -> None:
    ids = direct.encoder.encode_text(reply)
    growing = GrowingReply(direct.encoder)
    pieces = [growing.add(token) for token in ids]
    assert "".join([*pieces, growing.finish()]) == direct.encoder.decode(ids).strip()
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)
