"""`duet compare`: any number of systems on one test part, and everything the report shows."""

import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from backbone.dataset import load_part, real_fingerprint, resolve_data
from backbone.runs.files import disk_guard, read_json, writable, write_text
from backbone.runs.folder import package_versions, paths_written_for
from backbone.runs.layout import LABELS, RUN
from backbone.runs.locks import hold, release
from eval.answers import ANSWERS, SystemAnswers, run_system
from eval.bertscore import BertScore, bert_score, check_encoder
from eval.bootstrap import Resamples
from eval.human import is_key_of
from eval.judge.plan import still_valid
from eval.labels import labelled_tickets
from eval.promotion import Promotion, current_and_candidate, decide
from eval.reply_metrics import BERTSCORE, TrainingReplies
from eval.reply_scores import spread
from eval.report.page import REPORT, read_report, write_report
from eval.saved_keys import UNKNOWN_LABEL, to_saved
from eval.scoring import (
    Slice,
    SystemPair,
    SystemReport,
    TestSet,
    compare_pair,
    f1_replicates,
    pick_examples,
    reply_scores,
    score_slices,
    system_report,
)
from eval.system_choice import open_runs, references, stages_of, zero_shot
from eval.systems import SINGLE, System
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.schema import PARTS
from tickets.sources import output_path, refuse_overlap
from tickets.terminal import json_text


@dataclass(frozen=True)
class CompareOptions:
    """What the user asks for.

    Attributes:
        runs: run folders with a two-stage system, a single prompt, or both.
        out: folder of the report.
        data: folder of prepared tickets; by default the first run's own, or with `promote` the second's.
        limit: number of test tickets to use, from the first.
        timed: how many of them are also answered one at a time.
        with_zero_shot: also compare the untrained base.
        beside: folder of another comparison whose figures are shown too.
        promote: decide whether the second run's model should take the place of the first run's.
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
    beside: Path | None = None
    promote: bool = False


@dataclass(frozen=True)
class Comparison:
    """Everything the report shows."""

    data: str
    part: str
    tickets: int
    columns: Sequence[str]
    systems: Sequence[SystemReport]
    pairs: Sequence[SystemPair]
    slices: Sequence[Slice]
    examples: Sequence[Mapping[str, Any]]
    bertscore: str
    warnings: Sequence[str]
    machine: str
    versions: Mapping[str, str]
    promotion: Promotion | None = None


def compare(options: CompareOptions) -> Path:
    """Compare and write the report; return its path.

    Raises:
        InputError: as `measure`, or `beside` holds no report.
    """
    options = replace(options, out=output_path(options.out, "--out"))
    beside = read_report(options.beside) if options.beside else None
    inputs = _open(options)
    _check_out(options, inputs)
    earlier = _earlier_report(options.out)
    ratings, judges = earlier.get("human"), earlier.get("judges") or []
    with disk_guard(options.out), writable(options.out, "--out"):
        options.out.mkdir(parents=True, exist_ok=True)
        hold(options.out)
    try:
        comparison = measure(options, inputs)
        for warning in comparison.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        if comparison.promotion:
            print(comparison.promotion)
        if ratings and not is_key_of(options.out):
            print(f"{options.out}: ignoring its human ratings: they belong to other answers", file=sys.stderr)
            ratings = None
        valid_judgements = still_valid(judges, options.out)
        if len(valid_judgements) < len(judges):
            print(f"{options.out}: ignoring its judgements: they belong to other answers", file=sys.stderr)
        added = {"human": ratings, "judges": valid_judgements, "beside": beside}
        return write_report({**to_saved(comparison), **added}, options.out)
    finally:
        release(options.out)


@dataclass(frozen=True)
class _Inputs:
    """What is compared, opened: the trained systems, the places of two of them with `promote`, and the tickets."""

    trained: Sequence[System]
    old: int
    new: int
    data: str
    folder: Path


def _open(options: CompareOptions) -> _Inputs:
    """Open everything that is read, before anything is written.

    Raises:
        InputError: a run folder holds no trained system, there are no such tickets, or no such encoder.
    """
    if options.bertscore_layer is not None and options.bertscore_model is None:
        raise InputError("--bertscore-layer without --bertscore-model; expected the folder of an encoder with it")
    if options.bertscore_model is not None:
        check_encoder(options.bertscore_model, options.bertscore_layer)  # before hours of answering
    trained = open_runs(options.runs)
    old, new = current_and_candidate(trained) if options.promote else (0, 0)
    # with `promote`, the new model's test part contains the old test tickets plus newer ones
    data = options.data if options.data is not None else stages_of(trained[new])[0].config.data.path
    return _Inputs(trained, old, new, data, resolve_data(data))


def _check_out(options: CompareOptions, inputs: _Inputs) -> None:
    """Raise InputError where the report would be written among what is read; beside the stages of a run it may lie."""
    stages = [stage for system in inputs.trained for stage in stages_of(system)]
    bases = [place / "config.json" for stage in stages for place in stage.base_places()]
    others = [folder for folder in (options.beside, options.bertscore_model) if folder is not None]
    read = [inputs.folder, *(stage.path for stage in stages), *bases, *others]
    refuse_overlap(read, paths_written_for(options.out), "--out")
    if any((options.out / f"{part}.jsonl").exists() for part in PARTS):
        raise InputError(f"{options.out}: holds prepared tickets, whose report would be lost; choose another --out")


def _earlier_report(folder: Path) -> dict[str, Any]:
    """Return the existing report, which may hold ratings and judgements; empty if there is none."""
    if not (folder / REPORT).is_file():
        return {}
    with suppress(InputError):  # of another version, or damaged: it is written anew
        return read_report(folder)
    print(
        f"{folder / REPORT}: unreadable, will be replaced; repeat `duet human-eval score` and `duet judge` if you had "
        "results",
        file=sys.stderr,
    )
    return {}


def measure(options: CompareOptions, inputs: _Inputs) -> Comparison:
    """Answer the test tickets with every system, score the answers, and return the comparison.

    Raises:
        InputError: the systems' label columns differ, or no test ticket has them.
    """
    trained, folder, old, new = inputs.trained, inputs.folder, inputs.old, inputs.new
    systems = [*trained, *([zero_shot(trained)] if options.with_zero_shot else [])]
    columns = _columns(trained)
    config = stages_of(trained[new])[0].config.data
    train = load_part(folder, "train", config.max_train)  # what the systems saw
    _, columns = labelled_tickets(train, columns, "train")
    tickets, _ = labelled_tickets(load_part(folder, options.part), columns, options.part)
    tickets, columns = labelled_tickets(tickets[: options.limit], columns, options.part)
    test = TestSet(tickets, train, columns, Resamples(len(tickets)))
    systems += references(train, columns)
    answered = [run_system(system, tickets, options.out / ANSWERS, options.timed) for system in systems]
    training = TrainingReplies([ticket.reply for ticket in train])
    scores = {a.system.name: reply_scores(a, test, training) for a in answered}
    bert: dict[str, BertScore] = {}
    for system in answered:
        name = system.system.name
        replies, bert_score_of_system = scores[name], _bert(system, test, options)
        if replies and bert_score_of_system:
            bert[name] = bert_score_of_system
            scores[name] = replace(replies, values={**replies.values, BERTSCORE: bert_score_of_system.f1})
    f1 = {a.system.name: f1_replicates(a, test) for a in answered}
    _write_answers(options.out / f"{ANSWERS}.jsonl", test, answered)
    return Comparison(
        data=inputs.data,
        part=options.part,
        tickets=len(tickets),
        columns=columns,
        systems=[system_report(a, test, scores[a.system.name], f1[a.system.name]) for a in answered],
        pairs=[compare_pair(a, b, test, scores, f1) for a, b in combinations(answered, 2)],
        slices=score_slices(answered, test, scores),
        examples=pick_examples(answered, test, scores),
        bertscore=_bertscore_note(bert),
        warnings=_warnings(trained, folder, options, old),
        machine=f"{platform.platform()}, {platform.processor() or platform.machine()}",
        versions=package_versions(),
        promotion=decide(answered[old], answered[new], test) if options.promote else None,
    )


def _columns(systems: Sequence[System]) -> list[str]:
    by_system = [tuple(_space_columns(system)) for system in systems]
    if len(set(map(frozenset, by_system))) > 1:
        raise InputError(
            f"the runs label different columns: {' / '.join(', '.join(columns) for columns in by_system)}; compare "
            "runs with the same classifier.columns"
        )
    return list(by_system[0])


def _space_columns(system: System) -> Sequence[str]:
    return tuple(LabelSpace.load(stages_of(system)[0].path / LABELS).columns)


def _bertscore_note(bert: Mapping[str, BertScore]) -> str:
    any_score = next(iter(bert.values()), None)
    return f"{any_score.model}, layer {any_score.layer}" if any_score else "not computed (no --bertscore-model)"


def _warnings(systems: Sequence[System], folder: Path, options: CompareOptions, old: int) -> list[str]:
    """Return what a reader should know before believing the figures; `old` is the index of the model in use."""
    part, expected = options.part, real_fingerprint(folder)
    warnings = []
    if options.promote:  # the old model was trained on other data, which the decision takes into account
        systems = [*systems[:old], *systems[old + 1 :]]
    if part != "test":
        used = "learned from" if part == "train" else "were chosen and calibrated on"
        warnings.append(f"the systems {used} the {part} part: its figures say nothing about new tickets")
    for system in systems:
        for stage in stages_of(system):
            record = read_json(stage.path / RUN)
            if record.get("real_data", record.get("data")) != expected:
                warnings.append(
                    f"{stage.path} was trained on other data than {folder}: its training tickets may be among the test "
                    "tickets"
                )
    if not options.promote and not any(system.kind == SINGLE for system in systems):
        warnings.append("no single-prompt run was given: `duet train-baseline` trains one on the same data")
    return list(dict.fromkeys(warnings))


def _write_answers(path: Path, test: TestSet, answered: Sequence[SystemAnswers]) -> None:
    lines = []
    with disk_guard(path.parent), writable(path, "--out"):
        for row, ticket in enumerate(test.tickets):
            systems = {
                answers.system.name: {
                    "labels": dict(answers.outputs[row].labels),
                    "tags": list(answers.outputs[row].tags),
                    "reply": answers.outputs[row].reply,
                    UNKNOWN_LABEL: dict(answers.outputs[row].unknown_labels),
                    "probabilities": _rounded(answers.outputs[row].probabilities),
                }
                for answers in answered
            }
            true = {"labels": dict(ticket.labels), "tags": list(ticket.tags), "reply": ticket.reply}
            record = {"id": ticket.id, "subject": ticket.subject, "body": ticket.body, "true": true, "systems": systems}
            lines.append(json_text(record) + "\n")
        write_text(path, "".join(lines))


def _rounded(probabilities: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    return {column: {label: round(p, 4) for label, p in by_class.items()} for column, by_class in probabilities.items()}


def _bert(answered: SystemAnswers, test: TestSet, options: CompareOptions) -> BertScore | None:
    if options.bertscore_model is None or all(output.reply is None for output in answered.outputs):
        return None
    print(f"BERTScore: {answered.system.name}", file=sys.stderr)
    rows = [i for i, ticket in enumerate(test.tickets) if ticket.reply]
    replies = [answered.outputs[i].reply or "" for i in rows]
    references = [test.tickets[i].reply for i in rows]
    score = bert_score(replies, references, options.bertscore_model, options.bertscore_layer)
    return replace(score, f1=spread(score.f1, rows, len(test.tickets)))
