"""Sections on what the systems say: labels, confidence, replies, examples, human ratings."""

from collections.abc import Mapping
from typing import Any

from classifier.review import TARGETS, is_never
from eval.reply_metrics import BERTSCORE, NAMES
from eval.reply_scores import BUCKETS, bucket_of
from eval.report import charts
from eval.report.blocks import Block, Chart, Section, Table
from eval.report.text import NO_VALUE, percent_with_interval, with_interval
from eval.report.verdicts import published
from eval.saved_keys import NEAR_MISS, UNKNOWN_LABEL

Record = Mapping[str, Any]
_CORPUS = {
    "sacrebleu": "sacreBLEU (corpus, 0-100)",
    "distinct_1": "distinct-1",
    "distinct_2": "distinct-2",
    "mean_words": "words",
    "mean_words_ratio": "words, replies / true replies",
}


def labels(record: Record) -> Section:
    """Show accuracy, F1, classes and confusions."""
    columns, systems = record["columns"], record["systems"]
    blocks: list[Block] = [
        Chart(charts.accuracy_chart(systems, columns), "Accuracy with 95 % bootstrap intervals"),
        Table(
            ["system", *(f"{c}: accuracy" for c in columns), "all labels right", "tags micro-F1"],
            [
                [
                    system["name"],
                    *(with_interval(system["columns"][column]["accuracy"]) for column in columns),
                    with_interval(system["exact_match"]),
                    with_interval(system["tags"]),
                ]
                for system in systems
            ],
        ),
        Table(
            [
                "system",
                *(f"{c}: macro-F1" for c in columns),
                "unparsable",
                "of these unknown",
                "near miss",
                "needs review",
            ],
            [
                [
                    system["name"],
                    *(with_interval(system["columns"][column]["macro_f1"]) for column in columns),
                    *(percent_with_interval(system[key]) for key in ("unparsable", UNKNOWN_LABEL, NEAR_MISS)),
                    percent_with_interval(system["review"]) if system["training"] else NO_VALUE,
                ]
                for system in systems
            ],
            "Tags: over all tags of the test tickets. Unparsable: tickets with a label that is missing or unknown. "
            "Unknown: not one of the allowed labels. Near miss: an unknown label close to an allowed one; it still "
            "counts as wrong. Needs review: tickets that the system itself marks for review.",
        ),
    ]
    for column in columns:
        rows = [
            [
                f"{system['name']}: {label}",
                *(with_interval(scores[key]) for key in ("precision", "recall", "f1")),
                str(scores["support"]),
            ]
            for system in systems
            if system["training"]
            for label, scores in system["columns"][column]["classes"].items()
        ]
        blocks.append(Table([f"{column}, by class", "precision", "recall", "F1", "tickets"], rows))
    blocks += [block for system in systems for block in _rarest_class(system)]
    blocks += [
        Chart(charts.confusion_chart(system["columns"]), f"{system['name']}: share of every true class")
        for system in systems
        if system["training"]
    ]
    return Section("Labels", blocks)


def _rarest_class(system: Record) -> list[Block]:
    """Return the operating points of a system; earlier reports have none."""
    rows = [
        [
            f"{column}, {rarest['label']}" if not i else "",
            f"{point['strength']:g}",
            *(with_interval(point[key]) for key in ("recall", "accuracy", "macro_f1")),
        ]
        for column, rarest in system.get("rarest_class", {}).items()
        for i, point in enumerate(rarest["points"])
    ]
    if not rows:
        return []
    head = [f"{system['name']}: rarest class", "strength", "its recall", "accuracy of the column", "macro-F1"]
    note = (
        "Labels chosen again by calibrated probability / class share ** strength. The strength is that of a logit "
        "adjustment: `duet calibrate` sets it without training. These tickets show what it costs; choose it on "
        "validation tickets."
    )
    return [Table(head, rows, note)]


def confidence(record: Record) -> Section:
    """Return how far the confidence of the labels can be trusted."""
    blocks: list[Block] = []
    for system in record["systems"]:
        reports = system["confidence"]
        if not reports:
            continue
        rows = [
            [
                column,
                with_interval(report["error_before"]),
                with_interval(report["error_after"]),
                f"{report['threshold']:.2f}" if not is_never(report["threshold"]) else "never sure enough",
                percent_with_interval(report["above"]),
                with_interval(report["accuracy_above"]),
            ]
            for column, report in reports.items()
        ]
        head = [system["name"], "ECE before", "ECE after", "review threshold", "tickets above", "accuracy above"]
        blocks += [
            Table(
                head,
                rows,
                "ECE: expected calibration error, 15 bins; before and after the fitted temperature and offsets. In "
                "brackets: 95 % bootstrap intervals, which for ECE lie high: bins of fewer different tickets err more.",
            ),
            *_automated(system["name"], reports),
            Chart(charts.reliability_chart(reports), "Reliability after calibration; dots grow with their tickets"),
            Chart(charts.coverage_chart(reports), "Accuracy of the tickets the system is surest of"),
        ]
    return Section("Confidence", blocks)


def _automated(system: str, reports: Mapping[str, Record]) -> list[Block]:
    """Return what each column can have applied without a person; reports of before do not say it."""
    if not all("automated" in report for report in reports.values()):
        return []
    rows = []
    for column, report in reports.items():
        own, *others = (_applied_text(applied) for applied in report["automated"])
        rows.append([column, f"{own}, target {report['automated'][0]['target']:g}", *others])
    head = [f"{system}: applied without a person at", "its own target", *(f"{target:g}" for target in TARGETS)]
    note = (
        "Share of the tickets, and accuracy there. The targets are accuracies; thresholds were fitted on validation "
        "tickets. Never: no confidence was enough there. -: the run is older than this table."
    )
    return [Table(head, rows, note)]


def _applied_text(applied: Record) -> str:
    if applied["threshold"] is None:
        return NO_VALUE
    return (
        "never"
        if is_never(applied["threshold"])
        else f"{percent_with_interval(applied['share'])}: {with_interval(applied['accuracy'])}"
    )


def replies(record: Record) -> Section:
    """Show overlap, faithfulness, copying and variety of replies."""
    writing = [system for system in record["systems"] if system["replies"]]
    if not writing:
        return Section("Replies")
    rows = [
        [name, *(with_interval(system["replies"].get(key)) for system in writing)]
        for key, name in NAMES.items()
        if key != BERTSCORE or any(key in system["replies"] for system in writing)
    ]
    if not any(BERTSCORE in system["replies"] for system in writing):
        rows.append(["BERTScore F1", *("not computed" for _ in writing)])
    rows += [
        [name, *(with_interval(system["reply_corpus"][key]) for system in writing)] for key, name in _CORPUS.items()
    ]
    signature = next(system["bleu_signature"] for system in writing)
    note = (
        "ROUGE: F1, Porter-stemmed a-z words as published, and words of every alphabet. BLEU as published: mean "
        f"sentence BLEU, smoothing method 1. sacreBLEU: {signature}. BERTScore: {record['bertscore']}. "
        "Own names, numbers and dates: of those that ticket and true reply share. distinct-n has no interval: drawing "
        "replies twice lowers it."
    )
    buckets = []
    for system in writing:
        names = [bucket_of(value) for value in system["rouge"]]
        counts = [names.count(name) for name in BUCKETS]
        buckets.append([system["name"], *(f"{n:,} ({n / max(len(names), 1):.1%})" for n in counts)])
    total = sum(published()["buckets"].values())
    reference = [f"{n:,} ({n / total:.1%})" for n in published()["buckets"].values()]
    buckets.append(["published 7B single prompt, rank 128 (elsewhere)", *reference])
    return Section(
        "Replies",
        [
            Table(["metric", *(system["name"] for system in writing)], rows, note),
            Chart(charts.rouge_chart(writing), "Distribution of ROUGE-L; dashed lines part the published buckets"),
            Table(["ROUGE-L", *BUCKETS], buckets),
        ],
    )


def examples(record: Record) -> Section:
    """Return one ticket of every bucket with what each system wrote."""
    leader = next((system["name"] for system in record["systems"] if system["replies"]), "")
    blocks: list[Block] = [f"One ticket of every bucket by the ROUGE-L of {leader}."] if record["examples"] else []
    for example in record["examples"]:
        ticket = example["ticket"]
        truth = ", ".join(f"{column}: {label}" for column, label in ticket["labels"].items())
        blocks.append(f"ROUGE-L {example['bucket']}. Ticket {ticket['id']}: {ticket['subject']}\n{ticket['body']}")
        rows = [["true", truth, ticket["reply"], NO_VALUE]]
        for answer in example["systems"]:
            labels = ", ".join(f"{column}: {label}" for column, label in answer["labels"].items())
            rouge = NO_VALUE if answer["rouge"] is None else f"{answer['rouge']:.2f}"
            rows.append([answer["name"], labels, answer["reply"] or "", rouge])
        blocks.append(Table(["", "labels", "reply", "ROUGE-L"], rows))
    return Section("Worked examples", blocks)


def human(human: Record) -> Section:
    """Return what people said, where they were asked."""
    rows = [
        [
            name,
            f"{human['rated'][name]:,}",
            *(with_interval(scores[dimension]) for dimension in human["dimensions"]),
        ]
        for name, scores in human["systems"].items()
    ]
    wins = [
        [
            f"{w['first']} against {w['second']}",
            *(percent_with_interval(w[key]) for key in ("wins", "ties", "losses")),
        ]
        for w in human["wins"]
    ]
    agreement = [[name, NO_VALUE if a is None else f"{a:.2f}"] for name, a in human["agreement"].items()]
    return Section(
        "Human ratings",
        [
            f"{human['raters']} rater{'s' if human['raters'] > 1 else ''}, {human['tickets']:,} tickets, "
            f"{human['rows'][0]:,} of {human['rows'][1]:,} rows rated, scores 1-5.",
            Table(
                ["system", "tickets", *human["dimensions"]], rows, "Means with 95 % bootstrap intervals over tickets."
            ),
            Table(["overall", "wins", "ties", "losses"], wins),
            Table(["dimension", "Krippendorff's alpha (ordinal)"], agreement),
        ],
    )
