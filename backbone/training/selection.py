"""By which metric the best weights of a run are chosen."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from backbone.config import TrainingConfig
from tickets.errors import InputError

LOSS = "loss"
_TIE = 1e-9  # weight of the loss beside another metric: less than one ticket more or less makes of a share


def check_select_by(stage: str, settings: TrainingConfig, selectable: Sequence[str]) -> None:
    """Refuse a metric that a stage does not have; to be called before anything is loaded.

    Raises:
        InputError: it is none of `selectable`.
    """
    if settings.select_by not in selectable:
        key = f"{stage}.training.select_by"
        raise InputError(
            f"{key}: found {settings.select_by!r}, expected one of {', '.join(selectable)}; correct it or "
            f"--set {key}=..."
        )


def score(metrics: Mapping[str, Any], select_by: str) -> float:
    """Return the chosen metric, turned so that higher is better; NaN where the loss is not finite.

    Of equal ones the lower loss is better: a recall that stays at 0 must not keep the first weights.
    """
    if not math.isfinite(metrics[LOSS]):
        return math.nan
    return -float(metrics[LOSS]) if select_by == LOSS else float(metrics[select_by]) - _TIE * float(metrics[LOSS])
