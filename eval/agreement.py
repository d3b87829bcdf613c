"""Agreement of raters, people or models."""

from collections.abc import Sequence

import krippendorff
import numpy as np


def ordinal_alpha(table: Sequence[Sequence[float | None]]) -> float | None:
    """Return Krippendorff's alpha (2004) of ordinal ratings, (raters, rows); None with one rater or no variation."""
    data = np.array([[np.nan if value is None else value for value in row] for row in table], dtype=np.float64)
    values = data[~np.isnan(data)]
    if len(table) < 2 or len(set(values.tolist())) < 2 or not (np.sum(~np.isnan(data), axis=0) > 1).any():
        return None
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement="ordinal"))
