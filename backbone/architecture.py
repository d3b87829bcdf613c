"""The base families that are supported: one record each. What differs between them stands here; all share chat tokens.

To add a family, add a record. Its blocks must have the names of Qwen2's (`self_attn.q_proj`, `mlp.up_proj`, ...); where
they compute something else in training, a file in `backbone/layers/` has to follow. See docs/howto-family.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tickets.errors import InputError
from tickets.own_json import read_own
from tickets.plain_reason import plain_reason

Size = tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """One base family.

    Attributes:
        name: for people.
        example: hub id of an unquantised model of the family.
        model_type: as in config.json; also the module of transformers that holds the classes.
        prefix: of the names of those classes.
        gguf: name of the architecture in a GGUF.
        pre_tokenizer: llama.cpp's name for how text is split before byte-level BPE.
        splitter: type of the first pre-tokenizer in tokenizer.json, where other families share the model_type.
        attention_bias: whether the projections to queries, keys and values have a bias.
        head_norms: whether each head's queries and keys pass an RMSNorm.
        interleaved_rope: whether the GGUF stores the rows of q_proj and k_proj interleaved, as llama.cpp's rotary
            embedding of this architecture reads them.
    """

    name: str
    example: str
    model_type: str
    prefix: str
    gguf: str
    pre_tokenizer: str
    splitter: str = ""
    attention_bias: bool = False
    head_norms: bool = False
    interleaved_rope: bool = False

    def transformers_class(self, suffix: str) -> Any:
        """Import a class of transformers: `Model`, `ForCausalLM` or `PreTrainedModel`."""
        module = import_module(f"transformers.models.{self.model_type}.modeling_{self.model_type}")
        return getattr(module, f"{self.prefix}{suffix}")


FAMILIES = (
    Family(
        name="Qwen2 and Qwen2.5",
        example="Qwen/Qwen2-7B-Instruct",
        model_type="qwen2",
        prefix="Qwen2",
        gguf="qwen2",
        pre_tokenizer="qwen2",
        attention_bias=True,
    ),
    Family(
        name="Qwen3 (dense)",
        example="Qwen/Qwen3-8B",
        model_type="qwen3",
        prefix="Qwen3",
        gguf="qwen3",
        pre_tokenizer="qwen2",
        head_norms=True,
    ),
    Family(
        name="SmolLM2",
        example="HuggingFaceTB/SmolLM2-135M-Instruct",
        model_type="llama",
        prefix="Llama",
        gguf="llama",
        pre_tokenizer="smollm",
        splitter="Digits",
        interleaved_rope=True,
    ),
)


def read_shape(folder: Path) -> dict[str, Any]:
    """Read the config.json of a base.

    Raises:
        InputError: missing, or not a JSON object.
    """
    expected = f"the config of one of {supported_names()}"
    try:
        record = read_own(folder / "config.json")
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no readable config.json ({plain_reason(error)}); expected {expected}") from None
    if not isinstance(record, dict):
        raise InputError(f"{folder}/config.json: found {type(record).__name__}, expected {expected}")
    return record


def supported_names() -> str:
    """List the families for an error message."""
    return ", ".join(family.name for family in FAMILIES)


def find_family(folder: Path) -> Family:
    """Return the family of a base folder, by its config.json and, where that leaves a doubt, its tokenizer.json.

    Raises:
        InputError: no supported family, or quantised weights.
    """
    config = read_shape(folder)
    alike = [family for family in FAMILIES if family.model_type == config.get("model_type")]
    if not alike:
        raise InputError(
            f"{folder}: architecture {config.get('model_type')!r}; expected one of {supported_names()}; set base.path "
            "to such a model"
        )
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"{folder}: no tokenizer.json; copy it (and tokenizer_config.json) from the original model")
    splitter = _splitter(folder / "tokenizer.json") if any(candidate.splitter for candidate in alike) else ""
    family = next((candidate for candidate in alike if candidate.splitter in ("", splitter)), None)
    if family is None:
        raise InputError(
            f"{folder}: a {alike[0].model_type} model with another tokenizer than {alike[0].name} has; expected one of "
            f"{supported_names()}; set base.path to such a model"
        )
    _refuse_quantised(folder, config, family)
    return family


def _splitter(path: Path) -> str:
    """Return the type of the first pre-tokenizer in a tokenizer.json, or nothing."""
    try:
        settings = read_own(path)["pre_tokenizer"] or {}
        return str(settings.get("pretokenizers", [settings])[0].get("type", ""))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(
            f"{path}: not a tokenizer ({plain_reason(error)}); copy it again from the original model"
        ) from None


def _refuse_quantised(folder: Path, config: Mapping[str, Any], family: Family) -> None:
    settings = config.get("quantization_config")
    if settings:
        method = settings.get("quant_method", "unknown method") if isinstance(settings, Mapping) else "unknown method"
        raise InputError(
            f"{folder}/config.json: weights are quantised ({method}); expected the unquantised model; set base.path to "
            f"{family.example} or another of its size, and base.precision=nf4 to save memory"
        )


def linear_sizes(config: Mapping[str, Any]) -> dict[str, Size]:
    """Return (out, in) of each linear layer of a block, by its name inside the block."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = head_size(config)
    queries, keys = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    return {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }


def head_size(config: Mapping[str, Any]) -> int:
    """Return the size of one attention head."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def block_tensors(family: Family, config: Mapping[str, Any]) -> dict[str, Size]:
    """Return the shape of every tensor of a block, by its name inside the block."""
    hidden, head = config["hidden_size"], head_size(config)
    linear = linear_sizes(config)
    tensors: dict[str, Size] = {f"{name}.weight": size for name, size in linear.items()}
    tensors |= {f"{name}.weight": (hidden,) for name in ("input_layernorm", "post_attention_layernorm")}
    if family.attention_bias:
        biased = [f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj")]
        tensors |= {f"{name}.bias": linear[name][:1] for name in biased}
    if family.head_norms:
        tensors |= {f"self_attn.{name}.weight": (head,) for name in ("q_norm", "k_norm")}
    return tensors


def base_tensors(family: Family, config: Mapping[str, Any]) -> dict[str, Size]:
    """Return the shape of every tensor of a base, by name; the vocabulary head only where it is not the embedding."""
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    tensors: dict[str, Size] = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    block = block_tensors(family, config)
    for number in range(config["num_hidden_layers"]):
        tensors |= {f"model.layers.{number}.{name}": size for name, size in block.items()}
    if not config.get("tie_word_embeddings"):
        tensors["lm_head.weight"] = (vocabulary, hidden)
    return tensors
