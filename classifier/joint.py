"""Labels that are decoded together: head scores and tables of label pairs, and the best combination of all columns.

score(y) = sum over columns of scale * score of the head + sum over pairs of columns of table[label, label]. The
likeliest label of each column need not form the likeliest combination (Dembczynski et al. 2012). All combinations are
enumerated, so the best one and every probability are exact.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import prod
from pathlib import Path

import numpy as np

from backbone.runs.files import read_json, write_json
from classifier.metrics import Floats, Ints
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.numbers import json_float, json_floats
from tickets.plain_reason import plain_reason

MOST_COMBINATIONS = 10_000
_LARGEST = 1e9  # score; what is computed from more overflows
_MAX_SCORES = 1_000_000  # tickets times combinations in memory at a time
ColumnPair = tuple[str, str]


@dataclass(frozen=True)
class Decoded:
    """Labels of some tickets, by column, and how likely they are.

    Attributes:
        labels: class ids, (tickets,).
        marginals: probability of every class, summed over all combinations that have it, (tickets, classes).
        joint_probability: of all labels of a ticket at once, (tickets,); None if columns were decoded independently.
    """

    labels: Mapping[str, Ints]
    marginals: Mapping[str, Floats]
    joint_probability: Floats | None

    @classmethod
    def joined(cls, parts: Sequence["Decoded"], rows: Ints | None = None) -> "Decoded":
        """Concatenate parts. `rows`, the ticket index of each entry (tickets,), restores ticket order."""
        order = slice(None) if rows is None else np.argsort(rows)
        probabilities = [part.joint_probability for part in parts if part.joint_probability is not None]
        return cls(
            {column: np.concatenate([part.labels[column] for part in parts])[order] for column in parts[0].labels},
            {column: np.concatenate([part.marginals[column] for part in parts])[order] for column in parts[0].labels},
            np.concatenate(probabilities)[order] if probabilities else None,
        )


@dataclass(frozen=True)
class JointDecoder:
    """Scores of label combinations.

    Attributes:
        scales: factor of every head's scores, by column.
        weightings: log factor by which weights and sampling changed each class's share, (classes,). Left out of
            probabilities, kept in the choice of labels.
        tables: score of two labels together, (classes, classes), by pair of columns in the order of `scales`.
    """

    scales: Mapping[str, float]
    weightings: Mapping[str, Floats]
    tables: Mapping[ColumnPair, Floats]

    @cached_property
    def pair_scores(self) -> Floats:
        """Sum of all tables for every combination, with an axis for each column."""
        columns = list(self.scales)
        total = np.zeros([len(self.weightings[column]) for column in columns])
        for (first, second), table in self.tables.items():
            total += _along(table, [columns.index(first), columns.index(second)], len(columns))
        return total

    def decode(self, logits: Mapping[str, Floats], offsets: Mapping[str, Floats]) -> Decoded:
        """Decode tickets, exactly.

        Args:
            logits: of the heads, by column, (tickets, classes).
            offsets: added to the logits where labels are chosen (the logit adjustment), by column, (classes,).
        """
        blocks = _row_blocks(len(next(iter(logits.values()))), self.pair_scores.size)
        return Decoded.joined(
            [self._decode({column: values[rows] for column, values in logits.items()}, offsets) for rows in blocks]
        )

    def _decode(self, logits: Mapping[str, Floats], offsets: Mapping[str, Floats]) -> Decoded:
        choosing = self.pair_scores + sum_of_columns(
            [scale * (logits[column] + offsets[column]) for column, scale in self.scales.items()]
        )
        probabilities = normalised(self.pair_scores + sum_of_columns(self.head_scores(logits)))
        count, shape = self.pair_scores.size, self.pair_scores.shape
        best = choosing.reshape(len(choosing), count).argmax(axis=1)
        return Decoded(
            dict(zip(self.scales, np.unravel_index(best, shape), strict=True)),
            {column: marginal(probabilities, [axis]) for axis, column in enumerate(self.scales)},
            probabilities.reshape(len(best), count)[np.arange(len(best)), best],
        )

    def head_scores(self, logits: Mapping[str, Floats]) -> list[Floats]:
        """Return the scaled scores of the heads without class weights, one (tickets, classes) per column."""
        return [scale * (logits[column] - self.weightings[column]) for column, scale in self.scales.items()]

    def save(self, path: Path) -> None:
        """Write as JSON."""
        columns = {
            column: {"scale": scale, "weighting": self.weightings[column].tolist()}
            for column, scale in self.scales.items()
        }
        tables = [{"columns": list(pair), "scores": table.tolist()} for pair, table in self.tables.items()]
        write_json(path, {"columns": columns, "tables": tables})

    @classmethod
    def load(cls, path: Path, space: LabelSpace) -> "JointDecoder":
        """Read what `save` wrote, for the label space of the same run."""
        record = read_json(path)
        try:
            decoder = cls(
                {column: json_float(entry["scale"]) for column, entry in record["columns"].items()},
                {
                    column: np.array(json_floats(entry["weighting"]), dtype=float)
                    for column, entry in record["columns"].items()
                },
                {
                    tuple(entry["columns"]): np.array(json_floats(entry["scores"]), dtype=float)
                    for entry in record["tables"]
                },
            )
            decoder.check(space)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise InputError(
                f"{path}: not a valid joint decoder ({plain_reason(error)}); train the classifier again"
            ) from None
        return decoder

    def check(self, space: LabelSpace) -> None:
        """Raise ValueError if columns, classes or pairs differ from the label space, or a value is not finite."""
        sizes = {column: len(classes) for column, classes in space.columns.items()}
        if {column: len(values) for column, values in self.weightings.items()} != sizes:
            raise ValueError("other columns or classes than labels.json")
        shapes = {pair: table.shape for pair, table in self.tables.items()}
        if shapes != {(a, b): (sizes[a], sizes[b]) for a, b in combinations(self.scales, 2)}:
            raise ValueError("other pairs of columns than labels.json")
        arrays = [np.array(list(self.scales.values())), *self.weightings.values(), *self.tables.values()]
        if not all((np.abs(values) <= _LARGEST).all() for values in arrays):  # NaN fails this too
            raise ValueError(f"a value is not a number, or beyond {_LARGEST:g}")


def count_combinations(space: LabelSpace) -> int:
    """Return how many combinations of labels there are."""
    return prod(len(classes) for classes in space.columns.values())


def has_combinations(space: LabelSpace) -> bool:
    """Return whether labels can be decoded together: several columns and at most MOST_COMBINATIONS combinations."""
    return len(space.columns) > 1 and count_combinations(space) <= MOST_COMBINATIONS


def sum_of_columns(scores: Sequence[Floats]) -> Floats:
    """Add scores per column, (rows, classes), into one per combination, (rows, classes of the first column, ...)."""
    total = np.zeros(1)
    for axis, values in enumerate(scores):
        rows, classes = values.shape
        total = total + values.reshape(rows, *(1,) * axis, classes, *(1,) * (len(scores) - axis - 1))
    return total


def normalised(scores: Floats) -> Floats:
    """Return probabilities of combinations from their scores, (rows, classes of the first column, ...)."""
    axes = tuple(range(1, scores.ndim))
    shifted = np.exp(scores - scores.max(axis=axes, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=axes, keepdims=True))


def marginal(combined: Floats, columns: Sequence[int]) -> Floats:
    """Sum (rows, classes of the first column, ...) over all columns but those of these indices."""
    return np.asarray(combined.sum(axis=tuple(a for a in range(1, combined.ndim) if a - 1 not in columns)))


def _along(table: Floats, axes: Sequence[int], columns: int) -> Floats:
    """Reshape a table to broadcast: length-1 axes for the columns it lacks."""
    sizes = iter(table.shape)
    return table.reshape([next(sizes) if axis in axes else 1 for axis in range(columns)])


def _row_blocks(rows: int, combinations_per_row: int) -> Iterator[slice]:
    """Yield slices of rows that fit in memory; one empty slice if there are none."""
    size = max(1, _MAX_SCORES // combinations_per_row)
    for start in range(0, max(rows, 1), size):
        yield slice(start, start + size)
