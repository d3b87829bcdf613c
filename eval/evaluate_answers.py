"""Score answers that `duet predict-batch` wrote: a file of lines, or a folder of Parquet files, read one by one."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from backbone.dataset import load_part, resolve_data
from backbone.progress import track
from backbone.remote.places import Place
from eval.bootstrap import Resamples, Score
from eval.evaluate import score_lines, score_systems
from eval.labels import ColumnScores, labelled_tickets, right_labels, tag_scores, true_labels
from eval.references import majority, tfidf_regression
from eval.systems import MAJORITY, TFIDF, TWO_STAGE
from generator.rouge import rouge_l
from pipeline.shards.folder import finished_parts, has_success
from pipeline.shards.part_file import read_answers
from pipeline.shards.plan import read_plan
from tickets.errors import InputError
from tickets.own_json import own_records
from tickets.schema import Ticket


@dataclass(frozen=True)
class AnswersEvaluation:
    """Scores of saved answers, beside the majority class and TF-IDF.

    Attributes:
        tickets: of the part, with a label in any column.
        without_answer: those of them without an answer, or with an error; they count as wrong.
        others: answers to tickets that are not in the part.
        all_right: by system, the share of tickets with every label right, of those that have all labels.
        applied: by column, the share of tickets whose label can be applied without a person, and its accuracy there.
        replies: how many have a reply on both sides; `rouge_l` is their mean.
    """

    tickets: int
    without_answer: int
    others: int
    columns: Mapping[str, Mapping[str, ColumnScores]]
    all_right: Mapping[str, Score]
    tags_micro_f1: Score | None
    review_share: Score
    applied: Mapping[str, tuple[Score, Score]]
    replies: int
    rouge_l: Score | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)


@dataclass
class _Answer:
    """What is kept of an answer."""

    labels: Mapping[str, str]
    apply: Mapping[str, bool]
    tags: Sequence[str]
    needs_review: bool
    rouge_l: float


_NONE = _Answer({}, {}, (), True, float("nan"))


def evaluate_answers(answers: str, data: str, part: str) -> AnswersEvaluation:
    """Score saved answers on a part of prepared tickets; both are matched by the id of the ticket.

    Args:
        answers: a file of `duet predict-batch`, or a folder of it, here or on a store.
        data: prepared folder.

    Raises:
        InputError: no answers, unfinished or damaged ones, none of this part, or two for one ticket.
    """
    folder = resolve_data(data)
    train, test = load_part(folder, "train"), load_part(folder, part)
    columns = sorted({column for ticket in train for column in ticket.labels})
    test, columns = labelled_tickets(test, columns, part)
    given, others = _matched(answers, test, part)
    columns = _answered_columns(given, columns, answers)
    systems: dict[str, Sequence[Mapping[str, str | None]]] = {
        MAJORITY: majority(train, test, columns),
        TFIDF: tfidf_regression(train, test, columns),
        TWO_STAGE: [{column: answer.labels.get(column) for column in columns} for answer in given],
    }
    resamples = Resamples(len(test))
    scores, all_right = score_systems(systems, test, columns, resamples)
    rouge = np.array([answer.rouge_l for answer in given])
    replies = int((~np.isnan(rouge)).sum())
    return AnswersEvaluation(
        tickets=len(test),
        without_answer=sum(answer is _NONE for answer in given),
        others=others,
        columns=scores,
        all_right=all_right,
        tags_micro_f1=_tags(test, given, resamples),
        review_share=resamples.mean(np.array([float(answer.needs_review) for answer in given])),
        applied={column: _applied(test, given, column, resamples) for column in columns},
        replies=replies,
        rouge_l=resamples.mean(rouge) if replies else None,
    )


def render_answers(evaluation: AnswersEvaluation) -> str:
    """Return a table for a terminal of 80 columns."""
    found = f"{evaluation.tickets:,} tickets"
    if evaluation.without_answer:
        found += f", {evaluation.without_answer:,} of them without an answer, which counts as wrong"
    lines = [f"{found}; 95 % bootstrap intervals in brackets", ""]
    lines += score_lines(evaluation.columns, evaluation.all_right)
    if evaluation.tags_micro_f1 is not None:
        lines.append(f"{'tags micro-F1':<30} {evaluation.tags_micro_f1}")
    lines += [
        f"{'sent to a person':<30} {evaluation.review_share}",
        "",
        "applied without a person: share, accuracy there",
    ]
    for column, (share, accuracy) in evaluation.applied.items():
        lines.append(f"  {column:<28} {share!s:<22} {accuracy if share.value else '-'}")
    if evaluation.rouge_l is not None:
        lines += ["", f"{f'reply ROUGE-L ({evaluation.replies:,})':<30} {evaluation.rouge_l}"]
    return "\n".join(lines)


def read_all_answers(answers: str) -> Iterator[dict[str, Any]]:
    """Yield the records of saved answers, in their order.

    Raises:
        InputError: none there, unfinished or damaged ones.
        WorkError: a store does not answer.
    """
    place = Place.parse(answers, "--answers")
    if not place.is_folder():
        if not place.is_local or not place.local.is_file():
            raise InputError(f"{answers}: no answers there; expected a file or folder of `duet predict-batch`")
        yield from own_records(place.local)
        return
    plan = read_plan(place)
    if plan is None or not has_success(place):
        raise InputError(
            f"{answers}: found no complete answers (_SUCCESS is missing); expected a folder of `duet predict-batch`; "
            "run it again to complete it"
        )
    names = [shard.part for shard in plan.shards]
    finished = finished_parts(place, plan.digest, set(names))
    for name in track(names, "answers"):
        if name not in finished:
            raise InputError(f"{answers}: {name} is missing; run `duet predict-batch` again with --restart")
        with (place / name).open() as file:
            yield from read_answers(file)


def _matched(answers: str, test: Sequence[Ticket], part: str) -> tuple[list[_Answer], int]:
    """Return the answer of every ticket, and how many answers are of other tickets."""
    place = {ticket.id: i for i, ticket in enumerate(test)}
    given, seen, others = [_NONE] * len(test), [False] * len(test), 0
    for record in read_all_answers(answers):
        i = place.get(record["id"])
        if i is None:
            others += 1
            continue
        if seen[i]:
            raise InputError(f"{answers}: answers the ticket {record['id']!r} twice, expected once; make ids unique")
        seen[i] = True
        if "error" not in record:
            given[i] = _kept(record, test[i])
    if not any(seen):
        raise InputError(
            f"{answers}: answers no {part} ticket of the data; expected answers to DATA/{part}.jsonl, whose tickets "
            "keep their ids"
        )
    if others:
        print(f"note: {others:,} answers are to tickets that are not in this part", file=sys.stderr)
    return given, others


def _kept(record: Mapping[str, Any], ticket: Ticket) -> _Answer:
    reply = record["reply"]
    scored = rouge_l([reply], [ticket.reply]) if reply is not None and ticket.reply else float("nan")
    return _Answer(record["labels"], record["apply"], record["tags"], bool(record["needs_review"]), scored)


def _answered_columns(given: Sequence[_Answer], columns: Sequence[str], answers: str) -> list[str]:
    used = [column for column in columns if any(column in answer.labels for answer in given)]
    if not used:
        raise InputError(f"{answers}: no answer has a label in {', '.join(columns)}; expected columns of the data")
    return used


def _tags(test: Sequence[Ticket], given: Sequence[_Answer], resamples: Resamples) -> Score | None:
    """Return the micro-F1 of the tags that any answer has; None without any."""
    known = {tag for answer in given for tag in answer.tags}
    true = [Ticket(ticket.id, "", "", tags=tuple(known.intersection(ticket.tags))) for ticket in test]
    return tag_scores(true, [answer.tags for answer in given], resamples) if known else None


def _applied(
    test: Sequence[Ticket], given: Sequence[_Answer], column: str, resamples: Resamples
) -> tuple[Score, Score]:
    right = right_labels([answer.labels.get(column) for answer in given], true_labels(test, column))
    applied = np.array([float(answer.apply.get(column, False)) for answer in given])
    known = ~np.isnan(right)
    share = resamples.mean(np.where(known, applied, np.nan))
    return share, resamples.mean(np.where(known & (applied > 0), right, np.nan))
