"""Swappable LoRA adapters on a loaded base, without peft: importing peft costs a cold process four seconds.

Reads the adapters that peft writes and computes what its `Linear` layers compute in evaluation mode.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from tickets.errors import InputError

_PREFIX = "base_model.model."  # what peft puts before module names


class AdaptedLinear(nn.Module):
    """A linear layer plus the low-rank product of the active adapter: W x + scale * B A x (Hu et al. 2021)."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.active: str | None = None
        self.products: dict[str, tuple[Tensor, Tensor, float]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out), in the format of the base layer."""
        result: Tensor = self.base(x)
        if self.active in self.products:
            a, b, scale = self.products[self.active]
            result = result + (nn.functional.linear(nn.functional.linear(x.to(a.dtype), a), b) * scale).to(result.dtype)
        return result


class Adapters:
    """The adapters of one base, by name; one is active at a time."""

    def __init__(self, model: nn.Module, folders: Mapping[str, Path], device: torch.device) -> None:
        """Wrap the linear layers that any adapter changes.

        Raises:
            InputError: an adapter is unreadable or does not fit the base.
        """
        self._layers: dict[str, AdaptedLinear] = {}
        for name, folder in folders.items():
            for module_name, product in _products(folder).items():
                layer = self._layer(model, module_name, folder)
                a, b, scale = product
                weight = layer.base
                if (a.shape[1], b.shape[0]) != (weight.in_features, weight.out_features):
                    raise InputError(
                        f"{folder}: its {module_name} is {b.shape[0]} x {a.shape[1]}, the base's "
                        f"{weight.out_features} x {weight.in_features}; train the adapter on this base"
                    )
                layer.products[name] = (a.to(device), b.to(device), scale)

    def activate(self, name: str) -> None:
        """Compute with this adapter from now on."""
        for layer in self._layers.values():
            layer.active = name

    def _layer(self, model: nn.Module, module_name: str, folder: Path) -> AdaptedLinear:
        if module_name not in self._layers:
            parent_name, _, leaf = module_name.rpartition(".")
            try:
                parent = model.get_submodule(parent_name)
                base = parent.get_submodule(leaf)
            except AttributeError:
                base = None
            if not isinstance(base, nn.Linear):
                raise InputError(f"{folder}: the base has no {module_name}; train the adapter on this base")
            self._layers[module_name] = AdaptedLinear(base)
            setattr(parent, leaf, self._layers[module_name])
        return self._layers[module_name]


def _products(folder: Path) -> dict[str, tuple[Tensor, Tensor, float]]:
    """A (rank, in), B (out, rank) and scale by module name, from a peft adapter folder."""
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / "adapter_model.safetensors")
        scale = float(config["lora_alpha"]) / int(config["r"])
        names = {name.removeprefix(_PREFIX).rpartition(".lora_")[0] for name in tensors}
        return {
            name: (tensors[f"{_PREFIX}{name}.lora_A.weight"], tensors[f"{_PREFIX}{name}.lora_B.weight"], scale)
            for name in sorted(names)
        }
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder}: not a LoRA adapter ({error}); train the run again") from None
