"""Cross-entropy over a large vocabulary without its logits: the gradient is taken while a slice of them is at hand."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

_SLICE = 1 << 26  # logits at a time, 256 MiB in fp32


class _HeadLoss(torch.autograd.Function):
    """Per position, the cross-entropy of `states @ weight.T`; `weight` is frozen."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        losses = torch.empty(len(states), dtype=torch.float32, device=states.device)
        gradient = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        step = max(16, _SLICE // weight.shape[0])
        for start in range(0, len(states), step):
            rows = slice(start, start + step)
            logits = linear(states[rows].to(weight.dtype), weight).float()
            total = logits.logsumexp(dim=1, keepdim=True)
            target = labels[rows].unsqueeze(1)
            losses[rows] = (total - logits.gather(1, target)).squeeze(1)
            if gradient is not None:
                slope = logits.sub_(total).exp_()  # softmax
                slope.scatter_add_(1, target, slope.new_full((1, 1), -1.0).expand_as(target))
                gradient[rows] = slope.to(weight.dtype) @ weight
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * slopes.unsqueeze(1).to(gradient.dtype), None, None)


def vocabulary_losses(states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy in nats at every position, (positions,), in fp32.

    Args:
        states: (positions, hidden), after the final norm.
        weight: (vocabulary, hidden), the frozen vocabulary head.
        labels: (positions,), the ids to predict.

    Only a slice of the logits ever exists, and none is kept for the backward pass: its gradient is computed with the
    loss, as in Liger Kernel (Hsu et al. 2024), here in plain torch. Products run in autocast's format where it is on.
    """
    losses: Tensor = _HeadLoss.apply(states, weight, labels)  # type: ignore[no-untyped-call]
    return losses
