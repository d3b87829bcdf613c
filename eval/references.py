"""Reference systems: the majority class, TF-IDF with logistic regression, and the reply of the nearest ticket."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from classifier.tfidf import tfidf_features
from tickets.schema import Ticket


def majority(train: Sequence[Ticket], test: Sequence[Ticket], columns: Sequence[str]) -> list[dict[str, str]]:
    """Return the most frequent training label of every column, for every ticket."""
    common = {
        column: Counter(t.labels[column] for t in train if column in t.labels).most_common(1)[0][0]
        for column in columns
    }
    return [common] * len(test)


def tfidf_regression(train: Sequence[Ticket], test: Sequence[Ticket], columns: Sequence[str]) -> list[dict[str, str]]:
    """Predict by TF-IDF of words (1-2) and characters (3-5) and a class-balanced logistic regression per column."""
    features, test_features = tfidf_features(train, test)
    rows: list[dict[str, str]] = [{} for _ in test]
    for column in columns:
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
        labelled = [row for row, ticket in enumerate(train) if column in ticket.labels]
        model.fit(features[labelled], [train[row].labels[column] for row in labelled])
        for row, label in zip(rows, model.predict(test_features), strict=True):
            row[column] = str(label)
    return rows


def nearest_neighbours(train: Sequence[Ticket], test: Sequence[Ticket]) -> list[Ticket]:
    """Return the most similar training ticket of every test ticket, by cosine of TF-IDF vectors."""
    features, test_features = tfidf_features(train, test)
    nearest: list[int] = []
    for start in range(0, len(test), 256):  # a block of similarities at a time
        block = test_features[start : start + 256] @ features.T
        nearest += np.asarray(block.argmax(axis=1)).ravel().tolist()
    return [train[row] for row in nearest]
