"""The evidence for joint labels: joint against independent decoding of the same head scores, on real tickets.

    python bench/joint_labels.py                        # TF-IDF heads, six grouped splits, with and without weights
    python bench/joint_labels.py --model runs/results/grouped/unweighted      # heads of a trained classifier

Everything is fitted on validation tickets and scored on test tickets; the cross-fitted gain on validation tickets is
what training decides by. Tables are Markdown on stdout; splits are kept under runs/joint-labels.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from backbone.dataset import load_part, resolve_data
from backbone.runs.layout import CLASSIFIER
from backbone.training.balance import class_weights
from classifier.joint_fit import JointFit, pair_information
from classifier.metrics import Floats, Ints
from classifier.review import folds_of
from classifier.tfidf import tfidf_features
from eval.bootstrap import Resamples
from pipeline.engine_choice import EngineChoice
from pipeline.model_folder import open_model
from pipeline.two_stage import load_two_stage
from tickets.labels import LabelSpace
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import Ticket

OUT = Path("runs/joint-labels")
COLUMNS = ("type", "queue", "priority")
SEEDS = (42, 43, 44, 45, 46, 47)


@dataclass(frozen=True)
class Scores:
    """Head scores by column of validation and test tickets, with class ids, and what training knew.

    `targets` and `tickets` are of validation and test.
    """

    name: str
    space: LabelSpace
    train: Sequence[Ticket]
    weightings: Mapping[str, Floats]
    validation: Mapping[str, Floats]
    test: Mapping[str, Floats]
    targets: tuple[Ints, Ints]
    tickets: tuple[Sequence[Ticket], Sequence[Ticket]]


def main() -> None:
    """Print a table of every set of head scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="../shared/data/tickets.csv")
    parser.add_argument("--seed", action="append", type=int, help="of the splits for TF-IDF heads")
    parser.add_argument("--model", action="append", type=Path, help="run folder of train-cls, instead of TF-IDF heads")
    arguments = parser.parse_args()
    print("| heads | Type | Queue | Priority | all right | gain, 95 % interval | gain on validation, standard error |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    if arguments.model:
        for model in arguments.model:
            print(_row(model_scores(model)), flush=True)
        return
    for seed in arguments.seed or SEEDS:
        data = OUT / f"seed{seed}"
        if not data.is_dir():
            prepare(PrepareOptions(source=arguments.source, out=data, split="grouped", seed=seed, languages=("en",)))
        for weights in (None, "balanced"):
            print(_row(_of_tfidf(data, weights, f"TF-IDF, {weights or 'no'} weights, split {seed}")), flush=True)


def _of_tfidf(data: Path, weights: str | None, name: str) -> Scores:
    train, validation, test = (load_part(data, part) for part in ("train", "validation", "test"))
    space = LabelSpace.learn(train, COLUMNS)
    features, *others = tfidf_features(train, validation, test)
    learnt = _ids(space, train)
    found: tuple[dict[str, Floats], dict[str, Floats]] = ({}, {})
    weightings = {}
    for i, (column, classes) in enumerate(space.columns.items()):
        model = LogisticRegression(C=10.0, class_weight=weights, max_iter=1000).fit(features, learnt[:, i])
        for part, scores in zip(others, found, strict=True):
            scores[column] = model.decision_function(part)
        shares = np.bincount(learnt[:, i], minlength=len(classes)) / len(train)
        weightings[column] = -np.log(shares) if weights else np.zeros(len(classes))
    return Scores(
        name,
        space,
        train,
        weightings,
        found[0],
        found[1],
        (_ids(space, validation), _ids(space, test)),
        (validation, test),
    )


def model_scores(run: Path) -> Scores:
    """Return the head scores of a trained classifier on its own data."""
    opened = open_model(run)
    system = load_two_stage(opened, labels_only=True, choice=EngineChoice("torch", together=16))
    classifier, config = system.classifier, opened.stages[CLASSIFIER].config
    data = resolve_data(config.data.path)
    train, validation, test = (load_part(data, part) for part in ("train", "validation", "test"))

    def scores(tickets: Sequence[Ticket]) -> dict[str, Floats]:
        return classifier.logits(
            system.label_engine.encode([prompt.ids for prompt in classifier.prompts(tickets)], CLASSIFIER)
        )

    weights = class_weights(train, classifier.space, config.classifier)
    weightings = {c: np.log(w) if w else np.zeros(len(classifier.space.columns[c])) for c, w in weights.items()}
    targets = (_ids(classifier.space, validation), _ids(classifier.space, test))
    found = scores(validation), scores(test)
    return Scores(str(run), classifier.space, train, weightings, *found, targets, (validation, test))


def _row(scores: Scores) -> str:
    columns = list(scores.space.columns)
    offsets = {column: np.zeros(values.shape[1]) for column, values in scores.test.items()}
    validation, test = scores.targets
    fit = JointFit(scores.validation, validation, scores.weightings, pair_information(scores.train, scores.space))
    unseen = _right(fit.cross_fit(folds_of(len(validation))).decode(offsets).labels, validation)
    seen_alone = _right({c: scores.validation[c].argmax(axis=1) for c in columns}, validation)
    jointly = _right(fit.fit().decode(scores.test, offsets).labels, test)
    alone = _right({c: scores.test[c].argmax(axis=1) for c in columns}, test)
    gain = Resamples(len(test)).difference(jointly.all(axis=1).astype(float), alone.all(axis=1).astype(float))
    difference = unseen.all(axis=1).astype(float) - seen_alone.all(axis=1)
    cells = [_two(alone[:, i], jointly[:, i]) for i in range(len(columns))]
    cells.append(_two(alone.all(axis=1), jointly.all(axis=1)))
    cells.append(f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})")
    cells.append(f"{100 * difference.mean():+.1f}, {100 * difference.std(ddof=1) / np.sqrt(len(difference)):.1f}")
    return f"| {scores.name} | " + " | ".join(cells) + " |"


def _right(labels: Mapping[str, Ints], targets: Ints) -> Any:
    return np.stack(list(labels.values()), axis=1) == targets


def _two(first: Any, second: Any) -> str:
    return f"{first.mean():.3f} -> {second.mean():.3f}"


def _ids(space: LabelSpace, tickets: Sequence[Ticket]) -> Ints:
    return np.array([list(space.label_ids(ticket).values()) for ticket in tickets])


if __name__ == "__main__":
    main()
