"""Human evaluation: a blinded rating sheet from a comparison, and what the raters' copies of it say."""

import csv
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import krippendorff
import numpy as np

from backbone.runs import disk_guard, read_json, write_json
from eval.bootstrap import Floats, Resamples
from eval.compare import ANSWERS
from eval.replies import bucket_of, stemmed_rouge_l
from eval.report.page import read_report, write_report
from tickets.errors import InputError

DIMENSIONS = ("relevance", "professionalism", "completeness", "tone", "overall")
SHEET, KEY = "human_eval.csv", "human_eval.key.json"
_ROW, _ANSWER = "row", "answer"
_COMMENTS = "comments"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would run
_LOWEST, _HIGHEST = 1, 5


@dataclass(frozen=True)
class HumanScores:
    """What raters said.

    Attributes:
        systems: mean of every dimension with its interval over tickets, by system.
        wins: shares of tickets on which one system's overall score is above, equal to or below another's.
        agreement: Krippendorff's alpha (ordinal) by dimension; None with one rater or without variation.
    """

    raters: int
    tickets: int
    dimensions: Sequence[str]
    systems: Mapping[str, Mapping[str, Any]]
    wins: Sequence[Mapping[str, Any]]
    agreement: Mapping[str, float | None]


def make_sheet(comparison: Path, tickets: int = 100, systems: Sequence[str] = (), seed: int = 0) -> Path:
    """Write a rating sheet and, apart from it, the key that says which system wrote what.

    Tickets are drawn evenly over the ROUGE-L buckets of the first system and the queues (or first label column).

    Raises:
        InputError: no comparison there, an unknown system, or a sheet that is there already.
    """
    records = _read_answers(comparison / f"{ANSWERS}.jsonl")
    writing = [name for name, said in records[0]["systems"].items() if said["reply"] is not None]
    unknown = [name for name in systems if name not in writing]
    if unknown or not writing:
        raise InputError(
            f"found system {unknown[0] if unknown else 'without replies'!r}, expected systems of {comparison} that "
            f"write replies: {', '.join(writing) or 'none'}"
        )
    chosen = list(systems or writing)
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
        for place, name in enumerate([chosen[turn], *rng.permutation(others).tolist()]):
            row = f"{mark}-{number:03d}-{chr(ord('A') + place)}"
            key[row] = {"ticket": record["id"], "system": name}
            text = f"{record['subject']}\n\n{record['body']}".strip()
            rows.append([row, text, record["systems"][name]["reply"], *[""] * len(DIMENSIONS), ""])
    sheet = comparison / SHEET
    with disk_guard(comparison):
        with sheet.open("w", encoding="utf-8-sig", newline="") as out:  # the mark makes Excel read UTF-8
            writer = csv.writer(out)
            writer.writerow([_ROW, "ticket", _ANSWER, *DIMENSIONS, _COMMENTS])
            writer.writerows([_safe(cell) for cell in row] for row in rows)
        write_json(comparison / KEY, key)
    return sheet


def score_sheets(sheets: Sequence[Path], comparison: Path) -> HumanScores:
    """Join raters' sheets, score them, and add the result to the comparison's report.

    Raises:
        InputError: a sheet is no copy of the comparison's, or a score is not a whole number from 1 to 5.
    """
    if not (comparison / KEY).is_file():
        raise InputError(
            f"{comparison}: holds no {KEY}; expected a folder in which `duet human-eval make` wrote a sheet"
        )
    key = read_json(comparison / KEY)
    ratings = [_read_sheet(sheet, key) for sheet in sheets]
    scores = _score(ratings, key)
    record = read_report(comparison)
    write_report({**record, "human": asdict(scores)}, comparison)
    return scores


def _read_answers(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({error}); expected what `duet compare` writes; run it first") from None


def _stratified(
    records: Sequence[Mapping[str, Any]], system: str, count: int, rng: np.random.Generator
) -> list[Mapping[str, Any]]:
    """`count` records, one of every (bucket, queue) in turn, so that rare ones are not drowned."""
    strata: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        true = record["true"]
        queue = true["labels"].get("queue") or next(iter(true["labels"].values()), "")
        rouge = stemmed_rouge_l(record["systems"][system]["reply"] or "", true["reply"])
        strata[(bucket_of(rouge), queue)].append(record)
    piles = [[pile[i] for i in rng.permutation(len(pile))] for _, pile in sorted(strata.items())]
    found: list[Mapping[str, Any]] = []
    while len(found) < min(count, len(records)):
        for pile in piles:
            if pile and len(found) < count:
                found.append(pile.pop())
    return found


def _safe(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _read_sheet(path: Path, key: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Scores by row and dimension; rows without any score are left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            text = lines.read()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable ({error}); expected a filled copy of {SHEET}, saved as CSV") from None
    delimiter = ";" if text.partition("\n")[0].count(";") > text.partition("\n")[0].count(",") else ","
    reader = csv.DictReader(text.splitlines(keepends=True), delimiter=delimiter)
    missing = [name for name in (_ROW, *DIMENSIONS) if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]!r}, expected those of {SHEET}")
    found = {}
    for line in reader:
        row = line[_ROW].strip()
        given = {name: (line[name] or "").strip() for name in DIMENSIONS}
        if not any(given.values()):
            continue
        if row not in key:
            raise InputError(f"{path}: row {row!r} is not of this comparison, expected rows of its {SHEET}")
        if row in found:
            raise InputError(f"{path}: row {row!r} is there twice, expected once")
        found[row] = {name: _rating(path, row, name, text) for name, text in given.items() if text}
    if not found:
        raise InputError(f"{path}: holds no score, expected whole numbers from {_LOWEST} to {_HIGHEST}")
    return found


def _rating(path: Path, row: str, dimension: str, text: str) -> int:
    number = text.removesuffix(".0").removesuffix(",0")
    if not number.isdecimal() or not _LOWEST <= int(number) <= _HIGHEST:
        raise InputError(
            f"{path}: row {row}, {dimension}: found {text!r}, expected a whole number from {_LOWEST} to {_HIGHEST}"
        )
    return int(number)


def _score(ratings: Sequence[Mapping[str, Mapping[str, int]]], key: Mapping[str, Any]) -> HumanScores:
    rows = sorted({row for rating in ratings for row in rating})
    tickets = sorted({key[row]["ticket"] for row in rows})
    names = list(dict.fromkeys(entry["system"] for entry in key.values()))
    means = {name: {d: _by_ticket(ratings, key, name, d, tickets) for d in DIMENSIONS} for name in sorted(names)}
    resamples = Resamples(len(tickets))
    return HumanScores(
        raters=len(ratings),
        tickets=len(tickets),
        dimensions=DIMENSIONS,
        systems={name: {d: asdict(resamples.mean(values)) for d, values in by.items()} for name, by in means.items()},
        wins=[_wins(a, b, means[a]["overall"], means[b]["overall"]) for a, b in combinations(means, 2)],
        agreement={
            d: _agreement([[rating.get(row, {}).get(d) for row in rows] for rating in ratings]) for d in DIMENSIONS
        },
    )


def _by_ticket(
    ratings: Sequence[Mapping[str, Mapping[str, int]]],
    key: Mapping[str, Any],
    system: str,
    dimension: str,
    tickets: Sequence[str],
) -> Floats:
    """Mean over raters for every ticket, NaN where nobody rated the system."""
    given: dict[str, list[int]] = defaultdict(list)
    for rating in ratings:
        for row, scores in rating.items():
            if key[row]["system"] == system and dimension in scores:
                given[key[row]["ticket"]].append(scores[dimension])
    return np.array([np.mean(given[ticket]) if given[ticket] else np.nan for ticket in tickets])


def _wins(first: str, second: str, a: Floats, b: Floats) -> dict[str, Any]:
    both = ~(np.isnan(a) | np.isnan(b))
    counts = Counter(np.sign(a[both] - b[both]).tolist())
    total = int(both.sum())
    signs = {"wins": 1.0, "ties": 0.0, "losses": -1.0}
    shares = {name: counts[sign] / total if total else None for name, sign in signs.items()}
    return {"first": first, "second": second, **shares}


def _agreement(table: Sequence[Sequence[int | None]]) -> float | None:
    """Krippendorff's alpha (2004) of ordinal ratings, (raters, rows)."""
    data = np.array([[np.nan if value is None else value for value in row] for row in table], dtype=np.float64)
    values = data[~np.isnan(data)]
    if len(table) < 2 or len(set(values.tolist())) < 2 or not (np.sum(~np.isnan(data), axis=0) > 1).any():
        return None
    return float(krippendorff.alpha(reliability_data=data, level_of_measurement="ordinal"))
