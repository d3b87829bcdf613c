"""Operating points in a comparison: what it costs to find more tickets of the rarest class."""

import numpy as np
import pytest

from eval.bootstrap import Resamples
from eval.operating_points import STRENGTHS, operating_points
from eval.report.blocks import Table
from eval.report.quality import _rarest_class
from eval.saved_keys import to_saved

TRAINING = ["common"] * 90 + ["rare"] * 10


def test_a_strength_of_one_removes_the_class_shares() -> None:
    # by share the limit is 0.1 at strength 1, and about 0.012 at strength 2
    rare = [0.6, 0.3, 0.2, 0.09, 0.02, 0.01]
    truth = ["rare", "rare", "common", "rare", "common", "common"]
    probabilities = [{"common": 1 - p, "rare": p} for p in rare]
    found = operating_points(probabilities, truth, TRAINING, Resamples(len(truth)))
    assert found and found.label == "rare"
    by_strength = {point.strength: point for point in found.points}
    assert tuple(by_strength) == STRENGTHS
    assert by_strength[0.0].recall.value == pytest.approx(1 / 3)
    assert by_strength[0.0].accuracy.value == pytest.approx(4 / 6)
    assert by_strength[1.0].recall.value == pytest.approx(2 / 3)
    assert by_strength[1.0].accuracy.value == pytest.approx(4 / 6)
    assert by_strength[2.0].recall.value == pytest.approx(1.0)
    assert by_strength[2.0].accuracy.value == pytest.approx(4 / 6)  # 0.02 is given too, 0.01 is not
    recalls = [point.recall.value for point in found.points]
    assert recalls == sorted(recalls)


def test_unlabelled_tickets_and_unseen_classes_count_nothing() -> None:
    probabilities = [{"common": 0.7, "rare": 0.3}] * 3
    found = operating_points(probabilities, ["common", None, "new"], TRAINING, Resamples(3))
    assert found and found.label == "common"
    assert found.points[0].accuracy.value == pytest.approx(1 / 2)  # `new` is wrong, None is left out
    assert operating_points(probabilities, [None, None, "new"], TRAINING, Resamples(3)) is None
    certain = operating_points([{"common": 1.0, "rare": 0.0}] * 3, ["common", "rare", "rare"], TRAINING, Resamples(3))
    assert certain and np.isfinite(certain.points[-1].accuracy.value)


def test_the_report_shows_them_and_older_reports_have_none() -> None:
    probabilities = [{"common": 1 - p, "rare": p} for p in (0.6, 0.3, 0.05)]
    found = operating_points(probabilities, ["rare", "rare", "common"], TRAINING, Resamples(3))
    assert found
    (table,) = _rarest_class({"name": "two-stage", "rarest_class": {"priority": to_saved(found)}})
    assert isinstance(table, Table)
    assert [row[:2] for row in table.rows] == [["priority, rare", "0"], *(["", f"{s:g}"] for s in STRENGTHS[1:])]
    assert _rarest_class({"name": "two-stage"}) == []
