"""The adapted linear layer that trains: peft's, with the low-rank product added inside its own matrix product."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn.functional import linear

from backbone.adapters import LowRank
from backbone.layers.adapter_mask import AdapterMask
from tickets.errors import InputError


class FusedLoraLinear(Linear):
    """What `peft.tuners.lora.Linear` computes, without passes over the whole output that only scale and add.

    peft adds `B(A(x)) * scale` to the output and, under autocast, casts the input to the adapter's fp32 and back. Here
    the small middle product is scaled, and one product with B adds it. Names of parameters and the adapter's file are
    peft's. Quantised base layers work too.
    """

    _adapter_mask: AdapterMask | None = None
    _classifier_change: LowRank | None = None

    def set_classifier_prefix(self, adapter_mask: AdapterMask, change: LowRank | None) -> None:
        """Apply the frozen `change` instead of the adapter where the mask is True; None applies neither."""
        if change is not None:
            device = self.get_base_layer().weight.device
            change = replace(change, a=change.a.to(device), b=change.b.to(device))
        self._adapter_mask, self._classifier_change = (
            adapter_mask,
            change,
        )  # not buffers: DDP broadcasts those each step

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map (..., in) to (..., out), in the format of the base layer's output."""
        if self.disable_adapters or self.merged:
            base_output: Tensor = super().forward(x, *args, **kwargs)
            return base_output
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight  # (rank, in), (out, rank)
        flat = x.flatten(0, -2)  # (tokens, in); the output below must not be a view, since it is added to in place
        output: Tensor = self.base_layer(flat, *args, **kwargs)
        autocasts = torch.is_autocast_enabled(x.device.type)
        dtype = output.dtype if autocasts else down.dtype
        flat = flat if autocasts else flat.to(dtype)
        middle = linear(self.lora_dropout[name](flat), down) * self.scaling[name]  # (tokens, rank)
        mask = self._adapter_mask.mask if self._adapter_mask else None  # (tokens,)
        if mask is not None:
            middle = middle.masked_fill(mask.unsqueeze(1), 0)
            change = self._classifier_change
            if change is not None:
                prefix_middle = linear(flat, change.a) * change.scale
                middle = torch.cat([middle, prefix_middle.masked_fill(~mask.unsqueeze(1), 0)], dim=1)
                up = torch.cat([up, change.b], dim=1)
        if type(self.base_layer) is nn.Linear and output.dtype == dtype:
            output.addmm_(middle, up.t().to(dtype))
        else:  # a quantised layer's output must not be changed in place
            output = (output.to(dtype) + linear(middle, up).to(dtype)).to(output.dtype)
        return output.view(*x.shape[:-1], -1)


def set_classifier_prefix(model: PeftModel, changes: Mapping[str, LowRank]) -> AdapterMask:
    """Give every adapted layer the classifier's frozen `changes`, by module name; return the mask they share.

    The feed-forward part of the last block is left out: it runs at the reply's positions alone (`last_layer`), and no
    later position sees what it makes of the ticket.

    Raises:
        InputError: `changes` hold a layer that the generator's adapter does not change.
    """
    adapter_mask = AdapterMask()
    last_mlp = f"layers.{model.get_base_model().config.num_hidden_layers - 1}.mlp."
    layers = {
        name.removeprefix("base_model.model."): layer
        for name, layer in model.named_modules()
        if isinstance(layer, FusedLoraLinear)
    }
    unknown = sorted(changes.keys() - layers.keys())
    if unknown:
        raise InputError(
            f"the classifier's adapter changes {unknown[0]}, the generator's would not; expected the same lora.targets "
            "for both, or generator.reading=own"
        )
    for name, layer in layers.items():
        if last_mlp not in name:
            layer.set_classifier_prefix(adapter_mask, changes.get(name))
    return adapter_mask
