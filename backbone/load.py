"""Loading a base with transformers, in the wanted weight format."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbone.architecture import find_family, read_shape
from backbone.config import BaseConfig
from tickets.errors import DuetError, InputError

if TYPE_CHECKING:
    import torch


def unquantised_bytes(config: BaseConfig) -> int:
    """Return bytes per parameter of embeddings and vocabulary head.

    Four under an NF4 base with fp32 compute too: its norms are fp32, and without autocast nothing would cast between.
    """
    return 4 if config.precision == "fp32" or (config.precision, config.compute) == ("nf4", "fp32") else 2


def load_options(config: BaseConfig, device: "torch.device") -> dict[str, Any]:
    """Return arguments of `from_pretrained` for a weight format; NF4 leaves heads and lm_head unquantised."""
    import torch
    from transformers import BitsAndBytesConfig

    quiet_libraries()
    options: dict[str, Any] = {
        "dtype": torch.float32 if unquantised_bytes(config) == 4 else torch.bfloat16,
        "attn_implementation": "sdpa",
        "device_map": {"": device},
        "use_safetensors": True,
    }
    if config.precision == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if config.compute == "bf16" else torch.float32,
            llm_int8_skip_modules=["lm_head", "heads"],
        )
    return options


def first_blocks(base: Path, count: int | None) -> dict[str, Any]:
    """Return arguments of `from_pretrained` that leave out all blocks after the first `count`; None keeps all.

    Raises:
        InputError: the base has fewer.
    """
    if count is None:
        return {}
    check_blocks(base, count)
    config = find_family(base).transformers_class("PreTrainedModel").config_class.from_pretrained(base)
    config.num_hidden_layers = count
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:count]
    return {"config": config}


def check_blocks(base: Path, count: int) -> None:
    """Raise InputError where a base has fewer blocks than `classifier.layers` asks for."""
    there = read_shape(base)["num_hidden_layers"]
    if count > there:
        raise InputError(
            f"classifier.layers: found {count}, expected at most {there}, the blocks of {base}; leave it out for all"
        )


@contextmanager
def readable_base(folder: Path) -> Iterator[None]:
    """Turn what transformers says of a base that it cannot load into one line; short memory passes through.

    Raises:
        InputError: its config.json or weights are not of a model that can be loaded.
    """
    try:
        yield
    except (DuetError, MemoryError):
        raise
    except Exception as error:  # a class of its own for every kind of fault
        if type(error).__name__ == "OutOfMemoryError":
            raise
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{folder}: cannot be loaded ({type(error).__name__}: {reason}); expected the config.json and weights of "
            "the original model; copy the base again"
        ) from None


def quiet_libraries() -> None:
    """Keep stderr for our own lines: no bars for loading weights, no notices about the libraries' own next versions."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\.")
