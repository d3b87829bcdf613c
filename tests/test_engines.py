"""The llama engine against transformers on tiny models: ids, states, logits, batches, adapters, sampling."""

import csv
import ctypes
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

from backbone.config import DecodingConfig
from backbone.gguf_files import write_adapter, write_base
from backbone.prompts import PromptEncoder
from engines.kv_allocator import ContextSizes
from engines.writing import write_all
from tests.conftest import SHARED, merged, random_adapter
from tickets.errors import InputError, WorkError
from tickets.schema import Ticket

llama_cpp = pytest.importorskip("llama_cpp")

from engines.llama import LlamaEngine  # noqa: E402  # needs llama_cpp
from engines.llama_context import LlamaContext  # noqa: E402
from engines.llama_model import LlamaModel, LlamaOptions  # noqa: E402

pytestmark = pytest.mark.slow

HARD = [
    "def f(x):\n\treturn {'a': [1, 2.5e-3]}  # noqa\n",
    "Grüße aus Köln: die Rechnung über 1.234,56 € vom 3. März ist falsch!",
    "打印机不工作，请尽快帮助我们。谢谢！",
    "👩‍💻🔥 it's broken 😡😡 (again!!)  \n\n   two spaces",
    "C:\\Users\\nina\\new  https://example.com/?a=1&b=%20 <b>bold</b>",
    "don't can't WE'LL 12345678 ٣٤ ½ ﬁ é é",
]
GREEDY = DecodingConfig(max_new_tokens=12)


class Case:
    """A base as GGUF with two adapters, and what transformers makes of it."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.encoder = PromptEncoder(base, "You handle support tickets.")
        self.base = folder / "base.gguf"
        write_base(base, self.base, "tiny")
        adapters = {name: random_adapter(base, seed) for seed, name in enumerate(("classifier", "generator"))}
        self.adapters = {name: folder / f"{name}.gguf" for name in adapters}
        for name, adapter in adapters.items():
            write_adapter(adapter, self.adapters[name], base, name)
        self.models = {name: merged(base, adapter) for name, adapter in adapters.items()}
        texts = [*HARD, *real_texts()]
        self.prompts = [self.encoder.classifier_prompt(Ticket(str(i), "", t), 300).ids for i, t in enumerate(texts)]

    def engine(self, sequences: int = 4, cells: int = 2048, batch: int = 512, prefix: bool = True) -> LlamaEngine:
        prefixes = dict.fromkeys(self.adapters, self.encoder.prefix) if prefix else {}
        end = (self.encoder.end_id, self.encoder.pad_id)
        options = LlamaOptions(batch=batch)
        return LlamaEngine(self.base, self.adapters, prefixes, end, ContextSizes(sequences, cells), options)

    @torch.inference_mode()
    def states(self, prompts: Sequence[Sequence[int]], adapter: str) -> np.ndarray:
        rows = [self.models[adapter].model(torch.tensor([list(p)])).last_hidden_state[0, -1] for p in prompts]
        return np.stack([row.numpy() for row in rows])


def real_texts() -> list[str]:
    path = SHARED / "data" / "tickets.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        return [row["body"] for _, row in zip(range(20), csv.DictReader(lines), strict=False)]


@pytest.fixture(scope="module", params=["tiny_base", "real_tokenizer_base", "qwen3_base", "smollm2_base"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(request.getfixturevalue(request.param), tmp_path_factory.mktemp(f"gguf-{request.param}"))


def test_token_ids_are_those_of_hugging_face(case: Case) -> None:
    model = LlamaModel(case.base, {}, LlamaOptions())
    for text in [*HARD, *real_texts()]:
        raw = text.encode()
        found = (llama_cpp.llama_token * 4096)()
        count = llama_cpp.llama_tokenize(model.vocabulary, raw, len(raw), found, 4096, False, False)
        assert list(found[:count]) == case.encoder.encode_text(text)


def test_states_are_those_of_transformers(case: Case) -> None:
    engine = case.engine()
    for adapter in ("classifier", "generator", "classifier"):  # on, off, on again
        difference = np.abs(engine.encode(case.prompts, adapter) - case.states(case.prompts, adapter))
        assert difference.max() < 1e-2


def test_logits_are_those_of_transformers(case: Case) -> None:
    context = LlamaContext(LlamaModel(case.base, case.adapters, LlamaOptions()), LlamaOptions())
    context.activate("generator")
    for prompt in case.prompts[:8]:
        n = len(prompt)
        last = np.zeros(n, dtype=np.int8)
        last[-1] = 1
        context.decode(np.array(prompt, np.int32), np.arange(n, dtype=np.int32), np.zeros(n, np.int32), last)
        with torch.inference_mode():
            expected = case.models["generator"](torch.tensor([list(prompt)])).logits[0, -1].numpy()
        assert np.abs(context.logits(n - 1)[: len(expected)] - expected).max() < 5e-3
        context.forget(0)


def test_batches_order_and_prefix_change_nothing(case: Case) -> None:
    together = case.engine(sequences=5, cells=900, batch=64).encode(case.prompts, "classifier")
    alone = case.engine(sequences=1, prefix=False)
    for row, prompt in enumerate(case.prompts):
        assert np.abs(alone.encode([prompt], "classifier")[0] - together[row]).max() < 1e-2
    order = list(range(len(case.prompts)))
    random.Random(0).shuffle(order)
    shuffled = case.engine().encode([case.prompts[i] for i in order], "classifier")
    assert np.abs(shuffled - together[order]).max() < 1e-2


def test_adapters_leave_nothing_behind(case: Case) -> None:
    engine = case.engine()
    first = write_all(engine, case.prompts[:6], "generator", GREEDY)
    states = engine.encode(case.prompts[:6], "classifier")
    assert write_all(engine, case.prompts[:6], "generator", GREEDY) == first
    assert np.abs(engine.encode(case.prompts[:6], "classifier") - states).max() < 5e-3


def test_continuous_batching_writes_what_single_runs_write(case: Case) -> None:
    """More tickets than places, prompts split over steps, and replies of different lengths, so that places refill."""
    options = [DecodingConfig(max_new_tokens=3 + row % 7) for row in range(len(case.prompts))]
    heard: dict[int, list[int]] = {row: [] for row in range(len(case.prompts))}
    engine = case.engine(sequences=3, cells=700, batch=48)
    together = write_all(engine, case.prompts, "generator", options, lambda row, token: heard[row].append(token))
    assert together == [heard[row] for row in range(len(case.prompts))]
    alone = case.engine(sequences=1)
    singly = [write_all(alone, [p], "generator", o)[0] for p, o in zip(case.prompts, options, strict=True)]
    same = sum(a == b for a, b in zip(together, singly, strict=True))
    assert same >= 0.9 * len(singly)  # kernels differ by batch shape, and random models have near-ties
    assert all(len(ids) <= o.max_new_tokens for ids, o in zip(together, options, strict=True))


def test_greedy_ids_are_those_of_transformers(case: Case) -> None:
    written = write_all(case.engine(), case.prompts[:8], "generator", GREEDY)
    agreeing = 0
    for prompt, ids in zip(case.prompts[:8], written, strict=True):
        with torch.inference_mode():
            full = case.models["generator"](torch.tensor([[*prompt, *ids]])).logits[0, len(prompt) - 1 : -1]
        best = full.max(dim=-1).values
        chosen = full.gather(1, torch.tensor(ids)[:, None])[:, 0]
        assert (best - chosen).max() < 0.02  # whatever differs was a tie within the precision of F16
        agreeing += bool((full.argmax(dim=-1) == torch.tensor(ids)).all())
    assert agreeing >= 6


def test_sampling_depends_on_seed_and_prompt_alone(case: Case) -> None:
    hot = DecodingConfig(max_new_tokens=8, temperature=1.0, top_p=0.9, seed=3)
    first = write_all(case.engine(sequences=4), case.prompts[:5], "generator", hot)
    assert write_all(case.engine(sequences=4), case.prompts[:5], "generator", hot) == first
    other = write_all(case.engine(sequences=4), case.prompts[:5], "generator", hot.model_copy(update={"seed": 4}))
    assert other != first
    assert write_all(case.engine(sequences=4), case.prompts[4:1:-1], "generator", hot) == first[4:1:-1]


def test_the_repetition_penalty_is_transformers_own(case: Case) -> None:
    options = DecodingConfig(max_new_tokens=10, repetition_penalty=2.0)
    processor = RepetitionPenaltyLogitsProcessor(2.0)
    written = write_all(case.engine(), case.prompts[:4], "generator", options)
    for prompt, ids in zip(case.prompts[:4], written, strict=True):
        for i, token in enumerate(ids):
            seen = torch.tensor([[*prompt, *ids[:i]]])
            with torch.inference_mode():
                scores = processor(seen, case.models["generator"](seen).logits[:, -1])[0]
            assert scores.max() - scores[token] < 0.02  # the best, or a tie within the precision of F16
    plain = options.model_copy(update={"repetition_penalty": 1.0})
    assert written != write_all(case.engine(), case.prompts[:4], "generator", plain)


def test_no_room_is_one_line_and_leaves_the_engine_usable(case: Case) -> None:
    engine = case.engine(sequences=2, cells=64)
    short = min(case.prompts, key=len)
    with pytest.raises(WorkError, match="tokens of context, expected at most 64"):
        write_all(engine, [list(short) * 20], "generator", GREEDY)
    assert write_all(engine, [short], "generator", GREEDY)

    def interrupted(_row: int, _token: int) -> None:
        raise KeyboardInterrupt

    before = engine.encode([short], "classifier")
    with pytest.raises(KeyboardInterrupt):
        write_all(engine, [short, short], "generator", GREEDY, interrupted)
    assert np.abs(engine.encode([short], "classifier") - before).max() < 5e-3


def test_foreign_files_are_one_line(case: Case, tmp_path: Path) -> None:
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"bad\.gguf: not a GGUF"):
        LlamaModel(tmp_path / "bad.gguf", {}, LlamaOptions())
    with pytest.raises(InputError, match=r"base\.gguf: not a GGUF .*adapter"):
        LlamaModel(case.base, {"a": case.base}, LlamaOptions())
    assert ctypes.sizeof(llama_cpp.llama_token) == 4
