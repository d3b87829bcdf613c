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

    With several `parts`, one per process, every batch is dealt out: rows of neighbouring lengths go to different parts,
    as many to each, so that the parts of a step hold about as many tokens. What does not go round is left out of an
    epoch, other rows every time.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        budget: int,
        max_rows: int,
        seed: int,
        weights: Sequence[float] | None = None,
        parts: int = 1,
        part: int = 0,
    ) -> None:
        """Plan batches over rows of the given token lengths; `weights` draws rows with replacement instead.

        Raises:
            InputError: batches of this size would be too small for every part to have a row of each.
        """
        self._lengths = np.asarray(lengths, dtype=np.float64)
        self._cost = np.maximum(self._lengths, budget / max_rows)
        self._weights = None if weights is None else np.asarray(weights, dtype=np.float64) / np.sum(weights)
        self._seed = seed
        self._parts, self._part = parts, part
        self._epoch = 0
        self._plan: list[list[int]] = []
        expected = self._cost.sum() if self._weights is None else len(lengths) * float(self._cost @ self._weights)
        wanted = max(1, int(np.ceil(expected / budget)))
        if parts > 1 and wanted > len(lengths) // parts:
            raise InputError(
                f"found batches of {len(lengths) / wanted:.1f} tickets, expected one or more for each of {parts} "
                "processes; raise batch_tokens and batch_tickets of the stage (and lower accumulation), or start fewer"
            )
        self._batches = min(wanted, len(lengths))

    def __len__(self) -> int:
        return self._batches

    @property
    def batch_sampler(self) -> "TokenBudgetSampler":
        """Itself: the Trainer looks for `set_epoch` at `dataloader.batch_sampler.batch_sampler`."""
        return self

    @property
    def padding(self) -> float:
        """Share of this epoch's tokens that are padding, where batches are padded to their longest row."""
        batches = [self._lengths[batch] for batch in self.plan()]
        return 1 - sum(float(b.sum()) for b in batches) / sum(float(b.max()) * len(b) for b in batches)

    def set_epoch(self, epoch: int) -> None:
        """Choose the shuffle; the Trainer calls it before every epoch, on resume too."""
        if epoch != self._epoch:
            self._epoch, self._plan = epoch, []

    def __iter__(self) -> Iterator[list[int]]:
        yield from self.plan()

    def plan(self) -> list[list[int]]:
        """All batches of this epoch, of this part."""
        if not self._plan:
            self._plan = self._make_plan()
        return self._plan

    def _make_plan(self) -> list[list[int]]:
        rng = self._rng()
        rows = np.arange(len(self._lengths))
        if self._weights is not None:
            rows = rng.choice(rows, size=len(rows), p=self._weights)
        left_out = len(rows) % self._parts
        if left_out:  # drawn apart: where the rows go round, the batches are those of a single part but for their edges
            rows = np.delete(rows, self._rng(1).choice(len(rows), left_out, replace=False))
        noise = rng.uniform(1 - _JITTER, 1 + _JITTER, size=len(rows))
        ordered = rows[np.argsort(self._lengths[rows] * noise, kind="stable")]
        hands = ordered.reshape(-1, self._parts)  # one row for each part
        batches = np.split(hands, self._cuts(self._cost[hands].sum(axis=1)))
        rng.shuffle(batches)
        return [self._dealt(batch)[self._part] for batch in batches]

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, self._epoch, *purpose))

    def _dealt(self, hands: NDArray[np.int64]) -> list[list[int]]:
        """The rows of every part: of each hand the longest goes to the part that has the fewest tokens so far."""
        dealt: list[list[int]] = [[] for _ in range(self._parts)]
        tokens = np.zeros(self._parts)
        for hand in hands:
            for row, part in zip(
                hand[np.argsort(-self._lengths[hand], kind="stable")], np.argsort(tokens), strict=True
            ):
                dealt[part].append(int(row))
                tokens[part] += self._lengths[row]
        return dealt

    def _cuts(self, cost: NDArray[np.float64]) -> NDArray[np.int64]:
        """Where to cut `cost` into `_batches` non-empty parts of about equal sum."""
        total = np.cumsum(cost)
        cuts = np.searchsorted(total, total[-1] * np.arange(1, self._batches) / self._batches)
        # at least one hand on either side of every cut
        first = np.arange(1, self._batches)
        cuts = np.maximum.accumulate(np.maximum(cuts, first) - first) + first
        return np.asarray(np.minimum(cuts, len(cost) - self._batches + first), dtype=np.int64)
