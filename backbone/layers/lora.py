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
from backbone.layers.adapter_mask import Handover
from tickets.errors import InputError


class FusedLoraLinear(Linear):
    """What `peft.tuners.lora.Linear` computes, without passes over the whole output that only scale and add.

    peft adds `B(A(x)) * scale` to the output and, under autocast, casts the input to the adapter's fp32 and back. Here
    the small middle product is scaled, and one product with B adds it. Names of parameters and the adapter's file are
    peft's. Serves quantised base layers too.
    """

    _handover: Handover | None = None
    _earlier: LowRank | None = None

    def hand_over(self, handover: Handover, earlier: LowRank | None) -> None:
        """Where `handover` says so, compute with the frozen `earlier` instead of the adapter."""
        if earlier is not None:
            device = self.get_base_layer().weight.device
            earlier = replace(earlier, a=earlier.a.to(device), b=earlier.b.to(device))
        self._handover, self._earlier = handover, earlier  # no buffers: DDP would send them round at every step

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(..., in) -> (..., out), in the format of the base layer's output."""
        if self.disable_adapters or self.merged:
            whole: Tensor = super().forward(x, *args, **kwargs)
            return whole
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        flat = x.flatten(0, -2)  # so that what is added to in place is no view
        output: Tensor = self.base_layer(flat, *args, **kwargs)
        autocasts = torch.is_autocast_enabled(x.device.type)
        kind = output.dtype if autocasts else down.dtype
        flat = flat if autocasts else flat.to(kind)
        middle = linear(self.lora_dropout[name](flat), down) * self.scaling[name]
        read = self._handover.read if self._handover else None
        if read is not None:
            middle = middle.masked_fill(read.unsqueeze(1), 0)
            if self._earlier is not None:
                other = linear(flat, self._earlier.a) * self._earlier.scale
                middle = torch.cat([middle, other.masked_fill(~read.unsqueeze(1), 0)], dim=1)
                up = torch.cat([up, self._earlier.b], dim=1)
        if type(self.base_layer) is nn.Linear and output.dtype == kind:
            output.addmm_(middle, up.t().to(kind))
        else:  # quantised layers return what must not be changed in place
            output = (output.to(kind) + linear(middle, up).to(kind)).to(output.dtype)
        return output.view(*x.shape[:-1], -1)


def hand_over(model: PeftModel, changes: Mapping[str, LowRank]) -> Handover:
    """Let every adapted layer know the classifier's frozen `changes`, by module name.

    The feed-forward part of the last block is left out: it runs at the positions of the reply alone (`last_layer`), and
    no later position sees what it makes of the ticket.

    Raises:
        InputError: `changes` are of layers that the generator's adapter does not change.
    """
    handover = Handover()
    last = f"layers.{model.get_base_model().config.num_hidden_layers - 1}.mlp."
    layers = {
        name.removeprefix("base_model.model."): layer
        for name, layer in model.named_modules()
        if isinstance(layer, FusedLoraLinear)
    }
    foreign = sorted(changes.keys() - layers.keys())
    if foreign:
        raise InputError(
            f"the classifier's adapter changes {foreign[0]}, the generator's would not; expected the same lora.targets "
            "for both, or generator.reading=own"
        )
    for name, layer in layers.items():
        if last not in name:
            layer.hand_over(handover, changes.get(name))
    return handover
