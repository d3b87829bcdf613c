"""From a judge model's answers to figures: mean scores, differences, win rates as they are and at equal lengths."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import expit

from eval.bootstrap import Floats, Resamples
from eval.judge.asking import Outcome
from eval.judge.controls import combined
from eval.judge.questions import Case, Question, pair_question, point_question, shown

_NEWTON_STEPS = 30
_TINY = 1e-9


@dataclass(frozen=True)
class PointScores:
    """One dimension.

    Attributes:
        means: mean score with its interval over tickets, by system.
        differences: first system minus each other one on the same tickets, by the other's name.
        unreadable: answers without a score, by system; they count nothing.
    """

    means: Mapping[str, Mapping[str, Any]]
    differences: Mapping[str, Mapping[str, Any]]
    unreadable: Mapping[str, int]


@dataclass(frozen=True)
class PairScores:
    """Two systems, each ticket judged in both orders.

    Attributes:
        wins, ties, losses: shares of tickets; a win only where both orders agree.
        win_rate: wins and half of the ties.
        controlled: win rate expected at equal lengths.
        turned: share of tickets whose verdict changed with the order; `first_shown`: of these, the share on which the
            draft shown first was preferred both times.
        alike: tickets on which both wrote the same, which nobody was asked about: ties.
        unreadable: tickets without a verdict; they count nothing.
        words: mean words of what was judged, of both systems.
    """

    first: str
    second: str
    tickets: int
    wins: Mapping[str, Any]
    ties: Mapping[str, Any]
    losses: Mapping[str, Any]
    win_rate: Mapping[str, Any]
    controlled: Mapping[str, Any]
    turned: Mapping[str, Any]
    first_shown: float | None
    alike: int
    unreadable: int
    words: tuple[float, float]


Replies = Mapping[str, Sequence[str]]  # by system, in the order of the cases


def point_questions(cases: Sequence[Case], replies: Replies, dimension: str, draws: int) -> list[Question]:
    """Return everything that is asked for the scores of one dimension."""
    return [
        point_question(case, reply, dimension, draw)
        for texts in replies.values()
        for case, reply in zip(cases, texts, strict=True)
        for draw in range(draws)
    ]


def score_points(
    cases: Sequence[Case], replies: Replies, dimension: str, draws: int, outcomes: Mapping[str, Outcome]
) -> PointScores:
    """Return the mean scores of every system; of several draws of a ticket the mean counts."""
    values: dict[str, Floats] = {}
    unreadable = {}
    for name, texts in replies.items():
        table = np.array(
            [
                [score_of(outcomes[point_question(case, reply, dimension, draw).key]) for draw in range(draws)]
                for case, reply in zip(cases, texts, strict=True)
            ]
        )
        readable = ~np.isnan(table)
        unreadable[name] = int((~readable).sum())
        sums, counts = np.nan_to_num(table).sum(axis=1), readable.sum(axis=1)
        values[name] = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    resamples = Resamples(len(cases))
    first, *others = values
    return PointScores(
        means={name: asdict(resamples.mean(scores)) for name, scores in values.items()},
        differences={name: asdict(resamples.difference(values[first], values[name])) for name in others},
        unreadable=unreadable,
    )


def score_of(outcome: Outcome) -> float:
    """Return the score, NaN where there is none."""
    return float("nan") if outcome.value is None else float(outcome.value)


def pair_questions(cases: Sequence[Case], first: Sequence[str], second: Sequence[str]) -> list[Question]:
    """Return everything that is asked about two systems: both orders, but nothing where both wrote the same."""
    return [
        pair_question(case, *replies)
        for case, a, b in zip(cases, first, second, strict=True)
        if shown(a) != shown(b)
        for replies in ((a, b), (b, a))
    ]


def score_pair(
    cases: Sequence[Case], names: tuple[str, str], replies: Replies, outcomes: Mapping[str, Outcome]
) -> PairScores:
    """Return the win rates of one system against another."""
    points, turned, first_shown = [], [], []  # 1 for a win, 1/2 for a tie, 0 for a loss; NaN without a verdict
    alike = 0
    for case, a, b in zip(cases, *(replies[name] for name in names), strict=True):
        if shown(a) == shown(b):
            alike += 1
            points.append(0.5)
            turned.append(np.nan)
            continue
        forward, backward = (outcomes[pair_question(case, *order).key] for order in ((a, b), (b, a)))
        verdict = combined(forward, backward)
        points.append(np.nan if verdict is None else {"first": 1.0, "tie": 0.5, "second": 0.0}[verdict])
        changed = verdict == "tie" and (forward.value, backward.value) != ("tie", "tie")
        turned.append(np.nan if verdict is None else float(changed))
        if changed:
            first_shown.append(forward.value == backward.value == "first")
    gained = np.array(points)
    lengths = np.array([[len(shown(text).split()) for text in replies[name]] for name in names], dtype=np.float64)
    resamples = Resamples(len(cases))
    draws = np.vstack([resamples.times, np.ones(len(cases))])
    wins, ties, losses = (
        asdict(resamples.mean(np.where(np.isnan(gained), np.nan, gained == value))) for value in (1.0, 0.5, 0.0)
    )
    return PairScores(
        *names,
        tickets=int((~np.isnan(gained)).sum()),
        wins=wins,
        ties=ties,
        losses=losses,
        win_rate=asdict(resamples.mean(gained)),
        controlled=asdict(resamples.score(win_rate_at_equal_length(gained, lengths, draws))),
        turned=asdict(resamples.mean(np.array(turned))),
        first_shown=float(np.mean(first_shown)) if first_shown else None,
        alike=alike,
        unreadable=int(np.isnan(gained).sum()),
        words=(float(lengths[0].mean()), float(lengths[1].mean())),
    )


def win_rate_at_equal_length(gained: Floats, lengths: Floats, times: Floats) -> Floats:
    """Return win rates that a logistic regression on the difference of lengths expects at equal lengths (Dubois et al.
    2024, arXiv 2404.04475); its penalty is on the slope. scikit-learn takes a minute for the thousand fits.

    Args:
        gained: 1 for a win, 1/2 for a tie, 0 for a loss, NaN for none, (tickets,). A tie is half a win, half a loss.
        lengths: words of both replies, (2, tickets).
        times: how often every ticket counts, a fit per row, (fits, tickets).

    Returns:
        (fits,); NaN where no ticket counts.
    """
    counted = ~np.isnan(gained)
    difference = (lengths[0] - lengths[1])[counted]
    length = np.tanh(difference / (difference.std() or 1.0)) if counted.any() else difference
    weights = times[:, counted]
    won, all_weight = weights @ gained[counted], weights.sum(axis=1)
    with np.errstate(invalid="ignore"):
        unadjusted = won / all_weight
    one_sided = ~((unadjusted > 0) & (unadjusted < 1))  # no finite fit: all wins, all losses, or nothing
    start = np.where(one_sided, 0.5, unadjusted)
    intercept, slope = np.log(start / (1 - start)), np.zeros(len(start))
    for _ in range(_NEWTON_STEPS):
        expected = expit(intercept[:, None] + slope[:, None] * length)
        residual = weights * (gained[counted] - expected)
        curvature = weights * expected * (1 - expected)
        gradient = np.stack([residual.sum(axis=1), residual @ length - slope])
        aa, ab, bb = curvature.sum(axis=1) + _TINY, curvature @ length, curvature @ length**2 + 1
        determinant = aa * bb - ab**2
        intercept += np.clip((bb * gradient[0] - ab * gradient[1]) / determinant, -1, 1)
        slope += np.clip((aa * gradient[1] - ab * gradient[0]) / determinant, -1, 1)
    return np.asarray(np.where(one_sided, unadjusted, expit(intercept)))
