"""Batches cut by a token budget: bucketed by length, shuffled by seed and epoch, split across ranks."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from tickets.errors import InputError

_JITTER = 0.03  # lengths are ordered with this much noise, so that batches differ between epochs


class TokenBudgetSampler(Sampler[list[int]]):
    """Yields batches of row numbers of similar length, the same number of batches every epoch.

    A row costs its length, but at least budget / max_rows; rows in length order are cut where the summed cost passes
    multiples of its share of a batch. So batches hold about `budget` tokens and at most about `max_rows` rows.

    Each batch is split across ranks, so that every rank gets as many rows and about as many tokens. Rows left over are
    skipped this epoch; a different set each epoch.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        budget: int,
        max_rows: int,
        seed: int,
        weights: Sequence[float] | None = None,
        world_size: int = 1,
        rank: int = 0,
    ) -> None:
        """Plan batches over rows of the given token lengths; `weights` draws rows with replacement instead.

        Raises:
            InputError: batches of this size are too small to give every rank a row of each.
        """
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._cost = np.maximum(self._lengths, budget / max_rows)
        self._weights = None if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self._seed = seed
        self._world_size, self._rank = world_size, rank
        self._epoch = 0
        self._plan: list[list[int]] = []
        expected = self._cost.sum() if self._weights is None else len(lengths) * float(self._cost @ self._weights)
        batches = max(1, int(np.ceil(expected / budget)))
        if world_size > 1 and batches > len(lengths) // world_size:
            raise InputError(
                f"found batches of {len(lengths) / batches:.1f} tickets, expected one or more for each of {world_size} "
                "processes; raise batch_tokens and batch_tickets of the stage (and lower accumulation), or start fewer"
            )
        self._batches = min(batches, len(lengths))

    def __len__(self) -> int:
        return self._batches

    @property
    def batch_sampler(self) -> "TokenBudgetSampler":
        """The sampler itself: the Trainer looks for `set_epoch` at `dataloader.batch_sampler.batch_sampler`."""
        return self

    @property
    def padding(self) -> float:
        """Share of padding among this epoch's tokens, where batches are padded to their longest row."""
        batches = [self._lengths[batch] for batch in self.plan()]
        return 1 - sum(float(b.sum()) for b in batches) / sum(float(b.max()) * len(b) for b in batches)

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle; the Trainer calls it before every epoch, on resume too."""
        if epoch != self._epoch:
            self._epoch, self._plan = epoch, []

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.plan()

    def plan(self) -> list[list[int]]:
        """Return this rank's rows of all batches of this epoch."""
        if not self._plan:
            self._plan = self._make_plan()
        return self._plan

    def _make_plan(self) -> list[list[int]]:
        rng = self._rng()
        rows = np.arange(len(self._lengths))
        if self._weights is not None:
            rows = rng.choice(rows, size=len(rows), p=self._weights)
        left_over = len(rows) % self._world_size
        if left_over:  # from a generator of its own: without leftovers, all ranks together draw what one rank draws
            rows = np.delete(rows, self._rng(1).choice(len(rows), left_over, replace=False))
        noise = rng.uniform(1 - _JITTER, 1 + _JITTER, size=len(rows))
        ordered = rows[np.argsort(self._lengths[rows] * noise, kind="stable")]
        groups = ordered.reshape(-1, self._world_size)  # rows of similar length, one for each rank
        batches = np.split(groups, self._cuts(self._cost[groups].sum(axis=1)))
        rng.shuffle(batches)
        return [self._split_across_ranks(batch)[self._rank] for batch in batches]

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, self._epoch, *purpose))

    def _split_across_ranks(self, groups: NDArray[np.int64]) -> list[list[int]]:
        """Return the rows of every rank: of each group, the longest goes to the rank with the fewest tokens so far."""
        shares: list[list[int]] = [[] for _ in range(self._world_size)]
        tokens = np.zeros(self._world_size)
        for group in groups:
            longest_first = group[np.argsort(-self._lengths[group], kind="stable")]
            for row, rank in zip(longest_first, np.argsort(tokens), strict=True):
                shares[rank].append(int(row))
                tokens[rank] += self._lengths[row]
        return shares

    def _cuts(self, cost: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return where to cut `cost` into `_batches` non-empty pieces of about equal sum."""
        total = np.cumsum(cost)
        cuts = np.searchsorted(total, total[-1] * np.arange(1, self._batches) / self._batches)
        # at least one group on either side of every cut
        first = np.arange(1, self._batches)
        cuts = np.maximum.accumulate(np.maximum(cuts, first) - first) + first
        return np.asarray(np.minimum(cuts, len(cost) - self._batches + first), dtype=np.int64)
