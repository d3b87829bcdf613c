"""How good the suggestions are, by what people decided."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func, select

from serve.metrics import BANDS, band
from store.database import Database
from store.jobs import SAMPLE, queue_length
from store.reviews import open_cards, valid_reviews
from store.tables import ACCEPT, REJECT, predictions, reviews

_Z = 1.959964  # of a 95 % interval
_BINS = 10
_ANCHORED_RATE, _ANCHORED_CARDS = 0.98, 200  # a person who accepts more than that of so many may not be looking
_FEWEST_A_WEEK = 50  # answers; fewer say nothing of a drift
DRIFT = 0.2  # a population stability index above it is worth a look


class Rate(BaseModel):
    """A share with its 95 % interval (Wilson); `n` is what it is a share of."""

    rate: float | None
    low: float | None
    high: float | None
    n: int


class Bin(BaseModel):
    """Labels of about the same confidence: their mean confidence, and the share that people agreed with.

    Both are of all tickets; `n` is how many were drawn and reviewed.
    """

    confidence: float
    accuracy: float
    n: int


class Week(BaseModel):
    """A week of answers, compared with the first one by population stability index."""

    week: str
    answers: int
    drift: dict[str, float]


class Statistics(BaseModel):
    """All of it. `labels` is by column and label, `bands` by column and band of confidence."""

    waiting: int
    to_review: int
    reviewed: int
    actions: dict[str, int]
    columns: dict[str, Rate]
    labels: dict[str, dict[str, Rate]]
    bands: dict[str, dict[str, Rate]]
    models: dict[str, dict[str, Rate]]
    drafts_unchanged: Rate
    median_distance: float | None
    median_seconds: float | None
    sample: dict[str, Rate]
    calibration: dict[str, list[Bin]]
    calibration_error: dict[str, float]
    weeks: list[Week]
    reviewers: dict[str, Rate]
    warnings: list[str]


def wilson(hits: float, n: int) -> Rate:
    """Return a share and its 95 % interval (Wilson 1927); `hits` may be weighted."""
    if n == 0:
        return Rate(rate=None, low=None, high=None, n=0)
    p = hits / n
    centre, spread = p + _Z**2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    return Rate(rate=p, low=max(0.0, (centre - spread) / scale), high=min(1.0, (centre + spread) / scale), n=n)


@dataclass(frozen=True)
class _Verdict:
    """One suggested label, and whether the person's choice agrees."""

    column: str
    label: str
    confidence: float
    agrees: bool
    model: str
    draw: str
    weight: float


def read_statistics(database: Database) -> Statistics:
    """Read everything from the store."""
    with database.read() as connection:
        rows = [dict(row._mapping) for row in connection.execute(valid_reviews())]
        counted = connection.execute(select(reviews.c.action, func.count()).group_by(reviews.c.action))
        all_actions = {str(action): int(count) for action, count in counted}
        waiting, to_review = queue_length(connection), open_cards(connection)
        answers = connection.execute(select(predictions.c.created_at, predictions.c.labels).order_by(predictions.c.id))
        weeks = _weeks((row.created_at, row.labels) for row in answers)
    verdicts = list(_verdicts(rows))
    by_column = _grouped(verdicts, lambda v: v.column)
    drawn = [v for v in verdicts if v.draw in SAMPLE]
    drafts = [row for row in rows if row["draft"] and row["action"] != REJECT and not row["blind"]]
    distances = [row["reply_distance"] for row in drafts if row["reply_distance"] is not None]
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    by_person: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        by_person[row["reviewer"]].append(row["action"] == ACCEPT)
    drawn_by_column = _grouped(drawn, lambda v: v.column)
    return Statistics(
        waiting=waiting,
        to_review=to_review,
        reviewed=len(rows),
        actions=all_actions,
        columns={c: wilson(sum(v.agrees for v in vs), len(vs)) for c, vs in by_column.items()},
        labels=_nested(verdicts, lambda v: v.label),
        bands=_nested(verdicts, lambda v: band(v.confidence)),
        models=_nested(verdicts, lambda v: v.model),
        drafts_unchanged=wilson(sum(row["reply"] == row["draft"] for row in drafts), len(drafts)),
        median_distance=median(distances) if distances else None,
        median_seconds=median(seconds) if seconds else None,
        sample={column: _weighted(vs) for column, vs in drawn_by_column.items()},
        calibration={column: _bins(vs) for column, vs in drawn_by_column.items()},
        calibration_error={column: _calibration_error(vs) for column, vs in drawn_by_column.items()},
        weeks=weeks,
        reviewers={name: wilson(sum(accepted), len(accepted)) for name, accepted in sorted(by_person.items())},
        warnings=_warnings(by_person, weeks),
    )


def _verdicts(rows: Iterable[Mapping[str, Any]]) -> Iterator[_Verdict]:
    for row in rows:
        rejected = row["action"] == REJECT and row["final"] == row["labels"]  # no better label was given
        for column, label in row["labels"].items():
            confidence = row["probabilities"][column][label]
            agrees = row["final"].get(column) == label and not rejected
            weight = 1 / row["draw_probability"] if row["draw_probability"] else 1.0
            yield _Verdict(column, label, confidence, agrees, row["model"], row["draw"], weight)


def _grouped(verdicts: Iterable[_Verdict], key: Any) -> dict[str, list[_Verdict]]:
    groups: dict[str, list[_Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[key(verdict)].append(verdict)
    return dict(groups)


def _rates(verdicts: Iterable[_Verdict], key: Any) -> dict[str, Rate]:
    found = _grouped(verdicts, key)
    return {name: wilson(sum(v.agrees for v in found[name]), len(found[name])) for name in sorted(found, key=_order)}


def _order(name: str) -> tuple[int, str]:
    """Return a sort key: bands by confidence, other names by the alphabet."""
    return next((i for i, (_, band_name) in enumerate(BANDS) if band_name == name), 0), name


def _nested(verdicts: Iterable[_Verdict], key: Any) -> dict[str, dict[str, Rate]]:
    return {column: _rates(vs, key) for column, vs in _grouped(verdicts, lambda v: v.column).items()}


def _weighted(verdicts: Sequence[_Verdict]) -> Rate:
    """Return the share of agreement over all tickets, from a random sample, in which sure ones are rarer."""
    total = _weight(verdicts)
    share = _weight(v for v in verdicts if v.agrees) / total
    effective = round(total**2 / sum(v.weight**2 for v in verdicts))  # Kish 1965
    return wilson(share * effective, max(1, effective)).model_copy(update={"n": len(verdicts)})


def _by_bin(verdicts: Iterable[_Verdict]) -> list[list[_Verdict]]:
    groups: dict[int, list[_Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[min(int(verdict.confidence * _BINS), _BINS - 1)].append(verdict)
    return [vs for _, vs in sorted(groups.items())]


def _bin(verdicts: Sequence[_Verdict]) -> Bin:
    total = _weight(verdicts)
    return Bin(
        confidence=sum(v.weight * v.confidence for v in verdicts) / total,
        accuracy=_weight(v for v in verdicts if v.agrees) / total,
        n=len(verdicts),
    )


def _bins(verdicts: Iterable[_Verdict]) -> list[Bin]:
    return [_bin(vs) for vs in _by_bin(verdicts)]


def _calibration_error(verdicts: Sequence[_Verdict]) -> float:
    """Return the mean distance of confidence and accuracy over all tickets, from a random sample."""
    found = [(_weight(vs), _bin(vs)) for vs in _by_bin(verdicts)]
    return sum(weight * abs(one.confidence - one.accuracy) for weight, one in found) / _weight(verdicts)


def _weight(verdicts: Iterable[_Verdict]) -> float:
    """Return for how many tickets of all these stand."""
    return sum(v.weight for v in verdicts)


def _weeks(answers: Iterable[tuple[float, Mapping[str, str]]]) -> list[Week]:
    counts: dict[str, dict[str, Counter[str]]] = {}
    for created, labels in answers:
        year, week, _ = datetime.fromtimestamp(created, UTC).isocalendar()
        columns = counts.setdefault(f"{year}-W{week:02d}", defaultdict(Counter))
        for column, label in labels.items():
            columns[column][label] += 1
    weeks: list[Week] = []
    first: Mapping[str, Counter[str]] | None = None
    for name, columns in sorted(counts.items()):
        n = max(sum(labels.values()) for labels in columns.values())
        enough = n >= _FEWEST_A_WEEK
        first = columns if first is None and enough else first
        drift = (
            {c: _stability(first[c], labels) for c, labels in columns.items() if c in first} if first and enough else {}
        )
        weeks.append(Week(week=name, answers=n, drift=drift))
    return weeks


def _stability(expected: Counter[str], found: Counter[str]) -> float:
    """Return the population stability index of two samples of labels; half a ticket is added to every label."""
    labels = set(expected) | set(found)
    p = {label: (expected[label] + 0.5) / (expected.total() + 0.5 * len(labels)) for label in labels}
    q = {label: (found[label] + 0.5) / (found.total() + 0.5 * len(labels)) for label in labels}
    return sum((q[label] - p[label]) * math.log(q[label] / p[label]) for label in labels)


def _warnings(by_person: Mapping[str, Sequence[bool]], weeks: Sequence[Week]) -> list[str]:
    anchored = [
        f"{name} accepted {sum(accepted) / len(accepted):.0%} of {len(accepted)} cards as they stood: are they read?"
        for name, accepted in by_person.items()
        if len(accepted) >= _ANCHORED_CARDS and sum(accepted) / len(accepted) > _ANCHORED_RATE
    ]
    latest = weeks[-1] if weeks else None
    drifting = [
        f"The labels of {column} have changed since the first week (index {index:.2f}, above {DRIFT}): train again?"
        for column, index in (latest.drift if latest else {}).items()
        if index > DRIFT
    ]
    return anchored + drifting
