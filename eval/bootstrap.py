"""Uncertainty: percentile bootstrap intervals, paired differences, and McNemar's test."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

Floats = NDArray[np.float64]
RESAMPLES = 1_000
_SEED = 0
_FEWEST = 6  # values whose extremes hold the median in 95 % of cases


@dataclass(frozen=True)
class Score:
    """A figure with its 95 % percentile bootstrap interval (Efron and Tibshirani 1993)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Difference:
    """First minus second of two systems on the same tickets, with its interval and a two-sided p-value."""

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Resamples:
    """The same 1,000 draws of `count` tickets for every figure, so that differences between systems are paired."""

    count: int

    @cached_property
    def times(self) -> Floats:
        """How often every ticket is drawn, (RESAMPLES, count)."""
        rng = np.random.default_rng(_SEED)
        drawn = rng.multinomial(self.count, np.full(self.count, 1 / self.count), size=RESAMPLES)
        return drawn.astype(np.float64)

    def mean(self, values: Floats) -> Score:
        """Return the mean over tickets; those with NaN have no value and are left out."""
        return self.ratio(np.nan_to_num(values), (~np.isnan(values)).astype(np.float64))

    def ratio(self, top: Floats, bottom: Floats) -> Score:
        """Sum of `top` over sum of `bottom`, both per ticket (count,); NaN where nothing was counted."""
        return Score(_divide(top.sum(), bottom.sum()), *self._limits(self._ratios(top, bottom)))

    def replicates(self, of_times: Callable[[Floats], float]) -> Floats:
        """Return a figure of every draw, and last of all tickets, from how often each ticket counts, (count,)."""
        return np.array([of_times(times) for times in [*self.times, np.ones(self.count)]])

    def statistic(self, of_times: Callable[[Floats], float]) -> Score:
        """Return that figure with its interval."""
        return self.score(self.replicates(of_times))

    def score(self, replicates: Floats) -> Score:
        """Return a figure with its interval, from its replicates."""
        *values, value = replicates
        return Score(float(value), *self._limits(np.array(values)))

    def replicate_difference(self, first: Floats, second: Floats) -> Difference:
        """Return the paired bootstrap (Koehn 2004) of the difference of two figures, from their replicates."""
        *values, value = first - second
        return Difference(float(value), *self._limits(np.array(values)), _two_sided(np.array(values)))

    def difference(self, first: Floats, second: Floats) -> Difference:
        """Return the paired bootstrap of the mean difference over tickets that have both values."""
        both = ~(np.isnan(first) | np.isnan(second))
        gap = np.where(both, np.nan_to_num(first) - np.nan_to_num(second), 0.0)
        weight = both.astype(np.float64)
        values = self._ratios(gap, weight)
        return Difference(_divide(gap.sum(), weight.sum()), *self._limits(values), _two_sided(values))

    def _ratios(self, top: Floats, bottom: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((self.times @ top) / (self.times @ bottom))

    @staticmethod
    def _limits(values: Floats) -> tuple[float, float]:
        defined = values[~np.isnan(values)]
        if not len(defined):
            return float("nan"), float("nan")
        low, high = np.percentile(defined, [2.5, 97.5])
        return float(low), float(high)


def median_score(values: Sequence[float]) -> Score:
    """Return the median with its interval; none of fewer than six values, whose whole range would be too narrow."""
    if len(values) < _FEWEST:
        return Score(float(np.median(values)), float("nan"), float("nan"))
    return Resamples(len(values)).statistic(lambda times: float(np.median(np.repeat(values, times.astype(int)))))


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the exact two-sided p-value that two systems differ on the same tickets (McNemar 1947)."""
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def _two_sided(values: Floats) -> float:
    """Return twice the share of draws on the other side of zero; one draw is counted on top, so that it is never 0."""
    beyond = min((values <= 0).sum(), (values >= 0).sum())
    return min(1.0, 2 * float(beyond + 1) / (len(values) + 1))


def _divide(top: float, bottom: float) -> float:
    return float(top / bottom) if bottom else float("nan")
