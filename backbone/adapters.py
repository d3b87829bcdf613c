"""CleaningSteps the LoRA adapters that peft writes, without peft: importing peft costs a cold process four seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from backbone.runs.layout import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from backbone.weights import check_floats
from tickets.errors import InputError
from tickets.own_json import read_own
from tickets.plain_reason import plain_reason

_LARGEST_SCALE = 1e6  # alpha / r; what is computed with more overflows
_PREFIX = "base_model.model."  # what peft puts before module names
# options that change the product W x + alpha / r * B A x; none of them has a place in a LoRA GGUF
_UNSUPPORTED = ("use_rslora", "use_dora", "use_qalora", "alpha_pattern", "rank_pattern", "fan_in_fan_out", "lora_bias")


@dataclass(frozen=True)
class LowRank:
    """The change of one linear layer: scale * B A, with A (rank, in) and B (out, rank) (Hu et al. 2021)."""

    a: Tensor
    b: Tensor
    scale: float

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])

    def merged(self, weight: Tensor) -> Tensor:
        """Return `weight` (out, in) with the change added, computed in fp32."""
        return (weight.float() + self.scale * (self.b.float() @ self.a.float())).to(weight.dtype)


def read_adapter(folder: Path) -> dict[str, LowRank]:
    """Return the low-rank products of an adapter folder, by the name of the module they change.

    Raises:
        InputError: not an adapter, or one with options beyond plain LoRA.
    """
    try:
        config = read_own(folder / ADAPTER_CONFIG)
        _refuse_variants(folder, config)
        check_floats(folder / ADAPTER_WEIGHTS)
        tensors = load_file(folder / ADAPTER_WEIGHTS)
        scale = float(config["lora_alpha"]) / int(config["r"])
        if not abs(scale) <= _LARGEST_SCALE or not all(
            t.ndim == 2 and bool(t.isfinite().all()) for t in tensors.values()
        ):
            raise ValueError("alpha, rank or a weight is not a number")
        names = {name.removeprefix(_PREFIX).rpartition(".lora_")[0] for name in tensors}
        products = {
            name: LowRank(tensors[f"{_PREFIX}{name}.lora_A.weight"], tensors[f"{_PREFIX}{name}.lora_B.weight"], scale)
            for name in sorted(names)
        }
        if not products or len(tensors) != 2 * len(products):
            raise ValueError("tensors that are no pairs lora_A and lora_B")
        if any((product.rank, product.b.shape[1]) != (config["r"], config["r"]) for product in products.values()):
            raise ValueError(f"a product of another rank than {config['r']}")
        return products
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ZeroDivisionError,
        OverflowError,
        SafetensorError,
    ) as error:
        raise InputError(f"{folder}: not a LoRA adapter ({plain_reason(error)}); train the run again") from None


def _refuse_variants(folder: Path, config: Mapping[str, Any]) -> None:
    used = [name for name in _UNSUPPORTED if config.get(name)]
    if config.get("bias", "none") != "none":
        used.append("bias")
    if used:
        raise InputError(
            f"{folder}: the adapter uses {', '.join(used)}, which no engine here carries; expected plain LoRA; train "
            "it again without"
        )
