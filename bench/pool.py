"""Tables of all folds that bench/folds.py has finished: pooled figures, and the differences that matter.

    python bench/pool.py

Reads bench/outcomes. Tickets are the units: every ticket was in the test part of one fold. Intervals are of 1,000 draws
of tickets, paired between systems; they hold no variation of training. Tables are Markdown on stdout.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from classifier.operating_points import STRENGTHS
from eval.bootstrap import Difference, Floats, Resamples, Score
from eval.labels import macro_f1_replicates
from eval.systems import CONSTRAINED, NEAREST, SINGLE, TFIDF, TWO_STAGE

OUTCOMES = Path("bench/outcomes")
ALL_BLOCKS = "all blocks"
COLUMNS = ("type", "queue", "priority")
PAIRS = ((TWO_STAGE, SINGLE), (TWO_STAGE, CONSTRAINED), (TWO_STAGE, TFIDF), (TWO_STAGE, NEAREST))


@dataclass(frozen=True)
class Pool:
    """The test tickets of several folds with what every system made of them."""

    tickets: Sequence[Mapping[str, Any]]

    @cached_property
    def resamples(self) -> Resamples:
        """The draws that all figures share."""
        return Resamples(len(self.tickets))

    @property
    def systems(self) -> list[str]:
        """Names of those that every fold has, in the order of the first."""
        return [
            name for name in self.tickets[0]["systems"] if all(name in ticket["systems"] for ticket in self.tickets)
        ]

    def accuracy(self, system: str, column: str) -> Floats:
        """Return replicates of the share of right labels."""
        return self._mean([float(self._is_right(ticket, system, column)) for ticket in self.tickets])

    def macro_f1(self, system: str, column: str) -> Floats:
        """Return replicates of the mean F1 over classes."""
        truth = [ticket["labels"].get(column) for ticket in self.tickets]
        return macro_f1_replicates(
            truth, [self._label(ticket, system, column) for ticket in self.tickets], self.resamples
        )

    def all_right(self, system: str) -> Floats:
        """Return replicates of the share of tickets with every label right."""
        return self._mean([float(all(self._is_right(ticket, system, c) for c in COLUMNS)) for ticket in self.tickets])

    def tags_f1(self, system: str) -> Floats:
        """Return replicates of the micro-F1 of tags; NaN where a system gives none."""
        right, given, true = np.array([ticket["systems"][system]["tags"] for ticket in self.tickets], dtype=float).T
        if not given.any():
            return np.full(len(self.resamples.times) + 1, np.nan)
        return self.resamples.replicates(lambda times: float(2 * (times @ right) / (times @ (given + true))))

    def rouge_l(self, system: str) -> Floats:
        """Return replicates of the mean ROUGE-L; NaN where a system writes no replies in some fold."""
        if not all(self.writes(system, fold) for fold in {ticket["fold"] for ticket in self.tickets}):
            return np.full(len(self.resamples.times) + 1, np.nan)
        values = [ticket["systems"][system]["rouge_l"] for ticket in self.tickets]
        return self._mean([np.nan if value is None else value for value in values])

    def _mean(self, values: Sequence[float]) -> Floats:
        known = ~np.isnan(np.array(values))
        filled = np.where(known, np.nan_to_num(values), 0.0)
        return self.resamples.replicates(lambda times: float(times @ filled / (times @ known)))

    def writes(self, system: str, fold: int) -> bool:
        """Return whether a system wrote replies to the tickets of a fold."""
        return any(t["systems"][system]["rouge_l"] is not None for t in self.tickets if t["fold"] == fold)

    def adjusted(self, system: str, strength: float) -> "Pool":
        """Return the tickets with priorities chosen by probability / share ** strength; shares are of other folds.

        This is the logit adjustment of Menon et al. (2021), applied to calibrated probabilities.
        """
        shares = {fold: self._priority_shares(fold) for fold in {ticket["fold"] for ticket in self.tickets}}
        tickets = []
        for ticket in self.tickets:
            given = ticket["systems"][system]
            by_class, share = given["priority_probabilities"], shares[ticket["fold"]]
            best = max(by_class, key=lambda label: by_class[label] / share[label] ** strength)
            labels = {**given["labels"], "priority": best}
            tickets.append({**ticket, "systems": {**ticket["systems"], system: {**given, "labels": labels}}})
        return Pool(tickets)

    def recall(self, system: str, column: str, label: str) -> Floats:
        """Return replicates of the share of tickets with a label that were given it."""
        true = np.array([ticket["labels"].get(column) == label for ticket in self.tickets], dtype=float)
        hits = true * [self._label(ticket, system, column) == label for ticket in self.tickets]
        return self.resamples.replicates(lambda times: float(times @ hits / (times @ true)))

    def _priority_shares(self, left_out: int) -> dict[str, float]:
        counts = Counter(ticket["labels"]["priority"] for ticket in self.tickets if ticket["fold"] != left_out)
        return {label: count / counts.total() for label, count in counts.items()}

    @staticmethod
    def _label(ticket: Mapping[str, Any], system: str, column: str) -> str | None:
        label = ticket["systems"][system]["labels"].get(column)
        return None if label is None else str(label)

    def _is_right(self, ticket: Mapping[str, Any], system: str, column: str) -> bool:
        return bool(self._label(ticket, system, column) == ticket["labels"].get(column))


Figure = Callable[[Pool, str], Floats]


def figures() -> dict[str, Figure]:
    """Return what is told of every system, by name."""
    by_name: dict[str, Figure] = {}
    for column in COLUMNS:
        by_name[f"{column.title()} accuracy"] = partial(Pool.accuracy, column=column)
        by_name[f"{column.title()} macro-F1"] = partial(Pool.macro_f1, column=column)
    return {**by_name, "all three right": Pool.all_right, "tags F1": Pool.tags_f1, "ROUGE-L": Pool.rouge_l}


@dataclass(frozen=True)
class Fold:
    """What bench/folds.py wrote of one fold: facts of the run, and its test tickets."""

    facts: Mapping[str, Any]
    tickets: Sequence[Mapping[str, Any]]

    @property
    def layers(self) -> int | None:
        """How many blocks the classifier reads with; None for all."""
        count: int | None = self.facts.get("layers")
        return count

    @property
    def systems(self) -> Sequence[str]:
        """Names of the systems that answered its tickets."""
        return list(self.tickets[0]["systems"])


def read_folds(folder: Path) -> list[Fold]:
    """Return all outcomes in a folder."""
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise SystemExit(f"{folder}: holds no outcomes; run bench/folds.py first")
    rows = [[json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] for path in files]
    return [Fold(facts, [{**ticket, "fold": facts["fold"]} for ticket in tickets]) for facts, *tickets in rows]


def groups(folds: Sequence[Fold]) -> list[list[Fold]]:
    """Return all folds, the folds of every system that not all of them have, and those with two-stage replies."""
    systems = dict.fromkeys(name for fold in folds for name in fold.systems)
    candidates = [list(folds), *([fold for fold in folds if name in fold.systems] for name in systems)]
    candidates.append([fold for fold in folds if Pool(fold.tickets).writes(TWO_STAGE, fold.facts["fold"])])
    return [group for i, group in enumerate(candidates) if group and group not in candidates[:i]]


def depths(folds: Sequence[Fold]) -> dict[int, tuple[list[Fold], Pool]]:
    """Return, by number of blocks, the folds with a classifier of so many and of all blocks, and both paired."""
    whole = {fold.facts["fold"]: fold for fold in folds if not fold.layers}
    found: dict[int, tuple[list[Fold], Pool]] = {}
    for layers in sorted({fold.layers for fold in folds if fold.layers}):
        group = [fold for fold in folds if fold.layers == layers and fold.facts["fold"] in whole]
        tickets = []
        for fold in group:
            others = {ticket["id"]: ticket for ticket in whole[fold.facts["fold"]].tickets}
            for ticket in fold.tickets:
                first, all_blocks = (one["systems"][TWO_STAGE] for one in (ticket, others[ticket["id"]]))
                tickets.append({**ticket, "systems": {f"{layers} blocks": first, ALL_BLOCKS: all_blocks}})
        found[layers] = group, Pool(tickets)
    return found


def main() -> None:
    """Print the tables."""
    folds = read_folds(OUTCOMES)
    for group in groups([fold for fold in folds if not fold.layers]):
        _tell(group, Pool([ticket for fold in group for ticket in fold.tickets]), PAIRS)
        _tell_low_priority(group)
    for layers, (group, pool) in depths(folds).items():
        _tell(group, pool, [(f"{layers} blocks", ALL_BLOCKS)])


def _tell_low_priority(folds: Sequence[Fold]) -> None:
    """Print, by strength of the adjustment, how many low-priority tickets the two-stage system finds, and the cost."""
    pool = Pool([ticket for fold in folds for ticket in fold.tickets])
    if len(folds) < 2 or not all("priority_probabilities" in t["systems"][TWO_STAGE] for t in pool.tickets):
        return  # the shares come from other folds
    before = pool.accuracy(TWO_STAGE, "priority")
    print("\n| strength | recall of low | Priority accuracy | minus strength 0 | macro-F1 |\n|" + " --- |" * 5)
    for strength in STRENGTHS:
        adjusted = pool.adjusted(TWO_STAGE, strength)
        accuracy = adjusted.accuracy(TWO_STAGE, "priority")
        scores = [adjusted.recall(TWO_STAGE, "priority", "low"), accuracy, adjusted.macro_f1(TWO_STAGE, "priority")]
        recall, accuracy_text, f1 = (_score(pool.resamples.score(values)) for values in scores)
        cost = _gap(pool.resamples.replicate_difference(accuracy, before))
        print(f"| {strength} | {recall} | {accuracy_text} | {cost} | {f1} |")


def _tell(folds: Sequence[Fold], pool: Pool, pairs: Sequence[tuple[str, str]]) -> None:
    numbers = ", ".join(str(fold.facts["fold"]) for fold in folds)
    print(f"\n## {len(pool.tickets)} test tickets, folds {numbers}\n")
    told = figures()
    values = {system: {name: figure(pool, system) for name, figure in told.items()} for system in pool.systems}
    print("| system | " + " | ".join(told) + " |\n|" + " --- |" * (len(told) + 1))
    for system, by_name in values.items():
        print(f"| {system} | " + " | ".join(_score(pool.resamples.score(v)) for v in by_name.values()) + " |")
    print("\n| difference | " + " | ".join(told) + " |\n|" + " --- |" * (len(told) + 1))
    for first, second in pairs:
        if first in values and second in values:
            gaps = [pool.resamples.replicate_difference(values[first][name], values[second][name]) for name in told]
            print(f"| {first} minus {second} | " + " | ".join(map(_gap, gaps)) + " |")
    print("\n| fold | system | stage | loss ratio |\n| --- | --- | --- | --- |")
    for fold in folds:
        for system, stages in fold.facts["training"].items():
            for stage in stages:
                print(f"| {fold.facts['fold']} | {system} | {stage['stage']} | {stage['ratio']:.2f} |")


def _score(score: Score) -> str:
    return "" if np.isnan(score.value) else f"{score.value:.3f}"


def _gap(gap: Difference) -> str:
    """Return a difference with its interval, bold where that is clear of zero."""
    if np.isnan(gap.value):
        return ""
    text = f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})"
    return f"**{text}**" if gap.low > 0 or gap.high < 0 else text


if __name__ == "__main__":
    main()
