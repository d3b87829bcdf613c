"""Everything that is asked of one judge model, in order, and what comes of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from engines.addresses import without_credentials
from engines.asking import AskSettings
from eval.judge.agreement import Agreement, Retest, with_itself, with_people
from eval.judge.asking import JudgeModel, Outcome
from eval.judge.controls import PAIRS, ControlResult, check_controls
from eval.judge.families import base_families, families_of
from eval.judge.plan import Plan
from eval.judge.questions import Question, point_question
from eval.judge.scores import PairScores, PointScores, score_of, score_pair, score_points

Bases = Sequence[tuple[str, str]]  # name and family of those of the systems


@dataclass(frozen=True)
class Judgement:
    """Everything the report shows of one judge model.

    Attributes:
        answered_as: model names that the server gave.
        days: first and last day of the answers, or the one day.
        families, base_families: of the judge and of the systems' bases, as far as their names say.
        answers: digest of the tickets and replies judged.
        cut: tickets of which only a part was shown.
        controls: by instrument; those that are not in order were not used.
        agreement: by dimension that people rated; None where nobody did.
        retest: by dimension.
        points: by dimension.
    """

    model: str
    answered_as: Sequence[str]
    endpoint: str
    days: Sequence[str]
    families: Sequence[str]
    base_families: Sequence[str]
    temperature: float
    draws: int
    questions: int
    tokens: int
    tickets: Sequence[str]
    systems: Sequence[str]
    answers: str
    cut: int
    raters: int
    controls: Mapping[str, ControlResult]
    agreement: Mapping[str, Agreement | None] = field(default_factory=dict)
    retest: Mapping[str, Retest] = field(default_factory=dict)
    points: Mapping[str, PointScores] = field(default_factory=dict)
    pairs: Sequence[PairScores] = ()


async def ask_everything(
    model: JudgeModel, settings: AskSettings, plan: Plan, bases: Bases, check_names: Callable[[Sequence[str]], None]
) -> tuple[Judgement, dict[str, Outcome]]:
    """Ask in the order in which answers are needed: nothing is spent on an instrument that fails its controls.

    Args:
        check_names: is given the names under which the server answered, and raises where one must not judge.
    """
    outcomes = await model.ask(plan.controls(plan.instruments), "controls")
    check_names(_names(outcomes))
    controls = {name: check_controls(plan.planted, name, outcomes) for name in plan.instruments}
    used = [name for name, control in controls.items() if control.in_order]
    dimensions = [name for name in used if name != PAIRS]
    outcomes |= await model.ask(plan.about_rated(dimensions), "rated replies")
    retests = {name: plan.retests(name) for name in dimensions}
    outcomes |= await model.ask([q for pairs in retests.values() for pair in pairs for q in pair], "retest")
    outcomes |= await model.ask(plan.scores(used), "scores")
    pairs = plan.pairs if PAIRS in used else []
    days = [outcome.day for outcome in outcomes.values()]
    judgement = Judgement(
        model=settings.model,
        answered_as=_names(outcomes),
        endpoint=without_credentials(settings.url),
        days=sorted({min(days), max(days)}),
        families=sorted(families_of([settings.model, *_names(outcomes)])),
        base_families=sorted(base_families(bases)),
        temperature=settings.temperature,
        draws=plan.draws,
        questions=len(outcomes),
        tokens=sum(outcome.tokens for outcome in outcomes.values()),
        tickets=[case.id for case in plan.cases],
        systems=list(plan.replies),
        answers=plan.answers,
        cut=sum(case.is_cut for case in plan.cases),
        raters=len(plan.ratings),
        controls=controls,
        agreement={name: _agreement(plan, name, outcomes) for name in dimensions},
        retest={name: retest for name, pairs in retests.items() if (retest := _retest(pairs, outcomes))},
        points={name: score_points(plan.cases, plan.replies, name, plan.draws, outcomes) for name in dimensions},
        pairs=[score_pair(plan.cases, names, plan.replies, outcomes) for names in pairs],
    )
    return judgement, outcomes


def _names(outcomes: Mapping[str, Outcome]) -> list[str]:
    return sorted({outcome.model for outcome in outcomes.values() if outcome.model})


def _agreement(plan: Plan, dimension: str, outcomes: Mapping[str, Outcome]) -> Agreement | None:
    scores = {}
    for rated in plan.rated:
        keys = [point_question(rated.case, rated.reply, dimension, draw).key for draw in range(plan.draws)]
        given = [outcomes[key].value for key in keys if key in outcomes]
        numbers = [float(value) for value in given if value is not None]
        if numbers:
            scores[rated.row] = float(np.mean(numbers))
    return with_people(plan.ratings, scores, dimension)


def _retest(pairs: Sequence[tuple[Question, Question]], outcomes: Mapping[str, Outcome]) -> Retest | None:
    scored = [(score_of(outcomes[a.key]), score_of(outcomes[b.key])) for a, b in pairs]
    complete = [pair for pair in scored if not np.isnan(pair).any()]
    return with_itself(complete) if complete else None
