"""Evaluate a model beside the reference systems and print one table."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from backbone.config import ClassifierConfig
from backbone.dataset import load_part, resolve_data
from backbone.progress import track
from backbone.runs.layout import CLASSIFIER
from classifier.metrics import micro_f1
from classifier.review import TARGETS, is_never
from eval.bootstrap import Floats, Resamples, Score
from eval.confidence import Automated, automated
from eval.faithfulness import own_facts_kept
from eval.labels import ColumnScores, labelled_tickets, macro_f1_replicates, score_column, true_labels
from eval.references import majority, tfidf_regression
from eval.systems import MAJORITY, TFIDF, TWO_STAGE
from generator.rouge import rouge_l
from pipeline.engine_choice import EngineChoice
from pipeline.shipped import open_to_answer
from pipeline.two_stage import TwoStage, load_two_stage
from tickets.schema import Answer, Ticket


@dataclass(frozen=True)
class Evaluation:
    """Scores by column and system; of our system also tags, replies, and what is left to a person.

    Attributes:
        all_right: by system, the share of tickets with every label right, of those that have all labels.
        review_share: tickets that a person has to look at.
        automated: by column, what can be applied without a person at its own target and at each of TARGETS.
    """

    tickets: int
    columns: Mapping[str, Mapping[str, ColumnScores]]
    all_right: Mapping[str, Score]
    tags_micro_f1: float | None
    review_share: float
    automated: Mapping[str, Sequence[Automated]]
    replies: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


def evaluate(
    model: Path | None, data: str | None, part: str, replies: int, choice: EngineChoice | None = None
) -> Evaluation:
    """Score a model, the majority class and TF-IDF on a part of prepared tickets.

    Args:
        data: prepared folder; what the model was trained on when None.
        replies: how many tickets to answer for reply metrics; 0 for none.
        choice: engine to use; None for the fastest one that the model has files for.
    """
    opened = open_to_answer(model, choice)
    folder = resolve_data(data if data is not None else opened.any_stage.config.data.path)
    system = load_two_stage(opened, labels_only=replies == 0, choice=choice, allowed=None)
    train = load_part(folder, "train")
    _, columns = labelled_tickets(train, list(system.classifier.space.columns), "train")
    test, columns = labelled_tickets(load_part(folder, part), columns, part)
    answers = system.answer(test, labels_only=True)
    systems: dict[str, Sequence[Mapping[str, str | None]]] = {
        MAJORITY: majority(train, test, columns),
        TFIDF: _announced(TFIDF, tfidf_regression, train, test, columns),
        TWO_STAGE: [answer.prediction.labels for answer in answers],
    }
    resamples = Resamples(len(test))
    scores, all_right = score_systems(systems, test, columns, resamples)
    return Evaluation(
        tickets=len(test),
        columns=scores,
        all_right=all_right,
        tags_micro_f1=_tags_score(system, test, answers),
        review_share=sum(answer.needs_review for answer in answers) / len(answers),
        automated=_automated(system, opened.stages[CLASSIFIER].config.classifier, test, answers, columns),
        replies=_reply_scores(system, [ticket for ticket in test if ticket.reply][:replies]),
    )


def score_systems(
    systems: Mapping[str, Sequence[Mapping[str, str | None]]],
    test: Sequence[Ticket],
    columns: Sequence[str],
    resamples: Resamples,
) -> tuple[dict[str, dict[str, ColumnScores]], dict[str, Score]]:
    """Return the scores by column and system, and by system the share of tickets with every label right.

    Args:
        systems: the labels of every ticket by system; None where it has none.
    """
    scores: dict[str, dict[str, ColumnScores]] = {}
    for column in columns:
        truth = true_labels(test, column)
        given = {name: [labels[column] for labels in predicted] for name, predicted in systems.items()}
        f1 = {name: macro_f1_replicates(truth, labels, resamples) for name, labels in given.items()}
        scores[column] = {name: score_column(truth, labels, resamples, f1[name]) for name, labels in given.items()}
    right = {name: resamples.mean(_all_right(test, predicted, columns)) for name, predicted in systems.items()}
    return scores, right


def render(evaluation: Evaluation) -> str:
    """Return a table for a terminal of 80 columns."""
    lines = [f"{evaluation.tickets} tickets; 95 % bootstrap intervals in brackets", ""]
    lines += score_lines(evaluation.columns, evaluation.all_right)
    if evaluation.tags_micro_f1 is not None:
        lines.append(f"tags micro-F1                  {evaluation.tags_micro_f1:.3f}")
    lines.append(f"sent to a person               {evaluation.review_share:.0%}")
    lines += _automated_lines(evaluation.automated)
    lines += [f"{name:<30} {value:.3f}" for name, value in evaluation.replies.items()]
    return "\n".join(lines)


def score_lines(columns: Mapping[str, Mapping[str, ColumnScores]], all_right: Mapping[str, Score]) -> list[str]:
    """Return the lines of a table of labels, 80 columns wide."""
    lines = []
    for column, systems in columns.items():
        lines.append(f"{column:<30} {'accuracy':<22} {'macro-F1':<22}".rstrip())
        lines += [
            f"  {name:<28} {scores.accuracy!s:<22} {scores.macro_f1!s:<22}".rstrip() for name, scores in systems.items()
        ]
        lowest = min(systems[TWO_STAGE].recall, key=lambda label: systems[TWO_STAGE].recall[label].value)
        lines += [f"  lowest recall, two-stage: {lowest}, {systems[TWO_STAGE].recall[lowest]}", ""]
    return [*lines, "all labels right", *(f"  {name:<28} {score}" for name, score in all_right.items()), ""]


def _all_right(test: Sequence[Ticket], predicted: Sequence[Mapping[str, str | None]], columns: Sequence[str]) -> Floats:
    """Return 1 where every label is right, 0 where one is wrong, NaN where a true label is not known, (tickets,)."""
    rows = zip(test, predicted, strict=True)
    return np.array(
        [
            float(all(labels[column] == ticket.labels[column] for column in columns))
            if all(column in ticket.labels for column in columns)
            else np.nan
            for ticket, labels in rows
        ]
    )


def _automated_lines(automated: Mapping[str, Sequence[Automated]]) -> list[str]:
    """Return a table of what is applied without a person: share of the tickets, and accuracy there."""
    lines = [
        "",
        f"{'applied without a person at':<28}{'its target':<20}" + "".join(f"{t:<11g}" for t in TARGETS).rstrip(),
    ]
    for column, (own, *others) in automated.items():
        cells = f"{f'{_applied_text(own)} ({own.target:g})':<20}" + "".join(f"{_applied_text(o):<11}" for o in others)
        lines.append(f"  {column:<26}{cells}".rstrip())
    lines += ["  share of tickets, accuracy there; never: not reached on validation tickets", ""]
    return lines


def _applied_text(applied: Automated) -> str:
    """Return the share of tickets and the accuracy there.

    `never` where no confidence is enough, `-` where it is not known.
    """
    if applied.threshold is None:
        return "-"
    if is_never(applied.threshold):
        return "never"
    return f"{applied.share.value:.0%}" + ("" if isnan(applied.accuracy.value) else f" {applied.accuracy.value:.3f}")


def _automated(
    system: TwoStage,
    settings: ClassifierConfig,
    test: Sequence[Ticket],
    answers: Sequence[Answer],
    columns: Sequence[str],
) -> dict[str, Sequence[Automated]]:
    resamples = Resamples(len(test))
    by_column: dict[str, Sequence[Automated]] = {}
    for column in columns:
        confidence = np.array([answer.prediction.confidence[column] for answer in answers])
        pairs = zip((answer.prediction.labels[column] for answer in answers), true_labels(test, column), strict=True)
        correct = np.array([np.nan if true is None else float(label == true) for label, true in pairs])
        head, target = system.classifier.calibration.heads[column], settings.review_target(column)
        by_column[column] = automated(confidence, correct, head, target, resamples)
    return by_column


def _announced(
    name: str,
    system: Callable[[Sequence[Ticket], Sequence[Ticket], Sequence[str]], list[dict[str, str]]],
    train: Sequence[Ticket],
    test: Sequence[Ticket],
    columns: Sequence[str],
) -> list[dict[str, str]]:
    print(f"fitting {name} on {len(train):,} tickets", file=sys.stderr)
    return system(train, test, columns)


def _tags_score(system: TwoStage, tickets: Sequence[Ticket], answers: Sequence[Answer]) -> float | None:
    tags = system.classifier.space.tags
    if not tags:
        return None
    given = np.array([[tag in answer.prediction.tags for tag in tags] for answer in answers])
    true = np.array([[tag in ticket.tags for tag in tags] for ticket in tickets])
    return micro_f1(given, true)


def _reply_scores(system: TwoStage, tickets: Sequence[Ticket]) -> dict[str, float]:
    """Return ROUGE-L and kept facts of generated replies; nothing without a generator."""
    if system.generator is None or not tickets:
        return {}
    replies: list[str] = []
    for start in track(range(0, len(tickets), 16), "replies"):
        replies += [answer.reply or "" for answer in system.answer(tickets[start : start + 16])]
    return {
        f"reply ROUGE-L ({len(replies)})": rouge_l(replies, [ticket.reply for ticket in tickets]),
        **own_facts_kept(tickets, replies),
    }
