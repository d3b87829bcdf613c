"""How far a judge model agrees with people, and with itself."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from eval.agreement import ordinal_alpha
from eval.bootstrap import Floats, Resamples

FEWEST_ROWS = 20  # rated replies below which nothing can be said
LOWEST_RHO = 0.4
LOWEST_ALPHA = 0.4  # where one person rated
LOWEST_PEOPLE = 0.2  # of people among themselves, for their ratings to be a measure of anything
MARGIN = 0.1  # that the judge's alpha may be below that of people among themselves

Ratings = Sequence[Mapping[str, Mapping[str, int]]]  # per rater, by row of the sheet and dimension


@dataclass(frozen=True)
class Agreement:
    """A judge beside people on one dimension.

    Attributes:
        rows: replies that both scored.
        people: Krippendorff's alpha (ordinal) of two people, mean over pairs; None with one person.
        judge: alpha of the judge and one person, mean over people.
        rho: Spearman's correlation with the mean of people, with its interval.
        exact, within_one: shares of rows at which the judge has the rounded mean of people, or is one off at most.
        usable: whether the judge's scores are evidence; `reason` says why not.
    """

    rows: int
    people: float | None
    judge: float | None
    rho: Mapping[str, Any]
    exact: float
    within_one: float
    usable: bool
    reason: str


@dataclass(frozen=True)
class Retest:
    """The same questions asked twice: alpha, and shares of equal scores and of scores one apart at most."""

    questions: int
    alpha: float | None
    exact: float
    within_one: float


def with_people(ratings: Ratings, scores: Mapping[str, float], dimension: str) -> Agreement | None:
    """Compare a judge's scores, by row of the sheet, with what people gave; None where nobody rated the dimension."""
    rows = [row for row in scores if any(dimension in rating.get(row, {}) for rating in ratings)]
    if not rows:
        return None
    people = [[rating.get(row, {}).get(dimension) for row in rows] for rating in ratings]
    judged = [scores[row] for row in rows]
    mean = np.array([np.mean([v for v in column if v is not None]) for column in zip(*people, strict=True)])
    among = [ordinal_alpha(pair) for pair in combinations(people, 2)]
    beside = [ordinal_alpha([judged, person]) for person in people]
    own = np.array(judged, dtype=np.float64)
    rho = Resamples(len(rows)).statistic(lambda times: _spearman(own, mean, times))
    humans, judge = _mean(among), _mean(beside)
    reason = _reason(len(rows), humans, judge, rho.value)
    distance = np.abs(own - np.floor(mean + 0.5))
    return Agreement(
        rows=len(rows),
        people=humans,
        judge=judge,
        rho=asdict(rho),
        exact=float(np.mean(distance < 0.5)),  # a mean of draws is no whole number
        within_one=float(np.mean(distance <= 1)),
        usable=not reason,
        reason=reason,
    )


def with_itself(pairs: Sequence[tuple[float, float]]) -> Retest:
    """Compare scores of the same questions, asked twice."""
    first, second = (np.array(values) for values in zip(*pairs, strict=True))
    distance = np.abs(first - second)
    return Retest(
        questions=len(pairs),
        alpha=ordinal_alpha([first.tolist(), second.tolist()]),
        exact=float(np.mean(distance == 0)),
        within_one=float(np.mean(distance <= 1)),
    )


def _reason(rows: int, people: float | None, judge: float | None, rho: float) -> str:
    """Say why scores are no evidence; empty where they are."""
    lowest = LOWEST_ALPHA if people is None else people - MARGIN
    if rows < FEWEST_ROWS:
        return f"only {rows} rated replies, {FEWEST_ROWS} are needed"
    if people is not None and people < LOWEST_PEOPLE:
        return f"people hardly agree among themselves, alpha {people:.2f}"
    if judge is None or judge < lowest:
        return f"alpha {'unknown' if judge is None else f'{judge:.2f}'}, at least {lowest:.2f} wanted"
    if not rho >= LOWEST_RHO:  # NaN where one of them gave the same score throughout
        return f"correlation {rho:.2f}, at least {LOWEST_RHO} wanted"
    return ""


def _spearman(first: Floats, second: Floats, times: Floats) -> float:
    drawn = np.repeat(np.arange(len(times)), times.astype(int))
    a, b = first[drawn], second[drawn]
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None
