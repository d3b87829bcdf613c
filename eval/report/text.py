"""How figures are written in the report."""

from collections.abc import Mapping
from typing import Any

Record = Mapping[str, Any]
NOTHING = "-"
SIGNIFICANT = 0.05


def full(score: Record | None) -> str:
    """Value and interval."""
    if score is None or score["value"] is None:
        return NOTHING
    return f"{score['value']:.3f} [{score['low']:.2f}, {score['high']:.2f}]"


def short(score: Record | None) -> str:
    """Value alone."""
    return NOTHING if score is None or score["value"] is None else f"{score['value']:.3f}"


def seconds(value: float | None) -> str:
    """Seconds."""
    return NOTHING if value is None else f"{value:.2f} s"


def p_value(p: float) -> str:
    """A p-value, marked where it is significant."""
    return f"{p:.3f}{'*' if p < SIGNIFICANT else ''}"
