"""Collating token ids: padded or packed batches, and where they carry loss."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

IGNORE = -100  # label of positions that carry no loss, as in transformers


def pad_left(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, Tensor]:
    """Left-pad token ids: `input_ids`, `attention_mask` and `position_ids`, each (batch, seq).

    Padding is told by the mask alone, so a pad id that also occurs in the text is harmless.
    """
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row, dtype=torch.long)
        mask[i, width - len(row) :] = 1
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}


def pack(rows: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return all rows in one, without padding: `input_ids` and `position_ids`, each (1, tokens), positions restarting.

    `cu_seq_lens_q` (rows + 1) tells where each begins and `max_length_q` how long the longest is, by the names that
    transformers gives them; attention that heeds them (`backbone.layers.attention`) keeps the rows apart.
    """
    ids = torch.tensor([token for row in rows for token in row]).unsqueeze(0)
    positions = torch.cat([torch.arange(len(row)) for row in rows]).unsqueeze(0)
    ends = torch.tensor([0, *accumulate(len(row) for row in rows)], dtype=torch.int32)
    return {
        "input_ids": ids,
        "position_ids": positions,
        "cu_seq_lens_q": ends,
        "max_length_q": max(len(row) for row in rows),
    }


def collate(rows: Sequence[Sequence[int]], pad_id: int, packed: bool) -> dict[str, Any]:
    """Return a batch of token ids, packed or padded."""
    return pack(rows) if packed else pad_left(rows, pad_id)


def causal_batch(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    pad_id: int,
    weights: Sequence[Sequence[float]] | None = None,
    packed: bool = False,
    prefix_lengths: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return a batch with loss on the completions alone.

    The vocabulary head runs at no other position: `loss_positions` (completion ids) index the flattened (batch * seq)
    states that predict the completions' ids, `shift_labels`, row by row; `loss_weights` is what each counts, where
    `weights` are given. With `prefix_lengths`, the batch holds `classifier_mask` in the ids' shape: True at so many
    leading ids of every row (`backbone.layers.adapter_mask`).
    """
    rows = [[*p, *c] for p, c in zip(prompts, completions, strict=True)]
    batch = collate(rows, pad_id, packed)
    width = batch["input_ids"].shape[1]
    # where every row ends in the flattened batch
    ends = accumulate(map(len, rows)) if packed else range(width, (len(rows) + 1) * width, width)
    spans = [torch.arange(end - 1 - len(c), end - 1) for end, c in zip(ends, completions, strict=True)]
    labels = torch.tensor([token for completion in completions for token in completion])
    # the Trainer counts what carries loss in `shift_labels`, and looks whether there are `labels` before it does
    batch |= {"loss_positions": torch.cat(spans), "labels": labels, "shift_labels": labels}
    if weights is not None:
        batch["loss_weights"] = torch.tensor([weight for row in weights for weight in row])
    if prefix_lengths is not None:
        batch["classifier_mask"] = prefix_mask(batch, rows, prefix_lengths)
    return batch


def prefix_mask(batch: Mapping[str, Any], rows: Sequence[Sequence[int]], lengths: Sequence[int]) -> Tensor:
    """Return a mask in the shape of the ids, True at the first `lengths` ids of every row, packed or left-padded."""
    mask = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    packed = "cu_seq_lens_q" in batch
    starts = batch["cu_seq_lens_q"].tolist() if packed else [mask.shape[1] - len(row) for row in rows]
    for i, length in enumerate(lengths):
        mask[0 if packed else i, starts[i] : starts[i] + length] = True
    return mask
