"""Whether a new ticket still has its label: asked of classifiers that have not seen the ticket it was written after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from classifier.metrics import Floats
from classifier.tfidf import tfidf_features
from tickets.schema import Ticket
from tickets.splitting.duplicates import near_duplicates

_FOLDS, _SEED = 5, 0


@dataclass(frozen=True)
class LabelCheck:
    """TF-IDF and logistic regression, cross-fitted on the real training tickets: near-duplicates share a fold.

    Attributes:
        folds: fold of every training ticket, (tickets,).
        thresholds: by column and class, the median probability of the class among its own held-out tickets.
    """

    train: Sequence[Ticket]
    columns: Sequence[str]
    folds: NDArray[np.int64]
    thresholds: Mapping[str, Mapping[str, float]]

    @classmethod
    def fit(cls, train: Sequence[Ticket], columns: Sequence[str]) -> "LabelCheck":
        """Fit on training tickets and find the thresholds."""
        groups = near_duplicates([ticket.text for ticket in train]).groups
        shuffled = np.random.default_rng(_SEED).permutation(int(groups.max()) + 1)
        check = cls(train, columns, shuffled[groups] % _FOLDS, {})
        probabilities = check._probabilities(list(train), check.folds)
        thresholds: dict[str, dict[str, float]] = {}
        for column in columns:
            own: dict[str, list[float]] = {}
            for ticket, found in zip(train, probabilities[column], strict=True):
                if column in ticket.labels:
                    own.setdefault(ticket.labels[column], []).append(float(found))
            thresholds[column] = {label: float(np.median(values)) for label, values in own.items()}
        return cls(train, columns, check.folds, thresholds)

    def keeps(self, tickets: Sequence[Ticket]) -> list[bool]:
        """Return which new tickets have each label of their parent at least as surely as the median ticket of it."""
        fold_of = {ticket.id: int(fold) for ticket, fold in zip(self.train, self.folds, strict=True)}
        folds = np.array([fold_of[ticket.parent] for ticket in tickets], dtype=np.int64)
        probabilities = self._probabilities(tickets, folds)
        return [
            all(
                probabilities[column][row] >= self.thresholds[column][ticket.labels[column]]
                for column in self.columns
                if column in ticket.labels
            )
            for row, ticket in enumerate(tickets)
        ]

    def _probabilities(self, tickets: Sequence[Ticket], folds: NDArray[np.int64]) -> dict[str, Floats]:
        """Return the probability of each ticket's own label by the classifier without its fold, by column, (tickets,).

        0 where the other folds do not have the label.
        """
        found = {column: np.zeros(len(tickets)) for column in self.columns}
        for fold in np.unique(folds):
            seen = [ticket for ticket, own in zip(self.train, self.folds, strict=True) if own != fold]
            rows = np.flatnonzero(folds == fold).tolist()
            if not seen:  # all tickets are near-duplicates of each other
                continue
            features, asked = tfidf_features(seen, [tickets[row] for row in rows])
            for column in self.columns:
                labelled = [row for row, ticket in enumerate(seen) if column in ticket.labels]
                labels = [seen[row].labels[column] for row in labelled]
                if len(set(labels)) < 2:
                    continue
                model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
                values = model.fit(features[labelled], labels).predict_proba(asked)
                places = {str(label): place for place, label in enumerate(model.classes_)}
                for row, by_class in zip(rows, values, strict=True):
                    place = places.get(tickets[row].labels.get(column, ""))
                    found[column][row] = by_class[place] if place is not None else 0.0
        return found
