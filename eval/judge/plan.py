"""What a judge model will be asked about a comparison, before anything is asked."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from backbone.runs.files import read_json
from eval.answers import read_answers, systems_with_replies
from eval.human import KEY, RATINGS, is_key_of
from eval.judge.agreement import Ratings
from eval.judge.controls import FEWEST, PAIRS, Planted, control_questions, plant
from eval.judge.questions import Case, Question, point_question, read_cases
from eval.judge.rubric import DIMENSIONS
from eval.judge.scores import pair_questions, point_questions
from tickets.errors import InputError

_RATINGS = TypeAdapter(list[dict[str, dict[str, int]]])

RETESTED = 20  # tickets whose scores are asked for twice


@dataclass(frozen=True)
class RatedReply:
    """A reply that people rated: its row of the sheet, its ticket, its text."""

    row: str
    case: Case
    reply: str


@dataclass(frozen=True)
class Plan:
    """Everything that may be asked.

    Attributes:
        cases: a random draw of the tickets; scores are means over them.
        replies: by system, in the order of the cases.
        instruments: dimensions, and PAIRS where several systems are judged.
        planted: tickets with the control replies.
        rated: replies that people rated, with their `ratings` by rater, row and dimension.
        answers: digest of the tickets and replies that are scored.
    """

    cases: Sequence[Case]
    replies: Mapping[str, Sequence[str]]
    instruments: Sequence[str]
    draws: int
    planted: Sequence[Planted]
    rated: Sequence[RatedReply]
    ratings: Ratings
    answers: str

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The first system with each other one."""
        first, *others = self.replies
        return [(first, other) for other in others]

    def controls(self, instruments: Sequence[str]) -> list[Question]:
        """Return questions about the planted replies."""
        return [question for name in instruments for question in control_questions(self.planted, name)]

    def about_rated(self, dimensions: Sequence[str]) -> list[Question]:
        """Return questions about the replies that people rated, as often as those of scores."""
        rated = {dimension for rating in self.ratings for given in rating.values() for dimension in given}
        return [
            point_question(reply.case, reply.reply, dimension, draw)
            for reply, dimension, draw in product(self.rated, dimensions, range(self.draws))
            if dimension in rated
        ]

    def retests(self, dimension: str) -> list[tuple[Question, Question]]:
        """Return questions about replies of the first system, each with the same in another draw."""
        texts = next(iter(self.replies.values()))
        return [
            (point_question(case, reply, dimension), point_question(case, reply, dimension, self.draws))
            for case, reply in list(zip(self.cases, texts, strict=True))[:RETESTED]
        ]

    def scores(self, instruments: Sequence[str]) -> list[Question]:
        """Return questions about the systems' replies, and about pairs of them."""
        points = [
            question
            for dimension in instruments
            if dimension != PAIRS
            for question in point_questions(self.cases, self.replies, dimension, self.draws)
        ]
        pairs = self.pairs if PAIRS in instruments else []
        return points + [
            question for a, b in pairs for question in pair_questions(self.cases, self.replies[a], self.replies[b])
        ]

    def phases(self) -> dict[str, list[Question]]:
        """Return all questions, if every instrument passes its controls."""
        dimensions = [name for name in self.instruments if name != PAIRS]
        again = [question for dimension in dimensions for pair in self.retests(dimension) for question in pair]
        return {
            "controls": self.controls(self.instruments),
            "rated replies": self.about_rated(dimensions),
            "scores": self.scores(self.instruments),
            "retest": again,
        }


def make_plan(
    comparison: Path, tickets: int, systems: Sequence[str], dimensions: Sequence[str], draws: int, seed: int
) -> Plan:
    """Choose tickets, systems and dimensions.

    Raises:
        InputError: no comparison there, an unknown system or dimension, or too few tickets with a reply by a person.
    """
    records = read_answers(comparison)
    unknown = [name for name in dimensions if name not in DIMENSIONS]
    if unknown:
        raise InputError(f"found --dimension {unknown[0]!r}, expected some of {', '.join(DIMENSIONS)}")
    chosen = systems_with_replies(comparison, records, systems)
    cases = read_cases(records)
    if len(cases) < FEWEST:
        raise InputError(
            f"{comparison}: {len(cases)} tickets have a reply by a person, expected at least {FEWEST} for the planted "
            "replies; compare on more tickets"
        )
    order = np.random.default_rng(seed).permutation(len(cases))[:tickets].tolist()
    by_id = {record["id"]: record["systems"] for record in records}
    drawn = [cases[i] for i in order]
    rated, ratings = _rated(comparison, cases, by_id)
    return Plan(
        cases=drawn,
        replies={name: [by_id[case.id][name]["reply"] or "" for case in drawn] for name in chosen},
        instruments=[*(dict.fromkeys(dimensions) or DIMENSIONS), *([PAIRS] if len(chosen) > 1 else [])],
        draws=draws,
        planted=plant(cases, seed),
        rated=rated,
        ratings=ratings,
        answers=judged_digest(records, [case.id for case in drawn], chosen),
    )


def judged_digest(records: Sequence[Mapping[str, Any]], ids: Sequence[str], systems: Sequence[str]) -> str:
    """Return the SHA-256 of tickets and replies that were judged; empty where some are gone."""
    by_id = {record["id"]: record for record in records}
    try:
        texts = [
            [(r := by_id[i])["subject"], r["body"], r["true"]["reply"], *(r["systems"][s]["reply"] for s in systems)]
            for i in ids
        ]
    except (KeyError, TypeError):
        return ""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()


def still_valid(judgements: Sequence[Mapping[str, Any]], comparison: Path) -> list[Mapping[str, Any]]:
    """Return those of some judgements whose tickets and replies are still the comparison's."""
    if not judgements:
        return []
    records = read_answers(comparison)
    return [
        j for j in judgements if j.get("answers") == judged_digest(records, j.get("tickets", ()), j.get("systems", ()))
    ]


def _rated(
    comparison: Path, cases: Sequence[Case], systems: Mapping[str, Mapping[str, Any]]
) -> tuple[list[RatedReply], Ratings]:
    """Return replies with ratings by people, where `duet human-eval score` left some of these answers."""
    if not (comparison / RATINGS).is_file() or not is_key_of(comparison):
        return [], []
    remedy = "what `duet human-eval score` writes; score the sheets again"
    try:
        ratings = _RATINGS.validate_python(read_json(comparison / RATINGS, remedy).get("raters"), strict=True)
    except ValidationError:
        raise InputError(f"{comparison / RATINGS}: holds no ratings; expected {remedy}") from None
    key, by_id = read_json(comparison / KEY), {case.id: case for case in cases}
    rows = sorted({row for rating in ratings for row in rating if row in key and key[row]["ticket"] in by_id})
    replies = [systems[key[row]["ticket"]][key[row]["systems"][0]]["reply"] for row in rows]
    return [
        RatedReply(row, by_id[key[row]["ticket"]], reply) for row, reply in zip(rows, replies, strict=True)
    ], ratings
