"""Rates over all tickets, from a sample drawn with unequal chances."""

import pytest

pytest.importorskip("fastapi")

from serve.statistics import _bins, _calibration_error, _Verdict


def verdicts(count: int, agreeing: int, confidence: float, weight: float) -> list[_Verdict]:
    return [_Verdict("queue", "IT", confidence, i < agreeing, "m", "random", weight) for i in range(count)]


def test_a_ticket_counts_for_all_that_were_not_drawn() -> None:
    doubtful, sure = verdicts(20, 6, 0.55, 50.0), verdicts(50, 45, 0.95, 20.0)
    assert _calibration_error(doubtful + sure) == pytest.approx((1000 * 0.25 + 1000 * 0.05) / 2000)
    (one,) = _bins(verdicts(1, 1, 0.91, 30.0) + verdicts(2, 0, 0.97, 15.0))
    assert one.model_dump() == pytest.approx({"confidence": 0.94, "accuracy": 0.5, "n": 3})
