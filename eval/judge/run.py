"""`duet judge`: controls first, then people, then the judge itself, then the scores."""

import asyncio
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

from backbone.runs.files import disk_guard, writable, write_text
from backbone.runs.locks import hold, release
from engines.answer_cache import AnswerCache
from engines.asking import AskSettings, answer_key, estimated_tokens
from engines.chat import ChatEndpoint
from eval.judge.asking import JudgeModel, Outcome
from eval.judge.controls import ControlResult
from eval.judge.families import base_families, families_of
from eval.judge.judgement import Bases, Judgement, ask_everything
from eval.judge.plan import Plan, make_plan
from eval.judge.questions import Question, pair_question, point_question
from eval.report.page import plain, read_report, write_report
from tickets.errors import InputError, WorkError
from tickets.terminal import json_text

FOLDER, CACHE = "judge", "answers.sqlite"


@dataclass(frozen=True)
class JudgeOptions:
    """What the user asks for.

    Attributes:
        tickets: how many tickets to score, drawn at random.
        systems: names of the comparison's systems; all that reply without any.
        dimensions: what to score; everything without any.
        draws: scores per reply and dimension, of which the mean counts.
        same_family: use the judge even if the generator is of its family.
    """

    comparison: Path
    settings: AskSettings
    tickets: int = 100
    systems: Sequence[str] = ()
    dimensions: Sequence[str] = ()
    draws: int = 1
    same_family: bool = False


def judge(options: JudgeOptions) -> dict[str, Any]:
    """Let a model judge the replies of a comparison, add the result to its report, and return it as plain values.

    Raises:
        InputError: no comparison there, or a judge of the generator's family.
        WorkError: the server does not answer, the budget is spent, or the model puts the planted replies in no order.
    """
    record, plan = _open(options)
    folder = options.comparison / FOLDER
    with disk_guard(folder), writable(folder, "folder of a comparison"):
        folder.mkdir(exist_ok=True)
        hold(options.comparison)
    try:
        with closing(AnswerCache(folder / CACHE)) as cache:
            judgement, outcomes = asyncio.run(_ask(options, plan, _bases(record, options.comparison), cache))
        result: dict[str, Any] = plain(asdict(judgement))
        record = read_report(options.comparison)  # others may have added to it in the meantime
        others = [other for other in record.get("judges") or [] if other["model"] != judgement.model]
        with disk_guard(folder):
            write_text(folder / f"{_slug(judgement.model)}.jsonl", "".join(_lines(plan, judgement, outcomes)))
        write_report({**record, "judges": [*others, result]}, options.comparison)
    finally:
        release(options.comparison)
    failed = {name: control for name, control in judgement.controls.items() if not control.in_order}
    if len(failed) == len(judgement.controls):
        name, control = next(iter(failed.items()))
        raise WorkError(
            f"{judgement.model} is no judge of these replies: it puts the planted ones in the wrong order, for {name} "
            f"{_broken(control)}; no score was asked for; the report has the details; use a stronger model"
        )
    for name, control in failed.items():
        print(f"warning: {name} is left out: planted replies in the wrong order, {_broken(control)}", file=sys.stderr)
    return result


def dry_run_text(options: JudgeOptions) -> str:
    """Say how many questions and tokens a run would take, as a table; nothing is sent."""
    _, plan = _open(options)
    path = options.comparison / FOLDER / CACHE
    cache = AnswerCache(path) if path.is_file() else None
    rows, seen = [], set[str]()
    for name, questions in plan.phases().items():
        unique = {question.key: question for question in questions if question.key not in seen}
        seen |= unique.keys()
        missing = [q for q in unique.values() if cache is None or cache.get(answer_key(options.settings, q)) is None]
        rows.append([name, len(unique), len(missing), estimated_tokens(missing)])
    if cache:
        cache.close()
    rows.append(["all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])])
    lines = [f"{'':14}{'questions':>12}{'not answered':>16}{'tokens, about':>16}"]
    lines += [f"{name:14}{every:12,}{missing:16,}{tokens:16,}" for name, every, missing, tokens in rows]
    return "\n".join(lines)


def _open(options: JudgeOptions) -> tuple[dict[str, Any], Plan]:
    record = read_report(options.comparison)
    plan = make_plan(
        options.comparison,
        options.tickets,
        options.systems,
        options.dimensions,
        options.draws,
        options.settings.seed,
    )
    _refuse_family([options.settings.model], _bases(record, options.comparison), options.same_family)
    return record, plan


async def _ask(
    options: JudgeOptions, plan: Plan, bases: Bases, cache: AnswerCache
) -> tuple[Judgement, dict[str, Outcome]]:
    settings = options.settings
    async with ChatEndpoint(settings.url, settings.model, settings.key_variable, settings.seconds) as endpoint:
        model = JudgeModel(settings, endpoint, cache)

        def check_names(names: Sequence[str]) -> None:
            _refuse_family([settings.model, *names], bases, options.same_family)

        return await ask_everything(model, settings, plan, bases, check_names)


def _lines(plan: Plan, judgement: Judgement, outcomes: Mapping[str, Outcome]) -> Iterator[str]:
    """Yield a line of JSON for every score and every verdict on a pair, with the reasons."""
    rows: list[tuple[dict[str, Any], Question]] = []
    for dimension, (name, texts) in product(judgement.points, plan.replies.items()):
        for (case, reply), draw in product(zip(plan.cases, texts, strict=True), range(plan.draws)):
            about = {"ticket": case.id, "system": name, "dimension": dimension, "draw": draw}
            rows.append((about, point_question(case, reply, dimension, draw)))
    for pair in judgement.pairs:
        for names in permutations((pair.first, pair.second)):
            for case, *replies in zip(plan.cases, *(plan.replies[name] for name in names), strict=True):
                rows.append(({"ticket": case.id, "shown": names}, pair_question(case, *replies)))
    for about, question in rows:
        if outcome := outcomes.get(question.key):  # nobody was asked about two replies that are alike
            answer = {"verdict": outcome.value, "problem": outcome.problem, "reasons": outcome.reasons}
            yield json_text({**about, **answer}) + "\n"


def _bases(record: Mapping[str, Any], comparison: Path) -> list[tuple[str, str]]:
    """Return the name and family of the bases that the comparison's systems were trained on."""
    facts = [facts for system in record["systems"] for facts in system["training"]]
    if any("base" not in fact for fact in facts):
        raise InputError(
            f"{comparison}: its report does not say which base the systems have; run the same `duet compare` again, "
            "which keeps its answers"
        )
    return [(fact["base"], fact["family"]) for fact in facts]


def _refuse_family(judges: Sequence[str], bases: Bases, allowed: bool) -> None:
    shared = families_of(judges) & base_families(bases)
    if shared and not allowed:
        names = " / ".join(dict.fromkeys(judges))
        raise InputError(
            f"judge {names!r} is of the family {', '.join(sorted(shared))}, like the base of the systems: models "
            "prefer what their own family writes; choose another judge, or add --same-family, which the report will say"
        )


def _broken(control: ControlResult) -> str:
    orders = ", ".join(str(order) for order in control.orders if not order.holds)
    if not control.unreadable:
        return orders
    return f"{orders} ({control.unreadable} of {control.questions} answers cannot be read: {control.problem})"


def _slug(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-.") or "judge"
