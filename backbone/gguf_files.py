"""A base and its LoRA adapters as GGUF files, written tensor by tensor: a 7B base needs the memory of one tensor.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors import safe_open
from torch import Tensor

from backbone.adapters import LowRank
from backbone.architecture import Family, find_family, head_size, read_shape
from backbone.progress import track
from backbone.prompts import END, END_OF_TEXT
from tickets.errors import InputError

_UNUSED = "[PAD{}]"  # ids past the tokenizer: the embedding of most models is padded to a round size


def write_base(base: Path, out: Path, name: str, changes: Mapping[str, LowRank] | None = None) -> None:
    """Write a base as one GGUF, matrices in F16, norms and biases in F32.

    Args:
        base: folder with config.json, tokenizer.json and safetensors.
        name: what the file calls the model.
        changes: an adapter to merge into the weights, by module name.

    Raises:
        InputError: a configuration that llama.cpp does not compute, or tensors it does not know.
    """
    config, family = read_shape(base), find_family(base)
    writer = gguf.GGUFWriter(out, family.gguf)
    _add_shape(writer, base, config, family, name)
    _add_tokenizer(writer, base, config["vocab_size"], family.pre_tokenizer)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    tensors = _tensors(base, config, family)
    for gguf_name, (_, _, shape) in tensors.items():
        kind = torch.float16 if len(shape) > 1 else torch.float32
        size = kind.itemsize
        for length in shape:
            size *= length
        writer.add_tensor_info(gguf_name, shape, torch.empty(0, dtype=kind).numpy().dtype, size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for file, source, shape in track(list(tensors.values()), f"writing {out.name}"):
        with safe_open(file, framework="pt") as weights:
            tensor: Tensor = weights.get_tensor(source)
        change = (changes or {}).get(source.removesuffix(".weight"))
        if change is not None:
            tensor = change.merged(tensor.float())  # rounded once, to the format of the file
        tensor = _arranged(tensor, source, config, family)
        writer.write_tensor_data(tensor.to(torch.float16 if len(shape) > 1 else torch.float32).numpy())
    writer.close()


def write_adapter(adapter: Mapping[str, LowRank], out: Path, base: Path, name: str) -> None:
    """Write a LoRA adapter of a base, in F16 as llama.cpp's own converter does.

    Raises:
        InputError: it changes a module that has no name in a GGUF.
    """
    config, family = read_shape(base), find_family(base)
    names = _name_map(family, config)
    writer = gguf.GGUFWriter(out, family.gguf)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    # llama.cpp scales by alpha / rank of each tensor, and every rank here is the same
    first = next(iter(adapter.values()))
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, first.scale * first.rank)
    for module, change in adapter.items():
        tensor_name = names.get_name(module)
        if tensor_name is None:
            raise InputError(f"adapter of {name}: changes {module}, which a GGUF of {family.name} has no name for")
        writer.add_tensor(f"{tensor_name}.weight.lora_a", change.a.to(torch.float16).numpy())
        writer.add_tensor(
            f"{tensor_name}.weight.lora_b", _arranged(change.b, module, config, family).to(torch.float16).numpy()
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_shape(writer: gguf.GGUFWriter, base: Path, config: Mapping[str, Any], family: Family, name: str) -> None:
    rope = config.get("rope_parameters") or {}
    scaling = config.get("rope_scaling") or rope
    if scaling.get("rope_type", scaling.get("type", "default")) != "default" or config.get("use_sliding_window"):
        raise InputError(
            f"{base}/config.json: rope scaling or a sliding window is switched on, which the GGUF does not carry; "
            "remove rope_scaling and use_sliding_window from it, and train on that"
        )
    writer.add_name(name)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head_size(config))
    writer.add_value_length(head_size(config))
    if family.interleaved_rope:
        writer.add_rope_dimension_count(head_size(config))
        writer.add_vocab_size(config["vocab_size"])
    writer.add_rope_freq_base(float(rope.get("rope_theta", config.get("rope_theta", 10000.0))))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _add_tokenizer(writer: gguf.GGUFWriter, base: Path, size: int, pre_tokenizer: str) -> None:
    tokenizer = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    tokens = [_UNUSED.format(i) for i in range(size)]
    types = [gguf.TokenType.UNUSED] * size
    for token, i in tokenizer["model"]["vocab"].items():
        tokens[i], types[i] = token, gguf.TokenType.NORMAL
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(tokens.index(END))
    writer.add_pad_token_id(tokens.index(END_OF_TEXT))
    writer.add_add_bos_token(False)
    settings = base / "tokenizer_config.json"
    template = json.loads(settings.read_text(encoding="utf-8")).get("chat_template") if settings.is_file() else None
    if isinstance(template, str):
        writer.add_chat_template(template)


def _tensors(base: Path, config: Mapping[str, Any], family: Family) -> dict[str, tuple[Path, str, list[int]]]:
    """Return the file, name there and shape of every tensor, by its name in the GGUF."""
    names = _name_map(family, config)
    tensors: dict[str, tuple[Path, str, list[int]]] = {}
    for file in sorted(base.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for source in weights.keys():  # noqa: SIM118  # not a mapping
                if source == "lm_head.weight" and config.get("tie_word_embeddings"):
                    continue
                name = names.get_name(source, try_suffixes=(".weight", ".bias"))
                if name is None:
                    raise InputError(f"{file}: tensor {source} has no name in a GGUF; expected a {family.name} model")
                tensors[name] = (file, source, weights.get_slice(source).get_shape())
    return tensors


def _name_map(family: Family, config: Mapping[str, Any]) -> gguf.TensorNameMap:
    architecture = next(key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == family.gguf)
    return gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])


def _arranged(tensor: Tensor, name: str, config: Mapping[str, Any], family: Family) -> Tensor:
    """Return the rows of a weight, (out, ...), in the order of the GGUF.

    transformers rotates the first half of a head's rows with the second, llama.cpp's `llama` neighbouring rows.
    """
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    projection = next((heads[part] for part in name.split(".") if part in heads), None)
    if projection is None or not family.interleaved_rope:
        return tensor
    half = tensor.shape[0] // projection // 2
    return tensor.reshape(projection, 2, half, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape).contiguous()
