"""What the figures mean: who is ahead, which targets are reached, and what was published."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml

from eval.reply_metrics import ROUGE_L
from eval.report.blocks import Table
from eval.report.text import SIGNIFICANT, with_interval
from eval.systems import CONSTRAINED, SINGLE, TWO_STAGE

Record = Mapping[str, Any]
PUBLISHED_RATIO = 1.5
_UNKNOWN = "not shown to differ"


@cache
def published() -> dict[str, Any]:
    """Return the published system's figures and the targets of its plan."""
    text = (resources.files("eval") / "published.yaml").read_text(encoding="utf-8")
    record: dict[str, Any] = yaml.safe_load(text)
    return record


def _of_kind(record: Record, kind: str) -> list[Record]:
    return [system for system in record["systems"] if system["kind"] == kind]


def low_recall(system: Record) -> Record | None:
    """Recall of low-priority tickets, where there are such."""
    classes = system["columns"].get("priority", {}).get("classes", {})
    recalls = (scores["recall"] for label, scores in classes.items() if label.lower() == "low")
    recall: Record | None = next(recalls, None)
    return recall


def head_to_head(record: Record) -> list[str]:
    """Return a paragraph per two-stage system and single prompt: which figures are ahead, behind or level."""
    two_stage, single = (_of_kind(record, kind) for kind in (TWO_STAGE, SINGLE))
    if not two_stage or not single:
        return ["A verdict needs a two-stage system and a single-prompt one; this report holds one of them."]
    return [_compared(record, ours, theirs) for ours in two_stage for theirs in single]


def promotion(record: Record) -> list[str | Table]:
    """Return whether to promote the new model, and a table of what that was decided by."""
    kinds = record["differences"]
    names = list(dict.fromkeys(name for changes in kinds.values() for name in changes))
    head = ["new minus old", *(f"{kind} tickets ({record['tickets'][kind]:,})" for kind in kinds)]
    rows = [[name, *(with_interval(changes.get(name)) for changes in kinds.values())] for name in names]
    note = (
        "Differences with 95 % intervals, paired. Frozen tickets were in the test part of the old model's data; the "
        "newest came since, and neither model was trained on them."
    )
    return [f"{record['verdict'].title()}: {record['reason']}.", Table(head, rows, note)]


def _compared(record: Record, ours: Record, theirs: Record) -> str:
    pair = next(p for p in record["pairs"] if {p["first"], p["second"]} == {ours["name"], theirs["name"]})
    sign = 1 if pair["first"] == ours["name"] else -1
    named: dict[str, list[str]] = {"ahead": [], "behind": [], _UNKNOWN: []}
    for name, difference in pair["labels"].items():
        p = pair["mcnemar"][name]
        figure = f"{name} accuracy" if name in record["columns"] else name
        named[_side(sign * difference["value"], p)].append(_difference(figure, sign * difference["value"], p))
    for name, difference in pair["macro_f1"].items():
        value = sign * difference["value"]
        named[_side(value, difference["p"])].append(_difference(f"{name} macro-F1", value, difference["p"]))
    for name, difference in pair["replies"].items():
        if name == ROUGE_L:
            value = sign * difference["value"]
            named[_side(value, difference["p"])].append(_difference("ROUGE-L", value, difference["p"]))
    parts = [f"{side} on {', '.join(figures)}" for side, figures in named.items() if figures]
    unparsable = " against ".join(f"{system['unparsable']['value']:.1%}" for system in (ours, theirs))
    names = f"{ours['name']} against {theirs['name']}"
    return f"{names}, on {record['tickets']:,} tickets: {'; '.join(parts)}. Format failures: {unparsable}."


def targets(record: Record) -> list[list[str]]:
    """Return the rows of the published plan's targets, as reached or missed by every trained system."""
    goals = published()["targets"]
    trained = [system for system in record["systems"] if system["training"]]
    rows = []
    for name, key, at_least in (
        ("validation loss", "validation_loss", False),
        ("validation / training loss", "loss_ratio", False),
        ("Priority accuracy", "priority", True),
        ("recall of low priority", "low_recall", True),
        ("ROUGE-L", "rougeL", True),
    ):
        bound = f"{'at least' if at_least else 'below'} {goals[key]:.2f}"
        rows.append([name, bound, *(_judged(_figure(system, key), goals[key], at_least) for system in trained)])
    return rows


def ratio_verdict(facts: Record) -> str:
    """Return a run's loss ratio against 1.5."""
    return f"{facts['ratio']:.2f} ({'under' if facts['ratio'] < PUBLISHED_RATIO else 'OVER'} {PUBLISHED_RATIO})"


def _figure(system: Record, key: str) -> float | None:
    if key == "priority":
        return _value(system["columns"].get("priority", {}).get("accuracy"))
    if key == "low_recall":
        return _value(low_recall(system))
    if key == "rougeL":
        return _value(system["replies"][ROUGE_L]) if system["replies"] else None
    writer = next((facts for facts in system["training"] if facts["reply"]), None)
    if writer is None:
        return None
    figure: float = writer["validation_loss"] if key == "validation_loss" else writer["ratio"]
    return figure


def _judged(value: float | None, goal: float, at_least: bool) -> str:
    if value is None:
        return "-"
    reached = value >= goal if at_least else value < goal
    return f"{value:.3f} {'reached' if reached else 'missed'}"


def _value(score: Record | None) -> float | None:
    return None if score is None else score["value"]


def _side(value: float, p: float) -> str:
    return _UNKNOWN if p >= SIGNIFICANT or value == 0 else "ahead" if value > 0 else "behind"


def _difference(name: str, value: float, p: float) -> str:
    return f"{name} ({value:+.3f}, p {p:.3f})" if p >= 0.001 else f"{name} ({value:+.3f}, p < 0.001)"


def rank_figures(system: Record, columns: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return (rank, value) by figure: labels with the rank of the adapter that labels, the rest with the other's."""
    labelling, replying = system["training"][0]["rank"], system["training"][-1]["rank"]
    facts = system["training"][-1]
    figures = {f"{c} accuracy": (labelling, system["columns"][c]["accuracy"]["value"]) for c in columns}
    figures |= {f"{c} macro-F1": (labelling, system["columns"][c]["macro_f1"]["value"]) for c in columns}
    low = _value(low_recall(system))
    figures |= {} if low is None else {"recall of low": (labelling, low)}
    figures |= {"ROUGE-L": (replying, system["replies"][ROUGE_L]["value"])} if system["replies"] else {}
    return figures | {
        "training loss": (replying, facts["training_loss"]),
        "validation loss": (replying, facts["validation_loss"]),
    }


def in_several_ranks(systems: Sequence[Record]) -> list[Record]:
    """Return the trained systems whose kind was trained with more than one rank, ordered by rank; often none."""
    ranks: dict[str, set[tuple[float, ...]]] = {}
    for system in systems:
        if system["training"]:
            ranks.setdefault(system["kind"], set()).add(_ranks(system))
    several = [s for s in systems if s["training"] and s["kind"] != CONSTRAINED and len(ranks[s["kind"]]) > 1]
    return sorted(several, key=lambda system: (system["kind"], _ranks(system)))


def _ranks(system: Record) -> tuple[float, ...]:
    return tuple(facts["rank"] for facts in system["training"])
