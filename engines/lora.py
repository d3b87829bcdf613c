"""Swappable LoRA adapters on a loaded base: what peft's `Linear` layers compute in evaluation mode, without peft."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from backbone.adapters import LowRank
from backbone.layers.adapter_mask import AdapterMask
from tickets.errors import InputError


class AdaptedLinear(nn.Module):
    """A linear layer plus the low-rank product of the active adapter: W x + scale * B A x (Hu et al. 2021)."""

    def __init__(self, base: nn.Linear, adapter_mask: AdapterMask) -> None:
        super().__init__()
        self.base = base
        self.active: str | None = None
        self.prefix_adapter: str | None = None
        self.products: dict[str, LowRank] = {}
        self._adapter_mask = adapter_mask

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), in the format of the base layer."""
        result: Tensor = self.base(x)
        in_prefix = self._adapter_mask.mask
        applied = [(self.active, in_prefix)]
        if in_prefix is not None:
            applied.append((self.prefix_adapter, ~in_prefix))
        for name, excluded in applied:
            if name in self.products:
                change = self.products[name]
                down = nn.functional.linear(x.to(change.a.dtype), change.a)
                if excluded is not None:
                    down = down.masked_fill(excluded.view(*x.shape[:-1], 1), 0)
                result = result + (nn.functional.linear(down, change.b) * change.scale).to(result.dtype)
        return result


class Adapters:
    """The adapters of one base, by name. One is active at a time; a second may be applied under `adapter_mask`."""

    def __init__(self, model: nn.Module, adapters: Mapping[str, Mapping[str, LowRank]], device: torch.device) -> None:
        """Wrap the linear layers that any adapter changes.

        Args:
            adapters: by their name, the change of every module, by its name.

        Raises:
            InputError: an adapter does not fit the base.
        """
        self._layers: dict[str, AdaptedLinear] = {}
        self.adapter_mask = AdapterMask()
        for name, changes in adapters.items():
            for module_name, change in changes.items():
                layer = self._layer(model, module_name, name)
                weight = layer.base
                if (change.a.shape[1], change.b.shape[0]) != (weight.in_features, weight.out_features):
                    raise InputError(
                        f"{name} adapter: its {module_name} is {change.b.shape[0]} x {change.a.shape[1]}, the base's "
                        f"{weight.out_features} x {weight.in_features}; train the adapter on this base"
                    )
                layer.products[name] = replace(change, a=change.a.to(device), b=change.b.to(device))

    def activate(self, name: str, prefix_adapter: str | None = None) -> None:
        """Apply this adapter from now on, and `prefix_adapter` where `adapter_mask` is True."""
        for layer in self._layers.values():
            layer.active, layer.prefix_adapter = name, prefix_adapter

    def _layer(self, model: nn.Module, module_name: str, adapter: str) -> AdaptedLinear:
        if module_name not in self._layers:
            parent_name, _, leaf = module_name.rpartition(".")
            try:
                parent = model.get_submodule(parent_name)
                base = parent.get_submodule(leaf)
            except AttributeError:
                base = None
            if not isinstance(base, nn.Linear):
                raise InputError(f"{adapter} adapter: the base has no {module_name}; train it on this base")
            self._layers[module_name] = AdaptedLinear(base, self.adapter_mask)
            setattr(parent, leaf, self._layers[module_name])
        return self._layers[module_name]
