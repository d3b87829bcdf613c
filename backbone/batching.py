"""Batches: cut by a token budget, bucketed by length, shuffled by seed and epoch; and their collation."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

IGNORE = -100  # label of positions that carry no loss, as in transformers
_JITTER = 0.03  # lengths are ordered with this much noise, so that batches differ between epochs


class TokenBudgetSampler(Sampler[list[int]]):
    """Yields batches of row numbers of similar length, the same number of batches every epoch.

    A row costs its length, but at least budget / max_rows; rows in length order are cut where the summed cost passes
    multiples of its share of a batch. So batches hold about `budget` tokens and at most about `max_rows` rows.
    """

    def __init__(
        self, lengths: Sequence[int], budget: int, max_rows: int, seed: int, weights: Sequence[float] | None = None
    ) -> None:
        """Plan batches over rows of the given token lengths; `weights` draws rows with replacement instead."""
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._cost = np.maximum(self._lengths, budget / max_rows)
        self._weights = None if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self._seed = seed
        self._epoch = 0
        expected = self._cost.sum() if self._weights is None else len(lengths) * float(self._cost @ self._weights)
        self._batches = min(max(1, int(np.ceil(expected / budget))), len(lengths))

    def __len__(self) -> int:
        return self._batches

    @property
    def batch_sampler(self) -> "TokenBudgetSampler":
        """Itself: the Trainer looks for `set_epoch` at `dataloader.batch_sampler.batch_sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle; the Trainer calls it before every epoch, on resume too."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self._seed, self._epoch))
        rows = np.arange(len(self._lengths))
        if self._weights is not None:
            rows = rng.choice(rows, size=len(rows), p=self._weights)
        noise = rng.uniform(1 - _JITTER, 1 + _JITTER, size=len(rows))
        ordered = rows[np.argsort(self._lengths[rows] * noise, kind="stable")]
        batches = [part.tolist() for part in np.split(ordered, self._cuts(self._cost[ordered]))]
        rng.shuffle(batches)
        yield from batches

    def _cuts(self, cost: NDArray[np.float64]) -> NDArray[np.int64]:
        """Where to cut `cost` into `_batches` non-empty parts of about equal sum."""
        total = np.cumsum(cost)
        cuts = np.searchsorted(total, total[-1] * np.arange(1, self._batches) / self._batches)
        # at least one row on either side of every cut
        first = np.arange(1, self._batches)
        cuts = np.maximum.accumulate(np.maximum(cuts, first) - first) + first
        return np.asarray(np.minimum(cuts, len(cost) - self._batches + first), dtype=np.int64)


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


def causal_batch(
    prompts: Sequence[Sequence[int]],
    completions: Sequence[Sequence[int]],
    pad_id: int,
    weights: Sequence[Sequence[float]] | None = None,
) -> dict[str, object]:
    """A batch with loss on the completions alone.

    Rows end at the same place (left padding), so the vocabulary head runs only on the last positions, as many as the
    longest completion needs: `logits_to_keep`; `shift_labels` (batch, logits_to_keep) are the ids to predict there, and
    `loss_weights`, of the same shape, what each counts where `weights` are given per completion id.
    """
    batch: dict[str, object] = dict(pad_left([[*p, *c] for p, c in zip(prompts, completions, strict=True)], pad_id))
    keep = max(len(completion) for completion in completions) + 1
    labels = torch.full((len(completions), keep), IGNORE)
    for i, completion in enumerate(completions):
        labels[i, keep - 1 - len(completion) : keep - 1] = torch.tensor(completion, dtype=torch.long)
    batch |= {"labels": labels, "shift_labels": labels, "logits_to_keep": keep}
    if weights is not None:
        loss_weights = torch.zeros((len(completions), keep))
        for i, row in enumerate(weights):
            loss_weights[i, keep - 1 - len(row) : keep - 1] = torch.tensor(row)
        batch["loss_weights"] = loss_weights
    return batch
