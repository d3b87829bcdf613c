"""Human evaluation: a blinded rating sheet from a comparison, and what the raters' copies of it say."""

import csv
import hashlib
import io
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from backbone.runs.files import disk_guard, read_json, writable, write_json, write_text
from eval.agreement import ordinal_alpha
from eval.answers import read_answers, systems_with_replies
from eval.bootstrap import Floats, Resamples, Score
from eval.rating_sheet import DIMENSIONS, ROW, SHEET, read_sheet
from eval.reply_metrics import stemmed_rouge_l
from eval.reply_scores import bucket_of
from eval.report.page import read_report, write_report
from tickets.cell_text import without_formula
from tickets.errors import InputError
from tickets.terminal import escape_controls

KEY, RATINGS = "human_eval.key.json", "human_eval.ratings.json"
_ANSWER = "answer"
_COMMENTS = "comments"
_TELLING = 25  # scores that two people do not give alike by chance
_KEY_MEND = "the key that `duet human-eval make` wrote; move it away and make a new sheet"


@dataclass(frozen=True)
class HumanScores:
    """What raters said.

    Attributes:
        rows: how many rows of the sheet somebody rated, of how many.
        rated: tickets with an overall score, by system.
        systems: mean of every dimension with its interval over tickets, by system.
        wins: shares of tickets, with intervals, on which one system's overall score is above, equal to or below
            another's.
        agreement: Krippendorff's alpha (ordinal) by dimension; None with one rater or without variation.
    """

    raters: int
    tickets: int
    rows: tuple[int, int]
    dimensions: Sequence[str]
    rated: Mapping[str, int]
    systems: Mapping[str, Mapping[str, Any]]
    wins: Sequence[Mapping[str, Any]]
    agreement: Mapping[str, float | None]


def make_sheet(comparison: Path, tickets: int = 100, systems: Sequence[str] = (), seed: int = 0) -> Path:
    """Write a rating sheet and, apart from it, the key that says which system wrote what.

    Tickets are drawn evenly over the ROUGE-L buckets of the first system and the queues (or first label column). What
    several systems wrote alike is rated once, for all of them.

    Raises:
        InputError: no comparison there, an unknown system, or a sheet that is there already.
    """
    records = read_answers(comparison)
    chosen = systems_with_replies(comparison, records, systems)
    rng = np.random.default_rng(seed)
    if (comparison / KEY).exists():
        raise InputError(
            f"{comparison / KEY}: exists, and filled sheets may go with it; move it and {SHEET} away to make new ones"
        )
    rows, key = [], {}
    picked = _stratified(records, chosen[0], tickets, rng)
    first = rng.permutation(len(picked)) % len(chosen)  # every system comes first equally often
    mark = hashlib.sha256(f"{seed} {chosen} {[record['id'] for record in picked]}".encode()).hexdigest()[:6]
    for number, (record, turn) in enumerate(zip(picked, first.tolist(), strict=True), start=1):
        others = [name for i, name in enumerate(chosen) if i != turn]
        by_reply: dict[str, list[str]] = {}
        for name in [chosen[turn], *rng.permutation(others).tolist()]:
            by_reply.setdefault(record["systems"][name]["reply"], []).append(name)
        for place, (reply, names) in enumerate(by_reply.items()):
            row = f"{mark}-{number:03d}-{chr(ord('A') + place)}"
            key[row] = {"ticket": record["id"], "systems": names, "reply": _digest(reply)}
            text = f"{record['subject']}\n\n{record['body']}".strip()
            rows.append([row, text, reply, *[""] * len(DIMENSIONS), ""])
    sheet = comparison / SHEET
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([ROW, "ticket", _ANSWER, *DIMENSIONS, _COMMENTS])
    writer.writerows([_safe(cell) for cell in row] for row in rows)
    with disk_guard(comparison), writable(comparison, "folder of a comparison"):
        write_text(sheet, f"\ufeff{out.getvalue()}", newline="")  # the mark makes Excel read UTF-8
        write_json(comparison / KEY, key)
    return sheet


def score_sheets(sheets: Sequence[Path], comparison: Path) -> HumanScores:
    """Join raters' sheets, score them, and add the result to the comparison's report; the ratings are kept beside it.

    Raises:
        InputError: a sheet is no copy of the comparison's or another rater's again, the answers are others by now, or
            a score is not a whole number from 1 to 5.
    """
    if not (comparison / KEY).is_file():
        raise InputError(
            f"{comparison}: holds no {KEY}; expected a folder in which `duet human-eval make` wrote a sheet"
        )
    record = read_report(comparison)
    key = read_json(comparison / KEY, _KEY_MEND)
    if not is_key_of(comparison):
        raise InputError(f"{comparison / KEY}: not of the answers there; expected {_KEY_MEND}")
    ratings = [read_sheet(sheet, key) for sheet in sheets]
    for (sheet, rating), (other, earlier) in combinations(zip(sheets, ratings, strict=True), 2):
        if rating == earlier and sum(map(len, rating.values())) >= _TELLING:
            raise InputError(f"{other}: has the scores of {sheet}; expected one sheet of every rater")
    for sheet, rating in zip(sheets, ratings, strict=True):
        given, expected = sum(map(len, rating.values())), len(key) * len(DIMENSIONS)
        if given < expected:
            print(f"{sheet}: {given:,} of {expected:,} scores are filled in; the others are left out", file=sys.stderr)
    scores = _score(ratings, key)
    with disk_guard(comparison), writable(comparison, "folder of a comparison"):
        write_json(comparison / RATINGS, {"raters": ratings})
    write_report({**record, "human": asdict(scores)}, comparison)
    return scores


def is_key_of(comparison: Path) -> bool:
    """Return whether the key in a comparison's folder is of the answers that are there now."""
    try:
        systems = {record["id"]: record["systems"] for record in read_answers(comparison)}
        entries = read_json(comparison / KEY).values()
        return all(entry["systems"] for entry in entries) and all(
            _digest(systems[entry["ticket"]][name]["reply"]) == entry["reply"]
            for entry in entries
            for name in entry["systems"]
        )
    except (InputError, KeyError, TypeError, AttributeError):
        return False


def _digest(reply: str) -> str:
    return hashlib.sha256(reply.encode()).hexdigest()[:12]


def _stratified(
    records: Sequence[Mapping[str, Any]], system: str, count: int, rng: np.random.Generator
) -> list[Mapping[str, Any]]:
    """Return `count` records, one of every (bucket, queue) in turn, so that rare ones are not drowned."""
    strata: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        true = record["true"]
        queue = true["labels"].get("queue") or next(iter(true["labels"].values()), "")
        rouge = stemmed_rouge_l(record["systems"][system]["reply"] or "", true["reply"])
        strata[(bucket_of(rouge), queue)].append(record)
    piles = [[pile[i] for i in rng.permutation(len(pile))] for _, pile in sorted(strata.items())]
    drawn: list[Mapping[str, Any]] = []
    while len(drawn) < min(count, len(records)):
        for pile in piles:
            if pile and len(drawn) < count:
                drawn.append(pile.pop())
    return drawn


def _safe(cell: str) -> str:
    """Return a cell without control characters, and no formula, whatever a spreadsheet takes for the separator."""
    return without_formula(escape_controls(cell.replace("\r\n", "\n")))


def _score(ratings: Sequence[Mapping[str, Mapping[str, int]]], key: Mapping[str, Any]) -> HumanScores:
    rows = sorted({row for rating in ratings for row in rating})
    tickets = sorted({key[row]["ticket"] for row in rows})
    names = list(dict.fromkeys(name for entry in key.values() for name in entry["systems"]))
    means = {name: {d: _by_ticket(ratings, key, name, d, tickets) for d in DIMENSIONS} for name in sorted(names)}
    resamples = Resamples(len(tickets))
    return HumanScores(
        raters=len(ratings),
        tickets=len(tickets),
        rows=(len(rows), len(key)),
        dimensions=DIMENSIONS,
        rated={name: int((~np.isnan(by["overall"])).sum()) for name, by in means.items()},
        systems={name: {d: asdict(resamples.mean(values)) for d, values in by.items()} for name, by in means.items()},
        wins=[_wins(a, b, means[a]["overall"], means[b]["overall"], resamples) for a, b in combinations(means, 2)],
        agreement={
            d: ordinal_alpha([[rating.get(row, {}).get(d) for row in rows] for rating in ratings]) for d in DIMENSIONS
        },
    )


def _by_ticket(
    ratings: Sequence[Mapping[str, Mapping[str, int]]],
    key: Mapping[str, Any],
    system: str,
    dimension: str,
    tickets: Sequence[str],
) -> Floats:
    """Return the mean over raters for every ticket, NaN where nobody rated the system."""
    given: dict[str, list[int]] = defaultdict(list)
    for rating in ratings:
        for row, scores in rating.items():
            if system in key[row]["systems"] and dimension in scores:
                given[key[row]["ticket"]].append(scores[dimension])
    return np.array([np.mean(given[ticket]) if given[ticket] else np.nan for ticket in tickets])


def _wins(first: str, second: str, a: Floats, b: Floats, resamples: Resamples) -> dict[str, Any]:
    sign = np.sign(a - b)  # NaN where one of them was not rated

    def share(of: int) -> Score:
        return resamples.mean(np.where(np.isnan(sign), np.nan, sign == of))

    shares = {"wins": share(1), "ties": share(0), "losses": share(-1)}
    return {"first": first, "second": second, **{name: asdict(score) for name, score in shares.items()}}
