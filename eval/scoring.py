"""From what the systems said to figures: one system, two systems side by side, subsets, examples."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from backbone.runs.layout import CALIBRATION, JOINT
from classifier.calibration import Calibration
from eval.answers import Cost, SystemAnswers
from eval.bootstrap import Difference, Floats, Resamples, Score, mcnemar
from eval.confidence import ConfidenceReport, confidence_report
from eval.labels import ColumnScores, macro_f1_replicates, right_labels, score_column, tag_scores, true_labels
from eval.operating_points import RarestClass, operating_points
from eval.reply_metrics import METRICS, ROUGE_L, TrainingReplies
from eval.reply_scores import ReplyScores, bucket_of, corpus_bleu, score_replies
from eval.slices import slices_of
from eval.system_choice import stages_of
from eval.systems import TwoStageSystem
from eval.training_facts import TrainingFacts, training_facts
from tickets.schema import Ticket

EXACT = "exact match"


@dataclass(frozen=True)
class SystemReport:
    """One system's figures; what it does not have is None.

    Attributes:
        unparsable: share of tickets with a label that is missing or unknown; it counts as wrong.
        unknown_label: share of tickets with a label that is not one of the allowed labels.
        near_miss: share of tickets with an unknown label close to an allowed one.
        rarest_class: operating points by column; of systems that give probabilities.
    """

    name: str
    kind: str
    columns: Mapping[str, ColumnScores]
    exact_match: Score
    tags: Score | None
    unparsable: Score
    unknown_label: Score
    near_miss: Score
    review: Score
    confidence: Mapping[str, ConfidenceReport]
    rarest_class: Mapping[str, RarestClass]
    replies: Mapping[str, Score] | None
    reply_corpus: Mapping[str, Score]
    bleu_signature: str
    rouge: Sequence[float]
    cost: Cost
    training: Sequence[TrainingFacts]


@dataclass(frozen=True)
class SystemPair:
    """Two systems on the same tickets: by label column (and exact match) and reply metric, first minus second.

    Attributes:
        labels: differences in accuracy; `mcnemar` holds their p-values.
        macro_f1: differences in macro-F1, by label column.
    """

    first: str
    second: str
    labels: Mapping[str, Difference]
    mcnemar: Mapping[str, float]
    macro_f1: Mapping[str, Difference]
    replies: Mapping[str, Difference]


@dataclass(frozen=True)
class Slice:
    """A subset of the tickets: accuracy by column and ROUGE-L, by system."""

    group: str
    name: str
    tickets: int
    systems: Mapping[str, Mapping[str, Score]]


@dataclass(frozen=True)
class TestSet:
    """The tickets and what is computed of them once."""

    tickets: Sequence[Ticket]
    train: Sequence[Ticket]
    columns: Sequence[str]
    resamples: Resamples


def reply_scores(answered: SystemAnswers, test: TestSet, training: TrainingReplies) -> ReplyScores | None:
    """Return scores over all tickets; those without a true reply count nothing."""
    replies = [output.reply for output in answered.outputs]
    rows = [i for i, ticket in enumerate(test.tickets) if ticket.reply]
    if all(reply is None for reply in replies) or not rows:
        return None
    scores = score_replies([test.tickets[i] for i in rows], [replies[i] or "" for i in rows], training)
    return scores.spread(rows, len(replies))


def system_report(
    answered: SystemAnswers, test: TestSet, replies: ReplyScores | None, f1: Mapping[str, Floats]
) -> SystemReport:
    """Return all figures of one system; `f1` are the replicates of its macro-F1."""
    outputs, system = answered.outputs, answered.system
    scores: dict[str, Score] | None = None
    if replies is not None:
        scores = {name: test.resamples.mean(values) for name, values in replies.values.items()}
    with_tags = any(output.tags for output in outputs)

    def share(marks: list[bool]) -> Score:
        return test.resamples.mean(np.array(marks, dtype=np.float64))

    return SystemReport(
        name=system.name,
        kind=system.kind,
        columns={
            c: score_column(true_labels(test.tickets, c), _given(answered, c), test.resamples, f1[c])
            for c in test.columns
        },
        exact_match=test.resamples.mean(_exact(answered, test)),
        tags=tag_scores(test.tickets, [output.tags for output in outputs], test.resamples) if with_tags else None,
        unparsable=share([any(c not in output.labels for c in test.columns) for output in outputs]),
        unknown_label=share([bool(output.unknown_labels) for output in outputs]),
        near_miss=share([bool(output.nearest) for output in outputs]),
        review=share([output.review for output in outputs]),
        confidence=_confidence(answered, test),
        rarest_class=_rarest_class(answered, test),
        replies=scores,
        reply_corpus=_corpus_scores(replies, test.resamples) if replies else {},
        bleu_signature=replies.bleu_signature if replies else "",
        rouge=[] if replies is None else [round(float(v), 4) for v in replies.values[ROUGE_L] if not np.isnan(v)],
        cost=answered.cost,
        training=[training_facts(stage) for stage in stages_of(system)],
    )


def _corpus_scores(replies: ReplyScores, resamples: Resamples) -> dict[str, Score]:
    """Return figures of all replies together."""
    nan = float("nan")
    return {
        "sacrebleu": resamples.statistic(lambda times: corpus_bleu(times @ replies.bleu)),
        **{name: Score(value, nan, nan) for name, value in replies.variety.items()},
        **{name: resamples.ratio(*sums) for name, sums in replies.ratios.items()},
    }


def _given(answered: SystemAnswers, column: str) -> list[str | None]:
    return [output.labels.get(column) for output in answered.outputs]


def _right(answered: SystemAnswers, test: TestSet, column: str) -> Floats:
    return right_labels(_given(answered, column), true_labels(test.tickets, column))


def _exact(answered: SystemAnswers, test: TestSet) -> Any:
    """Return 1 where all labels are right; NaN for tickets of which a true label is not known."""
    return np.prod([_right(answered, test, column) for column in test.columns], axis=0)


def _mcnemar(first: Floats, second: Floats) -> float:
    labelled = ~np.isnan(first)
    return mcnemar(first[labelled] == 1, second[labelled] == 1)


def _confidence(answered: SystemAnswers, test: TestSet) -> dict[str, ConfidenceReport]:
    if not isinstance(answered.system, TwoStageSystem):
        return {}
    stage = stages_of(answered.system)[0]
    heads = Calibration.load(stage.path / CALIBRATION).heads
    return {
        column: confidence_report(
            [output.probabilities[column] for output in answered.outputs],
            [output.labels[column] for output in answered.outputs],
            true_labels(test.tickets, column),
            heads[column],
            stage.config.classifier.review_target(column),
            test.resamples,
            decoded_jointly=(stage.path / JOINT).is_file(),
        )
        for column in test.columns
    }


def _rarest_class(answered: SystemAnswers, test: TestSet) -> dict[str, RarestClass]:
    if not all(output.probabilities for output in answered.outputs):
        return {}
    by_column = {
        column: operating_points(
            [output.probabilities[column] for output in answered.outputs],
            true_labels(test.tickets, column),
            true_labels(test.train, column),
            test.resamples,
        )
        for column in test.columns
    }
    return {column: rarest for column, rarest in by_column.items() if rarest}


def f1_replicates(answered: SystemAnswers, test: TestSet) -> dict[str, Floats]:
    """Return the macro-F1 of every bootstrap draw, by label column."""
    return {
        c: macro_f1_replicates(true_labels(test.tickets, c), _given(answered, c), test.resamples) for c in test.columns
    }


def compare_pair(
    a: SystemAnswers,
    b: SystemAnswers,
    test: TestSet,
    scores: Mapping[str, ReplyScores | None],
    f1: Mapping[str, Mapping[str, Floats]],
) -> SystemPair:
    """Return two systems on the same tickets; `f1` holds the replicates of both."""
    right = {column: (_right(a, test, column), _right(b, test, column)) for column in test.columns}
    right[EXACT] = (_exact(a, test), _exact(b, test))
    ours, theirs = scores[a.system.name], scores[b.system.name]
    paired = [metric.key for metric in METRICS if metric.paired]
    metrics = [m for m in paired if ours and theirs and m in ours.values]
    return SystemPair(
        a.system.name,
        b.system.name,
        {name: test.resamples.difference(first, second) for name, (first, second) in right.items()},
        {name: _mcnemar(*both) for name, both in right.items()},
        {c: test.resamples.replicate_difference(f1[a.system.name][c], f1[b.system.name][c]) for c in test.columns},
        {m: test.resamples.difference(ours.values[m], theirs.values[m]) for m in metrics if ours and theirs},
    )


def score_slices(
    answered: Sequence[SystemAnswers], test: TestSet, scores: Mapping[str, ReplyScores | None]
) -> list[Slice]:
    """Return every system on every subset."""
    slices = []
    for group, name, rows in slices_of(test.tickets, test.train, test.columns):
        resamples = Resamples(len(rows))
        systems = {}
        for system_answers in answered:
            figures = {c: resamples.mean(_right(system_answers, test, c)[rows]) for c in test.columns}
            replies = scores[system_answers.system.name]
            figures |= {ROUGE_L: resamples.mean(replies.values[ROUGE_L][rows])} if replies else {}
            systems[system_answers.system.name] = figures
        slices.append(Slice(group, name, len(rows), systems))
    return slices


def pick_examples(
    answered: Sequence[SystemAnswers], test: TestSet, scores: Mapping[str, ReplyScores | None]
) -> list[dict[str, Any]]:
    """Return one ticket per ROUGE-L bucket of the first system that replies: the one nearest the bucket's middle."""
    writing = [system_answers for system_answers in answered if scores[system_answers.system.name] is not None]
    leader = scores[writing[0].system.name] if writing else None
    if leader is None:
        return []
    rouge = np.nan_to_num(leader.values[ROUGE_L], nan=-1.0)
    examples = []
    for name, middle in (("> 0.5", 0.65), ("0.3-0.5", 0.4), ("< 0.3", 0.2)):
        rows = [i for i, value in enumerate(rouge) if value >= 0 and bucket_of(float(value)) == name]
        if not rows:
            continue
        row = min(rows, key=lambda i: abs(float(rouge[i]) - middle))
        ticket = test.tickets[row]
        systems = [
            {
                "name": system_answers.system.name,
                "labels": dict(system_answers.outputs[row].labels),
                "reply": system_answers.outputs[row].reply,
                "rouge": None if (s := scores[system_answers.system.name]) is None else float(s.values[ROUGE_L][row]),
            }
            for system_answers in writing
        ]
        examples.append({"bucket": name, "ticket": asdict(ticket), "systems": systems})
    return examples
