"""Evaluate a model beside the reference systems and print one table."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backbone.dataset import load_part, resolve_data
from backbone.progress import track
from classifier.metrics import micro_f1
from eval.bootstrap import Resamples
from eval.faithfulness import own_facts_kept
from eval.labels import ColumnScores, labelled_tickets, macro_f1_replicates, score_column, true_labels
from eval.references import majority, tfidf_regression
from eval.systems import MAJORITY, TFIDF, TWO_STAGE
from generator.rouge import rouge_l
from pipeline.engine_choice import EngineChoice
from pipeline.model_folder import open_model
from pipeline.two_stage import TwoStage, load_two_stage
from tickets.schema import Answer, Ticket


@dataclass(frozen=True)
class Evaluation:
    """Scores by column and system; of our system also tags, replies and the share for review."""

    tickets: int
    columns: Mapping[str, Mapping[str, ColumnScores]]
    tags_micro_f1: float | None
    review_share: float
    replies: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def evaluate(
    model: Path | None, data: str | None, part: str, replies: int, choice: EngineChoice | None = None
) -> Evaluation:
    """Score a model, the majority class and TF-IDF on a part of prepared tickets.

    Args:
        data: prepared folder; what the model was trained on when None.
        replies: how many tickets to answer for reply metrics; 0 for none.
        choice: engine; the fastest that the model has files for without one.
    """
    opened = open_model(model)
    folder = resolve_data(data if data is not None else opened.any_stage.config.data.path)
    system = load_two_stage(opened, labels_only=replies == 0, choice=choice)
    train = load_part(folder, "train")
    _, columns = labelled_tickets(train, list(system.classifier.space.columns), "train")
    test, columns = labelled_tickets(load_part(folder, part), columns, part)
    answers = system.answer(test, labels_only=True)
    systems: dict[str, Sequence[Mapping[str, str]]] = {
        MAJORITY: majority(train, test, columns),
        TFIDF: _announced(TFIDF, tfidf_regression, train, test, columns),
        TWO_STAGE: [answer.prediction.labels for answer in answers],
    }
    resamples = Resamples(len(test))
    scores: dict[str, dict[str, ColumnScores]] = {}
    for column in columns:
        truth = true_labels(test, column)
        given = {name: [labels[column] for labels in predicted] for name, predicted in systems.items()}
        f1 = {name: macro_f1_replicates(truth, labels, resamples) for name, labels in given.items()}
        scores[column] = {name: score_column(truth, labels, resamples, f1[name]) for name, labels in given.items()}
    return Evaluation(
        tickets=len(test),
        columns=scores,
        tags_micro_f1=_tags_score(system, test, answers),
        review_share=sum(answer.needs_review for answer in answers) / len(answers),
        replies=_reply_scores(system, [ticket for ticket in test if ticket.reply][:replies]),
    )


def render(evaluation: Evaluation) -> str:
    """A table for a terminal of 80 columns."""
    lines = [f"{evaluation.tickets} tickets; 95 % bootstrap intervals in brackets", ""]
    for column, systems in evaluation.columns.items():
        lines.append(f"{column:<30} {'accuracy':<22} {'macro-F1':<22}".rstrip())
        lines += [
            f"  {name:<28} {scores.accuracy!s:<22} {scores.macro_f1!s:<22}".rstrip() for name, scores in systems.items()
        ]
        rarest = min(systems[TWO_STAGE].recall, key=lambda label: systems[TWO_STAGE].recall[label].value)
        lines += [f"  weakest class of ours: {rarest}, recall {systems[TWO_STAGE].recall[rarest]}", ""]
    if evaluation.tags_micro_f1 is not None:
        lines.append(f"tags micro-F1                  {evaluation.tags_micro_f1:.3f}")
    lines.append(f"sent to a person               {evaluation.review_share:.0%}")
    lines += [f"{name:<30} {value:.3f}" for name, value in evaluation.replies.items()]
    return "\n".join(lines)


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
    """ROUGE-L and kept facts of generated replies; nothing without a generator."""
    if system.generator is None or not tickets:
        return {}
    replies: list[str] = []
    for start in track(range(0, len(tickets), 16), "replies"):
        replies += [answer.reply or "" for answer in system.answer(tickets[start : start + 16])]
    return {
        f"reply ROUGE-L ({len(replies)})": rouge_l(replies, [ticket.reply for ticket in tickets]),
        **own_facts_kept(tickets, replies),
    }
