"""RMSNorm (Zhang and Sennrich 2019) with a frozen weight on a CPU: the gradient in one function of its own."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class FrozenRMSNorm:
    """Mixed into the RMSNorm of a family: half the passes over memory, on a CPU and where the weight does not train."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Normalise (..., size) over its last dimension, in fp32."""
        norm: Any = self
        if hidden_states.is_cuda or norm.weight.requires_grad:
            output: Tensor = super().forward(hidden_states)  # type: ignore[misc]
            return output
        normalised: Tensor = _Normalise.apply(hidden_states, norm.weight, norm.variance_epsilon)  # type: ignore[no-untyped-call]
        return normalised


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        exact = x.float()
        # 1 / root mean square, (..., 1)
        scale = torch.linalg.vector_norm(exact, dim=-1, keepdim=True).square_()
        scale = scale.div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, scale, weight)
        scaled: Tensor = weight * (exact * scale).to(x.dtype)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, scale, weight = ctx.saved_tensors
        slope = (gradient * weight).float()
        normal = x.float() * scale
        along = torch.linalg.vecdot(slope, normal).unsqueeze(-1)  # a change of length alone leaves the output as it is
        return torch.addcmul(slope, normal, along, value=-1 / x.shape[-1]).mul_(scale).to(x.dtype), None, None


@cache
def _frozen(norm_class: Any) -> Any:
    return type(f"Frozen{norm_class.__name__}", (FrozenRMSNorm, norm_class), {})


def use_frozen_norms(model: nn.Module) -> None:
    """Replace every RMSNorm of a decoder, those of queries and keys too, with FrozenRMSNorm."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and not isinstance(module, FrozenRMSNorm):
            norm_class: Any = type(module)
            module.__class__ = _frozen(norm_class)
