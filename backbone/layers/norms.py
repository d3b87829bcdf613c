"""RMSNorm (Zhang and Sennrich 2019) with a frozen weight on a CPU: the gradient in one function of its own."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm


class FrozenRMSNorm(Qwen2RMSNorm):
    """Qwen2's norm; on a CPU and with a weight that does not train, with half the passes over memory."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(..., hidden) -> the same, computed in fp32."""
        if hidden_states.is_cuda or self.weight.requires_grad:
            whole: Tensor = super().forward(hidden_states)
            return whole
        found: Tensor = _Normalise.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[no-untyped-call]
        return found


class _Normalise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        exact = x.float()
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
        along = torch.linalg.vecdot(slope, normal).unsqueeze(-1)  # what changes the length alone changes nothing
        return torch.addcmul(slope, normal, along, value=-1 / x.shape[-1]).mul_(scale).to(x.dtype), None, None


def quicken(backbone: nn.Module) -> None:
    """Make every norm of a Qwen2 model such a one."""
    for module in backbone.modules():
        if type(module) is Qwen2RMSNorm:
            module.__class__ = FrozenRMSNorm
