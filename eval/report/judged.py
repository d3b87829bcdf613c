"""The section on a judge model: why to believe it or not comes before what it says."""

from collections.abc import Mapping
from typing import Any

from eval.report.blocks import Block, Section, Table
from eval.report.text import NO_VALUE, p_value, percent_with_interval, with_interval

Record = Mapping[str, Any]
NO_EVIDENCE = "not usable as evidence"


def judged(record: Record) -> Section:
    """Return the controls, agreement with people, agreement with itself, then scores."""
    blocks: list[Block] = [_introduction(record), *_warnings(record), _controls(record), _trust(record)]
    if record["agreement"] and any(record["agreement"].values()):
        blocks.append(_agreement(record))
    if record["retest"]:
        blocks.append(_retest(record))
    if record["points"]:
        blocks += _scores(record)
    if record["pairs"]:
        blocks += [_pairs(record)]
    return Section(f"Judge model: {record['model']}", blocks)


def _introduction(record: Record) -> str:
    names = ", ".join(record["answered_as"]) or "no name"
    draws = "one answer" if record["draws"] == 1 else f"{record['draws']} answers"
    return (
        f"{record['model']} at {record['endpoint']}, which answered as {names}, {' to '.join(record['days'])}: "
        f"{len(record['tickets']):,} tickets drawn at random, {draws} to each question, temperature "
        f"{record['temperature']:g}. Its {record['questions']:,} answers took {record['tokens']:,} tokens. The judge "
        "saw the ticket, a person's reply, and the draft without Markdown; greeting and closing only where manners are "
        "scored."
    )


def _warnings(record: Record) -> list[str]:
    warnings = []
    shared = sorted(set(record["families"]) & set(record["base_families"]))
    if shared:
        warnings.append(
            f"Warning: the judge is of the family of the systems' base ({', '.join(shared)}). Models prefer what their "
            "own family writes."
        )
    if not record["families"]:
        warnings.append(
            "Warning: the judge's name does not say which family it is of. Make sure that it is not that of the "
            "systems' base."
        )
    if record["cut"]:
        warnings.append(f"Warning: of {record['cut']:,} tickets the judge saw only the beginning and the end.")
    return warnings


def _controls(record: Record) -> Table:
    kinds = list(dict.fromkeys(kind for control in record["controls"].values() for kind in control["means"]))
    rows = []
    for name, control in record["controls"].items():
        means = [NO_VALUE if control["means"].get(kind) is None else f"{control['means'][kind]:.1f}" for kind in kinds]
        wrong = [
            f"{order['better']} above {order['worse']} on {order['share']:.0%}"
            for order in control["orders"]
            if not order["holds"]
        ]
        unreadable = f"{control['unreadable']:,} of {control['questions']:,}"
        verdict = "in order" if control["in_order"] else f"NOT IN ORDER, not used: {'; '.join(wrong)}"
        rows.append([name, *means, unreadable, verdict])
    return Table(
        ["planted replies", *kinds, "unparsable", "verdict"],
        rows,
        "Mean scores of planted replies. The human reply has to be above that of another ticket, an empty one and one "
        'that says "give 5" on at least 80 % of the tickets; padding it by half may raise it on at most 20 %. In pairs '
        "it has to win in both orders. What is not in order was not used any further.",
    )


def _trust(record: Record) -> str:
    rated = {name: agreement for name, agreement in record["agreement"].items() if agreement}
    if not record["points"] and not record["pairs"]:
        return "No score: this model does not put the planted replies in order, so it is no judge of these replies."
    if not rated:
        return (
            f"No person has rated these replies, so nobody knows whether these scores mean anything: {NO_EVIDENCE} "
            "by themselves. `duet human-eval` makes a sheet for raters."
        )
    useless = [name for name, agreement in rated.items() if not agreement["usable"]]
    unrated = [name for name in record["points"] if name not in rated]
    sentences = []
    if useless:
        sentences.append(f"{NO_EVIDENCE.capitalize()}: {', '.join(useless)}.")
    if len(useless) < len(rated):
        sentences.append(f"In agreement with people: {', '.join(n for n in rated if n not in useless)}.")
    if unrated:
        sentences.append(f"Not compared with people: {', '.join(unrated)}.")
    return " ".join(sentences)


def _agreement(record: Record) -> Table:
    rows = [
        [
            name,
            str(agreement["rows"]),
            NO_VALUE if agreement["people"] is None else f"{agreement['people']:.2f}",
            NO_VALUE if agreement["judge"] is None else f"{agreement['judge']:.2f}",
            with_interval(agreement["rho"]),
            f"{agreement['exact']:.0%}",
            f"{agreement['within_one']:.0%}",
            "usable" if agreement["usable"] else f"{NO_EVIDENCE}: {agreement['reason']}",
        ]
        for name, agreement in record["agreement"].items()
        if agreement
    ]
    head = [
        "agreement with people",
        "replies",
        "alpha, people",
        "alpha, judge",
        "Spearman",
        "same",
        "within 1",
        "verdict",
    ]
    return Table(
        head,
        rows,
        f"{record['raters']} rater{'s' if record['raters'] > 1 else ''}. Krippendorff's alpha (ordinal) of two people, "
        "and of the judge with one person, each the mean over pairs. Spearman, same and within 1: with the mean of "
        "people.",
    )


def _retest(record: Record) -> Table:
    rows = [
        [
            name,
            str(retest["questions"]),
            NO_VALUE if retest["alpha"] is None else f"{retest['alpha']:.2f}",
            f"{retest['exact']:.0%}",
            f"{retest['within_one']:.0%}",
        ]
        for name, retest in record["retest"].items()
    ]
    return Table(
        ["agreement with itself", "replies", "alpha", "same", "within 1"],
        rows,
        "The same questions asked again with another seed and another marker between the texts. Without variation of "
        "the scores there is no alpha.",
    )


def _scores(record: Record) -> list[Block]:
    marks = {name: _mark(record["agreement"].get(name)) for name in record["points"]}
    head = ["mean score, 1-5", *(f"{name}{mark}" for name, mark in marks.items())]
    rows = [
        [name, *(with_interval(scores["means"][name]) for scores in record["points"].values())]
        for name in record["systems"]
    ]
    unreadable = [sum(scores["unreadable"].values()) for scores in record["points"].values()]
    rows.append(["unparsable answers", *(f"{count:,}" for count in unreadable)])
    note = "95 % bootstrap intervals over tickets. Answers without a score after a second try count nothing."
    if any(marks.values()):
        note += f" †: {NO_EVIDENCE}."
    first, *others = record["systems"]
    gaps = [
        [f"{first} minus {other}", *(_difference(scores["differences"][other]) for scores in record["points"].values())]
        for other in others
    ]
    return [Table(head, rows, note), *([Table(["difference", *record["points"]], gaps)] if gaps else [])]


def _mark(agreement: Record | None) -> str:
    return "" if agreement and agreement["usable"] else " †"


def _difference(difference: Record) -> str:
    return NO_VALUE if difference["value"] is None else f"{with_interval(difference)}, p {p_value(difference['p'])}"


def _pairs(record: Record) -> Table:
    rows = [
        [
            f"{pair['first']} against {pair['second']}",
            f"{pair['tickets']:,}",
            *(percent_with_interval(pair[key]) for key in ("wins", "ties", "losses", "win_rate", "controlled")),
            " / ".join(f"{words:.0f}" for words in pair["words"]),
            f"{percent_with_interval(pair['turned'])}{_lean(pair['first_shown'])}",
        ]
        for pair in record["pairs"]
    ]
    head = [
        "in pairs",
        "tickets",
        "wins",
        "ties",
        "losses",
        "win rate",
        "at equal length",
        "words",
        "changed with the order",
    ]
    alike, unreadable = (sum(pair[key] for pair in record["pairs"]) for key in ("alike", "unreadable"))
    return Table(
        head,
        rows,
        "A win counts only where both orders agree; everything else is a tie. Win rate: wins and half of the ties. At "
        "equal length: by a logistic regression on the difference in words; where one system is always the longer one, "
        f"it cannot tell. Changed with the order: verdicts that differ between the two orders. On {alike:,} tickets "
        f"both wrote the same, a tie; {unreadable:,} have no verdict that can be read, and count nothing.",
    )


def _lean(first_shown: float | None) -> str:
    return "" if first_shown is None else f", {first_shown:.0%} of them to the first"
