"""`duet compare`: any number of systems on one test part, and everything the report shows."""

import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from backbone.dataset import load_part, resolve_data
from backbone.runs import disk_guard, package_versions
from backbone.stage import CALIBRATION
from classifier.calibration import Calibration
from eval.answers import Answered, Cost, run_system
from eval.bertscore import BertScore, bert_score
from eval.bootstrap import Difference, Floats, Resamples, Score, mcnemar
from eval.confidence import ConfidenceReport, confidence_report
from eval.labels import ColumnScores, score_column, tag_scores, true_labels
from eval.replies import ROUGE_L, ReplyScores, TrainingReplies, score_replies
from eval.slices import slices_of
from eval.systems import SINGLE, System, TwoStageSystem, open_runs, references, stages_of, zero_shot
from eval.training_facts import TrainingFacts, training_facts
from tickets.errors import InputError
from tickets.schema import Ticket

ANSWERS, EXACT = "answers", "exact match"
_PAIRED_REPLIES = (ROUGE_L, "rougeL_unicode", "bleu")


@dataclass(frozen=True)
class CompareOptions:
    """What the user asks for.

    Attributes:
        runs: run folders with a two-stage system, a baseline, or both.
        out: folder of the report.
        data: prepared tickets; those of the first run without it.
        limit: compare on the first so many test tickets.
        timed: how many of them are also answered one at a time.
        with_zero_shot: hold the untrained base too.
    """

    runs: Sequence[Path]
    out: Path
    data: str | None = None
    part: str = "test"
    limit: int | None = None
    timed: int = 8
    with_zero_shot: bool = True
    bertscore_model: Path | None = None
    bertscore_layer: int | None = None


@dataclass(frozen=True)
class SystemReport:
    """One system's figures; what it does not have is None."""

    name: str
    kind: str
    columns: Mapping[str, ColumnScores]
    exact_match: Score
    tags: Score | None
    unparsable: float
    foreign: float
    review: float
    confidence: Mapping[str, ConfidenceReport]
    replies: Mapping[str, Score] | None
    reply_corpus: Mapping[str, float]
    bleu_signature: str
    rouge: Sequence[float]
    cost: Cost
    training: Sequence[TrainingFacts]


@dataclass(frozen=True)
class Pair:
    """Two systems on the same tickets: by label column (and exact match) and reply metric, first minus second."""

    first: str
    second: str
    labels: Mapping[str, Difference]
    mcnemar: Mapping[str, float]
    replies: Mapping[str, Difference]


@dataclass(frozen=True)
class Slice:
    """A subset of the tickets: accuracy by column and ROUGE-L, by system."""

    group: str
    name: str
    tickets: int
    systems: Mapping[str, Mapping[str, Score]]


@dataclass(frozen=True)
class Comparison:
    """Everything the report shows."""

    data: str
    part: str
    tickets: int
    columns: Sequence[str]
    systems: Sequence[SystemReport]
    pairs: Sequence[Pair]
    slices: Sequence[Slice]
    examples: Sequence[Mapping[str, Any]]
    bertscore: str
    warnings: Sequence[str]
    machine: str
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; NaN becomes None."""
        return dict(_plain(asdict(self)))


@dataclass(frozen=True)
class _Test:
    """The tickets and what is computed of them once."""

    tickets: Sequence[Ticket]
    train: Sequence[Ticket]
    columns: Sequence[str]
    resamples: Resamples


def compare(options: CompareOptions) -> Comparison:
    """Answer the test tickets with every system, score what came, and return it all.

    Raises:
        InputError: a run is no system, the systems' label columns differ, or no test ticket has them.
    """
    trained = open_runs(options.runs)
    systems = trained + ([zero_shot(trained)] if options.with_zero_shot else [])
    columns = _columns(trained)
    data = options.data if options.data is not None else stages_of(trained[0])[0].config.data.path
    folder = resolve_data(data)
    train = [ticket for ticket in load_part(folder, "train") if all(c in ticket.labels for c in columns)]
    test = _Test(
        tickets := _usable(load_part(folder, options.part), columns)[: options.limit],
        train,
        columns,
        Resamples(len(tickets)),
    )
    systems += references(train, columns)
    answered = [run_system(system, tickets, options.out / ANSWERS, options.timed) for system in systems]
    training = TrainingReplies([ticket.reply for ticket in train])
    scores = {a.system.name: _reply_scores(a, test, training) for a in answered}
    bert = {a.system.name: _bert(a, test, options) for a in answered}
    _write_answers(options.out / f"{ANSWERS}.jsonl", test, answered)
    return Comparison(
        data=data,
        part=options.part,
        tickets=len(tickets),
        columns=columns,
        systems=[_system_report(a, test, scores[a.system.name], bert[a.system.name]) for a in answered],
        pairs=[_pair(a, b, test, scores) for a, b in combinations(answered, 2)],
        slices=_slices(answered, test, scores),
        examples=_examples(answered, test, scores),
        bertscore=_bertscore_note(options, bert),
        warnings=_warnings(trained, folder),
        machine=f"{platform.platform()}, {platform.processor() or platform.machine()}",
        versions=package_versions(),
    )


def _columns(systems: Sequence[System]) -> list[str]:
    found = [tuple(_space_columns(system)) for system in systems]
    if len(set(map(frozenset, found))) > 1:
        raise InputError(
            f"the runs label different columns: {' / '.join(', '.join(columns) for columns in found)}; compare runs "
            "with the same classifier.columns"
        )
    return list(found[0])


def _space_columns(system: System) -> Sequence[str]:
    from backbone.stage import LABELS
    from tickets.labels import LabelSpace

    return tuple(LabelSpace.load(stages_of(system)[0].path / LABELS).columns)


def _usable(tickets: Sequence[Ticket], columns: Sequence[str]) -> list[Ticket]:
    found = [ticket for ticket in tickets if all(column in ticket.labels for column in columns)]
    if not found:
        raise InputError(
            f"no test ticket has the labels {', '.join(columns)} of these runs; expected tickets with them"
        )
    return found


def _reply_scores(answered: Answered, test: _Test, training: TrainingReplies) -> ReplyScores | None:
    """Scores over all tickets; those without a true reply count nothing."""
    replies = [output.reply for output in answered.outputs]
    rows = [i for i, ticket in enumerate(test.tickets) if ticket.reply]
    if all(reply is None for reply in replies) or not rows:
        return None
    found = score_replies([test.tickets[i] for i in rows], [replies[i] or "" for i in rows], training)
    return ReplyScores(
        {name: _spread(values, rows, len(replies)) for name, values in found.values.items()},
        found.corpus,
        found.bleu_signature,
    )


def _spread(values: Floats, rows: Sequence[int], count: int) -> Floats:
    whole = np.full(count, np.nan)
    whole[list(rows)] = values
    return whole


def _bert(answered: Answered, test: _Test, options: CompareOptions) -> BertScore | None:
    if options.bertscore_model is None or all(output.reply is None for output in answered.outputs):
        return None
    print(f"BERTScore: {answered.system.name}", file=sys.stderr)
    replies = [output.reply or "" for output in answered.outputs]
    references_ = [ticket.reply for ticket in test.tickets]
    return bert_score(replies, references_, options.bertscore_model, options.bertscore_layer)


def _bertscore_note(options: CompareOptions, bert: Mapping[str, BertScore | None]) -> str:
    found = next((score for score in bert.values() if score), None)
    return f"{found.model}, layer {found.layer}" if found else "not computed (no --bertscore-model)"


def _system_report(
    answered: Answered, test: _Test, replies: ReplyScores | None, bert: BertScore | None
) -> SystemReport:
    outputs, system = answered.outputs, answered.system
    scores: dict[str, Score] | None = None
    if replies is not None:
        scores = {name: test.resamples.mean(values) for name, values in replies.values.items()}
        scores |= {"bertscore": test.resamples.mean(bert.f1)} if bert else {}
    with_tags = any(output.tags for output in outputs)
    return SystemReport(
        name=system.name,
        kind=system.kind,
        columns={
            c: score_column(true_labels(test.tickets, c), _given(answered, c), test.resamples) for c in test.columns
        },
        exact_match=test.resamples.mean(_exact(answered, test).astype(np.float64)),
        tags=tag_scores(test.tickets, [output.tags for output in outputs], test.resamples) if with_tags else None,
        unparsable=float(np.mean([any(c not in output.labels for c in test.columns) for output in outputs])),
        foreign=float(np.mean([bool(output.foreign) for output in outputs])),
        review=float(np.mean([output.review for output in outputs])),
        confidence=_confidence(answered, test),
        replies=scores,
        reply_corpus=replies.corpus if replies else {},
        bleu_signature=replies.bleu_signature if replies else "",
        rouge=[] if replies is None else [round(float(v), 4) for v in replies.values[ROUGE_L] if not np.isnan(v)],
        cost=answered.cost,
        training=[training_facts(stage) for stage in stages_of(system)],
    )


def _given(answered: Answered, column: str) -> list[str | None]:
    return [output.labels.get(column) for output in answered.outputs]


def _right(answered: Answered, test: _Test, column: str) -> Any:
    pairs = zip(_given(answered, column), true_labels(test.tickets, column), strict=True)
    return np.array([given == true for given, true in pairs])


def _exact(answered: Answered, test: _Test) -> Any:
    return np.all([_right(answered, test, column) for column in test.columns], axis=0)


def _confidence(answered: Answered, test: _Test) -> dict[str, ConfidenceReport]:
    if not isinstance(answered.system, TwoStageSystem):
        return {}
    heads = Calibration.load(stages_of(answered.system)[0].path / CALIBRATION).heads
    return {
        column: confidence_report(
            [output.probabilities[column] for output in answered.outputs],
            true_labels(test.tickets, column),
            heads[column],
        )
        for column in test.columns
    }


def _pair(a: Answered, b: Answered, test: _Test, scores: Mapping[str, ReplyScores | None]) -> Pair:
    right = {column: (_right(a, test, column), _right(b, test, column)) for column in test.columns}
    right[EXACT] = (_exact(a, test), _exact(b, test))
    ours, theirs = scores[a.system.name], scores[b.system.name]
    metrics = _PAIRED_REPLIES if ours and theirs else ()
    return Pair(
        a.system.name,
        b.system.name,
        {
            name: test.resamples.difference(first.astype(np.float64), second.astype(np.float64))
            for name, (first, second) in right.items()
        },
        {name: mcnemar(*both) for name, both in right.items()},
        {m: test.resamples.difference(ours.values[m], theirs.values[m]) for m in metrics if ours and theirs},
    )


def _slices(answered: Sequence[Answered], test: _Test, scores: Mapping[str, ReplyScores | None]) -> list[Slice]:
    found = []
    for group, name, rows in slices_of(test.tickets, test.train, test.columns):
        resamples = Resamples(len(rows))
        systems = {}
        for one in answered:
            figures = {c: resamples.mean(_right(one, test, c)[rows].astype(np.float64)) for c in test.columns}
            replies = scores[one.system.name]
            figures |= {ROUGE_L: resamples.mean(replies.values[ROUGE_L][rows])} if replies else {}
            systems[one.system.name] = figures
        found.append(Slice(group, name, len(rows), systems))
    return found


def _examples(
    answered: Sequence[Answered], test: _Test, scores: Mapping[str, ReplyScores | None]
) -> list[dict[str, Any]]:
    """One ticket per ROUGE-L bucket of the first system that replies: the one nearest the bucket's middle."""
    writing = [one for one in answered if scores[one.system.name] is not None]
    leader = scores[writing[0].system.name] if writing else None
    if leader is None:
        return []
    rouge = leader.values[ROUGE_L]
    found = []
    for name, middle in (("> 0.5", 0.65), ("0.3-0.5", 0.4), ("< 0.3", 0.2)):
        row = int(np.nanargmin(np.abs(rouge - middle)))
        ticket = test.tickets[row]
        systems = [
            {
                "name": one.system.name,
                "labels": dict(one.outputs[row].labels),
                "reply": one.outputs[row].reply,
                "rouge": None if (s := scores[one.system.name]) is None else float(s.values[ROUGE_L][row]),
            }
            for one in writing
        ]
        found.append({"bucket": name, "ticket": asdict(ticket), "systems": systems})
    return found


def _warnings(systems: Sequence[System], folder: Path) -> list[str]:
    """What a reader should know before believing the figures."""
    from backbone.dataset import data_fingerprint
    from backbone.runs import read_json
    from backbone.stage import RUN

    expected = data_fingerprint(folder)
    found = []
    for system in systems:
        for stage in stages_of(system):
            if read_json(stage.path / RUN)["data"] != expected:
                found.append(
                    f"{stage.path} was trained on other data than {folder}: its training tickets may be among the test "
                    "tickets"
                )
    if not any(system.kind == SINGLE for system in systems):
        found.append("no single-prompt run was given: `duet train-baseline` trains one on the same data")
    return list(dict.fromkeys(found))


def _write_answers(path: Path, test: _Test, answered: Sequence[Answered]) -> None:
    with disk_guard(path.parent), path.open("w", encoding="utf-8") as out:
        for row, ticket in enumerate(test.tickets):
            systems = {
                one.system.name: {
                    "labels": dict(one.outputs[row].labels),
                    "tags": list(one.outputs[row].tags),
                    "reply": one.outputs[row].reply,
                    "foreign": dict(one.outputs[row].foreign),
                }
                for one in answered
            }
            true = {"labels": dict(ticket.labels), "tags": list(ticket.tags), "reply": ticket.reply}
            record = {"id": ticket.id, "subject": ticket.subject, "body": ticket.body, "true": true, "systems": systems}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value != value else value
