"""Whether a GGUF file is a base or an adapter of ours, before llama.cpp loads it.

llama.cpp ends the process where numbers of a file contradict each other, so the tensors have to be those that the
numbers ask for, and the vocabulary has to be whole.
"""

import math
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import gguf

from backbone.architecture import FAMILIES, Family, base_tensors
from engines.gguf_reader import GgufHeader, read_gguf_header
from engines.refusals import not_exported

_SIZES = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
}
_MOST = 1 << 20  # of any of these sizes; no model comes near
_LONGEST_CONTEXT = 1 << 24
_TOKEN_TYPES = range(1, 7)
_ENDS = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id")
# llama.cpp obeys keys for hundreds of architectures: experts, recurrence, other rotations, parts in other files
_SHAPE_KEYS = {
    *_SIZES,
    "attention.key_length",
    "attention.value_length",
    "attention.layer_norm_rms_epsilon",
    "context_length",
    "rope.dimension_count",
    "rope.freq_base",
    "vocab_size",
}
_OTHER_KEYS = {
    *_ENDS,
    "tokenizer.chat_template",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.unknown_token_id",
}
_ADAPTER_KEYS = {"adapter.type", "adapter.lora.alpha"}
_ABOUT = ("GGUF.", "general.", "quantize.")  # what describes a file and shapes nothing
_OPTIONAL = {"output.weight", "rope_freqs.weight"}


def check_base(path: Path) -> GgufHeader:
    """Return the header of a base in one GGUF file.

    Raises:
        InputError: not such a file, or its numbers, tensors and vocabulary contradict each other.
    """
    try:
        header = read_gguf_header(path)
        family = _family(header.values)
        _check_keys(header.values, {*_OTHER_KEYS, *(f"{family.gguf}.{key}" for key in _SHAPE_KEYS)})
        config = _config(header.values, family)
        _check_vocabulary(header.values, config)
        _check_tensors(header.shapes, family, config)
        return header
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise not_exported(path, "GGUF", error) from None


def check_adapter(path: Path, base: GgufHeader) -> None:
    """Refuse a file that is no LoRA adapter of the base.

    Raises:
        InputError: it is none.
    """
    try:
        header = read_gguf_header(path)
        values = header.values
        alpha = values["adapter.lora.alpha"]
        if (values["general.type"], values["adapter.type"]) != ("adapter", "lora") or not 0 < alpha < math.inf:
            raise ValueError("no LoRA adapter with a finite alpha")
        _check_keys(values, _ADAPTER_KEYS)
        if values["general.architecture"] != base.values["general.architecture"]:
            raise ValueError(f"of a {values['general.architecture']} base")
        for name, shape in header.shapes.items():
            module, _, part = name.rpartition(".lora_")
            inner, outer = base.shapes[module]
            rank = header.shapes[f"{module}.lora_a"][-1]
            if shape != {"a": (inner, rank), "b": (rank, outer)}[part]:
                raise ValueError(f"tensor {name} of shape {shape} does not fit the base")
            if f"{module}.lora_b" not in header.shapes:
                raise ValueError(f"{module} has no lora_b")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise not_exported(path, "GGUF", error) from None


def _family(values: Mapping[str, Any]) -> Family:
    name = values["general.architecture"]
    family = next((family for family in FAMILIES if family.gguf == name), None)
    if family is None:
        raise ValueError(f"architecture {str(name)[:60]!r}")
    return family


def _check_keys(values: Mapping[str, Any], supported: Set[str]) -> None:
    unknown = next((key for key in values if key not in supported and not key.startswith(_ABOUT)), None)
    if unknown is not None:
        raise ValueError(f"unknown key {unknown[:60]!r}")


def _config(values: Mapping[str, Any], family: Family) -> dict[str, Any]:
    """Return the shape as config.json would name it."""
    config: dict[str, Any] = {}
    for key, name in _SIZES.items():
        config[name] = _whole(values, f"{family.gguf}.{key}", _MOST)
    # files of other tools leave out the lengths where the heads divide the width, which is what they mean then
    usual = config["hidden_size"] // config["num_attention_heads"]
    lengths = {f"{family.gguf}.attention.{kind}_length": usual for kind in ("key", "value")} | dict(values)
    config["head_dim"] = _whole(lengths, f"{family.gguf}.attention.key_length", _MOST)
    if _whole(lengths, f"{family.gguf}.attention.value_length", _MOST) != config["head_dim"]:
        raise ValueError("keys and values of different length")
    if config["num_attention_heads"] % config["num_key_value_heads"] or config["head_dim"] % 2:
        raise ValueError("attention heads that do not divide")
    _whole(values, f"{family.gguf}.context_length", _LONGEST_CONTEXT)
    dimensions = values.get(f"{family.gguf}.rope.dimension_count", config["head_dim"])
    if dimensions != config["head_dim"]:
        raise ValueError(f"rotation of {dimensions!r} dimensions")
    for key in ("rope.freq_base", "attention.layer_norm_rms_epsilon"):
        if not 0 < values[f"{family.gguf}.{key}"] < math.inf:
            raise ValueError(f"{key} of {values[f'{family.gguf}.{key}']!r}")
    return config


def _check_vocabulary(values: Mapping[str, Any], config: dict[str, Any]) -> None:
    tokens, kinds = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    size = config["vocab_size"] = len(tokens)
    if len(set(tokens)) != size or not all(isinstance(token, str) and token for token in tokens):
        raise ValueError("tokens that are empty or there twice")
    if len(kinds) != size or not all(kind in _TOKEN_TYPES for kind in kinds):
        raise ValueError("token types that do not fit the tokens")
    if not all(isinstance(pair, str) and " " in pair[1:] for pair in values["tokenizer.ggml.merges"]):
        raise ValueError("merges that are no pairs")
    special = [key for key in values if key.startswith("tokenizer.ggml.") and key.endswith("_token_id")]
    if not all(isinstance(values[key], int) and 0 <= values[key] < size for key in {*_ENDS, *special}):
        raise ValueError("special tokens that are no tokens")
    if values.get(f"{values['general.architecture']}.vocab_size", size) != size:
        raise ValueError("a vocabulary of another size than its tokens")
    if values["tokenizer.ggml.model"] != "gpt2":
        raise ValueError(f"tokenizer {str(values['tokenizer.ggml.model'])[:60]!r}")


def _check_tensors(shapes: Mapping[str, tuple[int, ...]], family: Family, config: Mapping[str, Any]) -> None:
    architecture = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family.gguf)
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    expected = {
        names.get_name(name, try_suffixes=(".weight", ".bias")): tuple(reversed(size))
        for name, size in base_tensors(family, config).items()
    }
    differing = (expected.keys() ^ shapes.keys()) - _OPTIONAL
    if differing:
        raise ValueError(f"tensor {min(map(str, differing))} is missing or unknown")
    wrong = next((name for name in shapes if name in expected and shapes[name] != expected[name]), None)
    if wrong:
        raise ValueError(f"tensor {wrong} of shape {shapes[wrong]}, expected {expected[wrong]}")


def _whole(values: Mapping[str, Any], key: str, most: int) -> int:
    value = values[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise ValueError(f"{key} of {value!r}")
    return value
