"""Randomly initialised weights of the full Qwen2 shapes: none of our machines has the real ones; speed is the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from backbone.adapters import LowRank
from backbone.architecture import linear_sizes
from backbone.base import identify
from backbone.config import ALL_LINEAR
from backbone.config_file import dump_config, load_config
from backbone.prompts import TOKENIZER_FILES
from backbone.runs.files import write_json
from backbone.runs.folder import partial_folder, publish
from backbone.runs.layout import ADAPTER, ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE, CLASSIFIER, CONFIG, GENERATOR, HEADS
from backbone.shipped import mini_folder

TOKENIZER = Path("../shared/tokenizer/qwen2")
QWEN2_7B: dict[str, Any] = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000.0,
    "tie_word_embeddings": False,
}


def write_random_base(folder: Path, shape: dict[str, Any]) -> None:
    """Write a model folder with normal(0, 0.02) weights in bf16, a file per block, and the real tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    hidden, vocabulary = int(shape["hidden_size"]), int(shape["vocab_size"])
    layers = int(shape["num_hidden_layers"])
    places: dict[str, str] = {}

    def write(name: str, tensors: dict[str, torch.Tensor]) -> None:
        save_file(tensors, folder / name)
        places.update(dict.fromkeys(tensors, name))

    for i in range(layers):
        prefix = f"model.layers.{i}."
        block = {f"{prefix}{name}.weight": _normal(*size) for name, size in linear_sizes(shape).items()}
        for name in ("q_proj", "k_proj", "v_proj"):
            block[f"{prefix}self_attn.{name}.bias"] = _normal(linear_sizes(shape)[f"self_attn.{name}"][0])
        for name in ("input_layernorm", "post_attention_layernorm"):
            block[f"{prefix}{name}.weight"] = torch.ones(hidden, dtype=torch.bfloat16)
        write(f"model-{i + 1:05d}.safetensors", block)
        print(f"\rblock {i + 1}/{layers}", end="", flush=True)
    ends = {"model.norm.weight": torch.ones(hidden, dtype=torch.bfloat16)}
    write("model-90001.safetensors", {**ends, "model.embed_tokens.weight": _normal(vocabulary, hidden)})
    if not shape["tie_word_embeddings"]:
        write("model-90002.safetensors", {"lm_head.weight": _normal(vocabulary, hidden)})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / "config.json").write_text(
        json.dumps({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "dtype": "bfloat16", **shape})
    )
    tokenizer = TOKENIZER if TOKENIZER.is_dir() else mini_folder() / "base"  # the mini's makes more tokens of a ticket
    _copy_tokenizer(tokenizer, folder)
    print()


def _copy_tokenizer(source: Path, target: Path) -> None:
    for name in TOKENIZER_FILES:
        (target / name).unlink(missing_ok=True)
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def random_adapter(shape: dict[str, Any], rank: int, seed: int) -> dict[str, LowRank]:
    """Return a LoRA adapter on all linear layers, by module name."""
    generator = torch.Generator().manual_seed(seed)
    assert {name.rpartition(".")[2] for name in linear_sizes(shape)} == set(ALL_LINEAR)
    return {
        f"model.layers.{i}.{name}": LowRank(
            torch.randn(rank, size[1], generator=generator) * 0.02,
            torch.randn(size[0], rank, generator=generator) * 0.02,
            2.0,
        )
        for i in range(int(shape["num_hidden_layers"]))
        for name, size in linear_sizes(shape).items()
    }


def _normal(*size: int) -> torch.Tensor:
    return torch.empty(size, dtype=torch.bfloat16).normal_(0, 0.02)


def write_random_run(base: Path, shape: dict[str, Any], rank: int, out: Path) -> None:
    """Write a run folder as training on that base would leave it: the shipped model's records with random weights."""
    for seed, stage in enumerate((CLASSIFIER, GENERATOR)):
        partial = partial_folder(out / stage)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(mini_folder() / stage, partial)
        _copy_tokenizer(base, partial)
        (partial / BASE).write_text(identify(base, str(base)).to_json(), encoding="utf-8")
        asked = [f"base.path={base}", "base.precision=bf16", f"lora.rank={rank}"]
        (partial / CONFIG).write_text(dump_config(load_config(partial / CONFIG, asked)), encoding="utf-8")
        tensors: dict[str, torch.Tensor] = {}
        for name, change in random_adapter(shape, rank, seed).items():
            tensors |= {f"base_model.model.{name}.lora_A.weight": change.a.contiguous()}
            tensors |= {f"base_model.model.{name}.lora_B.weight": change.b.contiguous()}
        save_file(tensors, partial / ADAPTER / ADAPTER_WEIGHTS)
        record = json.loads((partial / ADAPTER / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        write_json(partial / ADAPTER / ADAPTER_CONFIG, {**record, "r": rank, "lora_alpha": 2 * rank})
        if stage == CLASSIFIER:
            heads = load_file(partial / HEADS)
            hidden = int(shape["hidden_size"])
            wide = {n: torch.randn(t.shape[0], hidden) if t.ndim == 2 else t for n, t in heads.items()}
            save_file(wide, partial / HEADS)
        publish(partial, out / stage)
