"""Fitting what decodes labels together, on validation tickets, around what the training labels say of pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import prod

import numpy as np

from classifier.joint import ColumnPair, Decoded, JointDecoder, marginal
from classifier.metrics import Floats, Ints, softmax
from classifier.review import folds_of
from tickets.labels import LabelSpace
from tickets.schema import Ticket

_STRENGTHS = (1000.0, 100.0, 30.0, 10.0)  # of the penalty on what tables add, the strongest first
_SCALES, _SHARES = (0.01, 10.0), (0.0, 2.0)  # least and most
_MAX_SCORES = 2_000_000  # validation tickets times combinations that are fitted on
_SEARCH = {"maxiter": 60, "ftol": 1e-7}
_LEAST = 1e-300  # probability that still has a logarithm


def pair_information(tickets: Sequence[Ticket], space: LabelSpace) -> dict[ColumnPair, Floats]:
    """Return the pointwise mutual information in nats of every two labels, (classes, classes), by pair of columns.

    Counted over the tickets that have both labels; one more ticket per pair of labels on average, spread as if columns
    were independent, keeps pairs that never occur finite.
    """
    tables = {}
    for first, second in combinations(space.columns, 2):
        counts = np.zeros((len(space.columns[first]), len(space.columns[second])))
        for ticket in tickets:
            ids = space.label_ids(ticket)
            if min(ids[first], ids[second]) >= 0:
                counts[ids[first], ids[second]] += 1
        rows, columns = counts.sum(axis=1, keepdims=True) + 1, counts.sum(axis=0, keepdims=True) + 1
        expected = (rows / rows.sum()) * (columns / columns.sum())
        shares = (counts + counts.size * expected) / (counts.sum() + counts.size)
        tables[first, second] = np.log(shares / expected)
    return tables


@dataclass(frozen=True)
class JointFit:
    """What a `JointDecoder` is fitted on.

    Attributes:
        logits: of the heads, by column, (tickets, classes).
        targets: class ids, (tickets, columns); negative where a ticket has no known label.
        weightings: of `JointDecoder`.
        information: of `pair_information`.
    """

    logits: Mapping[str, Floats]
    targets: Ints
    weightings: Mapping[str, Floats]
    information: Mapping[ColumnPair, Floats]

    def of(self, rows: Ints) -> "JointFit":
        """Return that of some tickets."""
        logits = {column: values[rows] for column, values in self.logits.items()}
        return replace(self, logits=logits, targets=self.targets[rows])

    def fit(self) -> JointDecoder:
        """Return the decoder with the highest penalised likelihood; the strength of the penalty is cross-validated.

        The likelihood is that of the labels that a ticket has, without class weights. The penalty is
        0.5 * (sum (scale - 1)^2 + share^2 + strength * sum added^2). With many combinations, only the first tickets are
        used, so that tickets x combinations is at most 2 million.
        """
        most = _MAX_SCORES // prod(values.shape[1] for values in self.logits.values())
        labelled_rows = np.flatnonzero((self.targets >= 0).any(axis=1))[:most]
        folds = folds_of(len(labelled_rows))
        held_out = np.zeros(len(_STRENGTHS))
        for fold in np.unique(folds):
            training_part = _Likelihood(self.of(labelled_rows[folds != fold]))
            held_out_part = _Likelihood(self.of(labelled_rows[folds == fold]))
            held_out += [
                held_out_part.log_likelihood(solution) for solution in training_part.regularisation_path(_STRENGTHS)
            ]
        likelihood = _Likelihood(self.of(labelled_rows))
        return likelihood.decoder(likelihood.regularisation_path(_STRENGTHS[: np.argmax(held_out) + 1])[-1])

    def cross_fit(self, folds: Ints) -> "CrossFit":
        """Return, for every fold of the tickets, (tickets,), the decoder that was fitted on the others."""
        rows = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
        everything = np.arange(len(folds))
        return CrossFit(self, [(part, self.of(np.setdiff1d(everything, part)).fit()) for part in rows])


@dataclass(frozen=True)
class CrossFit:
    """Decoders with the rows that each was not fitted on."""

    data: JointFit
    decoders: Sequence[tuple[Ints, JointDecoder]]

    def decode(self, offsets: Mapping[str, Floats]) -> Decoded:
        """Decode every ticket by the decoder that was not fitted on it; `JointDecoder.decode` documents `offsets`."""
        decoded = [decoder.decode(self.data.of(rows).logits, offsets) for rows, decoder in self.decoders]
        return Decoded.joined(decoded, np.concatenate([rows for rows, _ in self.decoders]))


class _Likelihood:
    """Log-likelihood of the labels of some tickets, as a function of scales, share of the information and tables."""

    def __init__(self, data: JointFit) -> None:
        self._data = data
        self._columns = list(data.logits)
        self._pairs = list(data.information)
        self._classes = [values.shape[1] for values in data.logits.values()]
        self._sizes = [table.size for table in data.information.values()]
        unscaled = JointDecoder(dict.fromkeys(self._columns, 1.0), data.weightings, data.information)
        self._information = unscaled.pair_scores
        # heads side by side: scores (tickets, labels), and which labels a combination has, (combinations, labels)
        self._head_scores = np.concatenate(unscaled.head_scores(data.logits), axis=1)
        ids = np.indices(self._information.shape).reshape(len(self._columns), -1)
        self._label_indicators = np.concatenate(
            [(ids[i][:, None] == np.arange(size)).astype(np.float64) for i, size in enumerate(self._classes)], axis=1
        )
        possible = [
            (data.targets[:, [i]] < 0) | (data.targets[:, [i]] == np.arange(size))
            for i, size in enumerate(self._classes)
        ]
        agreeing = np.concatenate(possible, axis=1).astype(np.float64) @ self._label_indicators.T
        self._consistent = agreeing == len(self._columns)

    def decoder(self, values: Floats) -> JointDecoder:
        """Return what the parameters stand for: scales, the share of the information, what is added to it by pair."""
        scales, share, added = self._unpack(values)
        tables = {pair: share * self._data.information[pair] + added[pair] for pair in self._pairs}
        return JointDecoder(dict(zip(self._columns, map(float, scales), strict=True)), self._data.weightings, tables)

    def regularisation_path(self, strengths: Sequence[float]) -> list[Floats]:
        """Return the best parameters for every strength of the penalty, each search starting from the one before."""
        from scipy.optimize import minimize  # not needed for prediction

        columns = len(self._columns)
        values = np.concatenate([np.ones(columns), [0.5], np.zeros(sum(self._sizes))])
        bounds = [_SCALES] * columns + [_SHARES] + [(None, None)] * sum(self._sizes)
        solutions = []
        for strength in strengths:
            result = minimize(self.loss, values, (strength,), "L-BFGS-B", jac=True, bounds=bounds, options=_SEARCH)
            values = result.x
            solutions.append(values)
        return solutions

    def log_likelihood(self, values: Floats) -> float:
        """Return that of all tickets in nats."""
        return float(self._likelihood_terms(values)[0].sum())

    def loss(self, values: Floats, strength: float) -> tuple[float, Floats]:
        """Return the penalised negative log-likelihood of all tickets, and its gradient."""
        logs, probabilities, allowed = self._likelihood_terms(values)
        scales, share, _ = self._unpack(values)
        added = values[len(scales) + 1 :]
        excess = probabilities - allowed
        by_label = np.sum((excess @ self._label_indicators) * self._head_scores, axis=0)
        slopes = np.add.reduceat(by_label, np.cumsum([0, *self._classes[:-1]]))
        summed = excess.sum(axis=0).reshape(1, *self._information.shape)
        tables = [marginal(summed, [self._columns.index(name) for name in pair]).ravel() for pair in self._pairs]
        penalty = 0.5 * (np.sum((scales - 1) ** 2) + share**2 + strength * np.sum(added**2))
        gradient = np.concatenate(
            [
                slopes + scales - 1,
                [np.sum(summed[0] * self._information) + share],
                np.concatenate(tables) + strength * added,
            ]
        )
        return float(penalty - logs.sum()), gradient

    def _likelihood_terms(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the log-likelihood of every ticket, and probabilities of combinations: all, and those it may have."""
        scales = np.repeat(self._unpack(values)[0], self._classes)
        pair_scores = self.decoder(values).pair_scores.ravel()
        probabilities = softmax((self._head_scores * scales) @ self._label_indicators.T + pair_scores)
        allowed = probabilities * self._consistent
        total = np.maximum(allowed.sum(axis=1), _LEAST)
        return np.log(total), probabilities, allowed / total[:, None]

    def _unpack(self, values: Floats) -> tuple[Floats, float, dict[ColumnPair, Floats]]:
        columns = len(self._columns)
        parts = np.split(values[columns + 1 :], np.cumsum(self._sizes)[:-1])
        added = {
            pair: part.reshape(self._data.information[pair].shape)
            for pair, part in zip(self._pairs, parts, strict=True)
        }
        return values[:columns], float(values[columns]), added
