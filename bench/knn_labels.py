"""Do the labels of similar resolved tickets help the classifier? Shares among neighbours as one more term of the score.

    python bench/knn_labels.py --model runs/folds/fold0-layers20 [--model ...]

Score of a label: its log-probability by the head, plus a weight times the log of its share among the nearest training
tickets. Shares are weighted by similarity and smoothed by the priors. The weight of each column is fitted on validation
tickets by likelihood; 0 is allowed. Models are pooled: give models with disjoint test parts. Markdown on stdout.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.joint_labels import COLUMNS, Scores, model_scores
from bench.similar import hashed_similarities
from classifier.metrics import Floats, Ints, softmax
from eval.bootstrap import Resamples
from tickets.schema import Ticket

_NEIGHBOURS = (5, 10, 20, 40)
_WEIGHTS = np.linspace(0, 2, 41)
_SMOOTHING = 2.0  # tickets with the priors, added to the neighbours


def main() -> None:
    """Print the gain by column and number of neighbours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", type=Path, required=True, help="run folder of train-cls")
    arguments = parser.parse_args()
    print("| neighbours | column | weights | accuracy alone | with neighbours | gain, 95 % interval |")
    print("| --- | --- | --- | --- | --- | --- |")
    parts = [model_scores(model) for model in arguments.model]
    near = [(_similarities(one, one.tickets[0]), _similarities(one, one.tickets[1])) for one in parts]
    for count in _NEIGHBOURS:
        for i, column in enumerate(COLUMNS):
            weights, alone, together = [], [], []
            for scores, (validation, test) in zip(parts, near, strict=True):
                labels = np.array([scores.space.label_ids(ticket)[column] for ticket in scores.train])
                classes = len(scores.space.columns[column])
                fitted = [_shares(similar, labels, classes, count) for similar in (validation, test)]
                truth = [targets[:, i] for targets in scores.targets]
                weight = _fit(_logs(scores.validation[column]), fitted[0], truth[0])
                heads = _logs(scores.test[column])
                weights.append(weight)
                alone.append(heads.argmax(axis=1) == truth[1])
                together.append((heads + weight * fitted[1]).argmax(axis=1) == truth[1])
            before, after = (np.concatenate(right).astype(float) for right in (alone, together))
            gain = Resamples(len(before)).difference(after, before)
            print(
                f"| {count} | {column} | {', '.join(f'{w:.2f}' for w in weights)} | {before.mean():.3f} | "
                f"{after.mean():.3f} | {100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f}) |",
                flush=True,
            )


def _similarities(scores: Scores, tickets: Sequence[Ticket]) -> Floats:
    return hashed_similarities(scores.train, tickets)


def _logs(logits: Floats) -> Floats:
    return np.asarray(np.log(softmax(logits)))


def _shares(similar: Floats, labels: Ints, classes: int, count: int) -> Floats:
    """Return the log share of every class among the nearest training tickets, (tickets, classes)."""
    known = labels >= 0
    one_hot = np.zeros((len(labels), classes))
    one_hot[np.flatnonzero(known), labels[known]] = 1
    priors = one_hot.sum(axis=0) / known.sum()
    nearest = np.argpartition(-similar, count, axis=1)[:, :count]
    weights = np.take_along_axis(similar, nearest, axis=1)
    votes = np.einsum("tn,tnc->tc", weights, one_hot[nearest]) * count / np.maximum(weights.sum(axis=1), 1e-9)[:, None]
    shares = (votes + _SMOOTHING * priors) / (count + _SMOOTHING)
    return np.asarray(np.log(np.maximum(shares, 1e-4)))


def _fit(logs: Floats, shares: Floats, truth: Ints) -> float:
    """Return the weight under which the labels of validation tickets are likeliest."""
    known = truth >= 0

    def loss(weight: float) -> float:
        probabilities = softmax(logs + weight * shares)
        return float(-np.log(probabilities[known, truth[known]]).mean())

    return float(min(_WEIGHTS, key=loss))


if __name__ == "__main__":
    main()
