"""Attention over packed batches: many tickets in one row, none of which sees another.

Ordinary batches go to `scaled_dot_product_attention`. Packed ones say where their tickets begin (`cu_seq_lens_q`). They
go to the variable-length flash kernel on CUDA (Dao et al. 2022); elsewhere each ticket is a call of its own. Neither
builds a mask. Short tickets that train in bf16 on a CPU use plain matrix products: torch's kernel has a slow backward
pass there.
"""

from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

PACKED = "packed"
_FLASH_TYPES = (torch.bfloat16, torch.float16)
# the longest sequence that plain products serve: beyond it torch's kernel is as fast, and kept scores would weigh
_PLAIN_LENGTH = 256


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Compute causal attention of `query` (batch, heads, seq, size) to fewer or as many key-value heads.

    Packed batches are one row of seq tokens with ticket i at `cu_seq_lens_q[i]:cu_seq_lens_q[i + 1]`, none longer than
    `max_length_q`. Returns (batch, seq, heads, size), and no attention weights.
    """
    autocasts = torch.is_autocast_enabled(query.device.type)
    kind = torch.get_autocast_dtype(query.device.type) if autocasts else query.dtype
    if cu_seq_lens_q is None:
        if not dropout and query.shape[2] == key.shape[2] and _plain_serves(query, kind):
            return _plain_attention(query, key, value, attention_mask, scaling), None
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
        return output, None
    if autocasts:
        # fp32 norms of an NF4 base, or an fp32 base, make fp32 queries; torch's own attention is cast by autocast
        query, key, value = (x.to(kind) for x in (query, key, value))
    if query.is_cuda and query.dtype in _FLASH_TYPES and not dropout and max_length_q is not None:
        flat = varlen_attn(
            query[0].transpose(0, 1),
            key[0].transpose(0, 1),
            value[0].transpose(0, 1),
            cu_seq_lens_q,
            cu_seq_lens_q,
            max_length_q,
            max_length_q,
            scale=scaling,
            window_size=(-1, 0),  # causal
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return cast(Tensor, flat).unsqueeze(0), None  # a tuple only with return_aux
    ends = cu_seq_lens_q.tolist()
    parts = [
        scaled_dot_product_attention(
            query[:, :, start:end],
            key[:, :, start:end],
            value[:, :, start:end],
            dropout_p=dropout,
            is_causal=True,
            scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for start, end in pairwise(ends)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _plain_serves(query: Tensor, kind: torch.dtype) -> bool:
    is_short = query.shape[2] <= _PLAIN_LENGTH
    return query.requires_grad and query.device.type == "cpu" and kind == torch.bfloat16 and is_short


def _plain_attention(
    query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, scaling: float | None
) -> Tensor:
    """Compute attention as three products; scores are fp32, as in torch's kernel. Returns (batch, seq, heads, size).

    `allowed` (batch, 1, seq, seq) is true where a query may look; None stands for causal.
    """
    batch, heads, seq, size = query.shape
    groups = key.shape[1]  # each is looked at by heads / groups heads in a row, as one longer query
    if allowed is None:
        allowed = torch.ones(seq, seq, dtype=torch.bool, device=query.device).tril()
    scaling = size**-0.5 if scaling is None else scaling
    with torch.autocast(query.device.type, enabled=False):
        rows = (query.float() * scaling).reshape(batch, groups, -1, size)
        scores = torch.matmul(rows, key.float().transpose(-1, -2)).view(batch, heads, seq, seq)
        # not -inf: a row of padding may look nowhere, and must not become nan
        bias = torch.zeros(allowed.shape, device=query.device).masked_fill_(~allowed, torch.finfo(torch.float32).min)
        weights = scores.add_(bias).softmax(-1).to(torch.bfloat16).view(batch, groups, -1, seq)
        output = torch.matmul(weights, value.to(torch.bfloat16)).view(batch, heads, seq, size)
    return output.transpose(1, 2).contiguous()


def no_mask() -> Tensor:
    """Return the `attention_mask` of a packed batch: four dimensions tell transformers that it is prepared."""
    return torch.empty(0, 0, 0, 0)


def use_packed_attention(decoder: Any) -> None:
    """Make `packed_attention` the attention of a decoder."""
    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, sdpa_mask)
    decoder.set_attn_implementation(PACKED)
