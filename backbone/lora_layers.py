"""The adapted linear layer that trains: peft's, with the low-rank product added inside its own matrix product."""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.nn.functional import linear


class FusedLoraLinear(Linear):
    """What `peft.tuners.lora.Linear` computes, without passes over the whole output that only scale and add.

    peft adds `B(A(x)) * scale` to the output and, under autocast, casts the input to the adapter's fp32 and back. Here
    the small middle product is scaled, and one product with B adds it. Names of parameters and the adapter's file are
    peft's. Serves quantised base layers too.
    """

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """(..., in) -> (..., out), in the format of the base layer's output."""
        if self.disable_adapters or self.merged:
            whole: Tensor = super().forward(x, *args, **kwargs)
            return whole
        (name,) = self.active_adapters
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        flat = x.flatten(0, -2)  # so that what is added to in place is no view
        output: Tensor = self.base_layer(flat, *args, **kwargs)
        flat = self.lora_dropout[name](flat)
        autocasts = torch.is_autocast_enabled(x.device.type)
        kind = output.dtype if autocasts else down.dtype
        middle = linear(flat if autocasts else flat.to(kind), down) * self.scaling[name]
        if type(self.base_layer) is nn.Linear and output.dtype == kind:
            output.addmm_(middle, up.t().to(kind))
        else:  # quantised layers return what must not be changed in place
            output = (output.to(kind) + linear(middle, up).to(kind)).to(output.dtype)
        return output.view(*x.shape[:-1], -1)
