"""Whether heads, labels and calibration of a classifier belong together."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbone.runs.layout import CALIBRATION, HEADS, LABELS
from classifier.calibration import Calibration
from classifier.head_names import TAGS
from tickets.errors import InputError
from tickets.labels import LabelSpace


def check_parts(
    folder: Path,
    space: LabelSpace,
    calibration: Calibration,
    heads: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]],
) -> None:
    """Refuse parts of different classifiers before anything is computed.

    Raises:
        InputError: names the file and the head that does not fit.
    """
    sizes = {column: len(classes) for column, classes in space.columns.items()}
    sizes |= {TAGS: len(space.tags)} if space.tags else {}
    for head, size in sizes.items():
        if head not in heads:
            raise _mismatch(folder / HEADS, f"has no head for {head!r}, which {LABELS} names")
        weight, bias = heads[head]
        if weight.ndim != 2 or not np.issubdtype(weight.dtype, np.floating):
            raise _mismatch(folder / HEADS, f"head {head!r} is no matrix of numbers")
        if weight.shape[0] != size or bias.shape != (size,):
            raise _mismatch(folder / HEADS, f"head {head!r} has {len(weight)} classes, and {LABELS} has {size}")
        fitted = calibration.heads.get(head)
        if head != TAGS and (fitted is None or len(fitted.offset) != size):
            fitted_size = "nothing" if fitted is None else f"{len(fitted.offset)} offsets"
            raise _mismatch(folder / CALIBRATION, f"has {fitted_size} for {head!r}, and {LABELS} has {size} classes")
    widths = {weight.shape[1] for weight, _ in heads.values() if weight.ndim == 2}
    unknown = heads.keys() - sizes.keys() or calibration.heads.keys() - space.columns.keys()
    if len(widths) != 1 or unknown:
        reason = f"has {min(unknown)!r}, which {LABELS} does not name" if unknown else "has heads of different widths"
        raise _mismatch(folder / HEADS, reason)


def _mismatch(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: {reason}; expected the files of one classifier; train or export it again")
