"""Format figures for the report."""

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]
NO_VALUE = "-"
SIGNIFICANT = 0.05
_SMALLEST_P = 0.001  # that three digits can say


def with_interval(score: Record | None) -> str:
    """Return the value with its interval."""
    if score is None or score["value"] is None:
        return NO_VALUE
    interval = "" if score["low"] is None else f" [{score['low']:.2f}, {score['high']:.2f}]"
    return f"{score['value']:.3f}{interval}"


def value_alone(score: Record | None) -> str:
    """Return the value alone."""
    return NO_VALUE if score is None or score["value"] is None else f"{score['value']:.3f}"


def seconds_alone(score: Record | None) -> str:
    """Return the seconds without their interval."""
    return NO_VALUE if score is None else f"{score['value']:.2f} s"


def seconds_with_interval(score: Record | None) -> str:
    """Return the seconds with their interval."""
    if score is None:
        return NO_VALUE
    interval = "" if score["low"] is None else f" [{score['low']:.2f}, {score['high']:.2f}]"
    return f"{score['value']:.2f} s{interval}"


def per_hour(score: Record) -> str:
    """Return how many an hour, from the seconds of one, with the interval."""
    value, high, low = (
        "" if score[key] is None else f"{3600 / max(score[key], 1e-9):,.0f}" for key in ("value", "low", "high")
    )
    return f"{value} [{low}, {high}]" if low else value


def percent_with_interval(score: Record | None) -> str:
    """Return a share in percent, with its interval."""
    if score is None or score["value"] is None:
        return NO_VALUE
    interval = "" if score["low"] is None else f" [{score['low']:.0%}, {score['high']:.0%}]"
    return f"{score['value']:.1%}{interval}"


def p_value(p: float) -> str:
    """Return a p-value, marked where it is significant."""
    return f"{'<0.001' if p < _SMALLEST_P else f'{p:.3f}'}{'*' if p < SIGNIFICANT else ''}"
