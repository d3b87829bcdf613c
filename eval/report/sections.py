"""What the report says, section by section, from the plain record of a comparison."""

from collections.abc import Mapping
from typing import Any

from eval.reply_metrics import ROUGE_L
from eval.report.blocks import Section, Table
from eval.report.costs import cost, losses, uncertainty
from eval.report.judged import judged
from eval.report.quality import confidence, examples, human, labels, replies
from eval.report.text import NO_VALUE, seconds_alone, value_alone, with_interval
from eval.report.verdicts import head_to_head, low_recall, promotion, published, targets

Record = Mapping[str, Any]


_PUBLISHED = {
    "type": "type",
    "queue": "queue",
    "priority": "priority",
    "low_recall": "recall of low",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "bleu": "BLEU",
    "words": "words",
    "train_loss": "training loss",
    "validation_loss": "validation loss",
}


def sections(record: Record) -> tuple[str, list[Section]]:
    """Title and sections; the first is the summary."""
    parts = [
        _summary(record),
        labels(record),
        confidence(record),
        replies(record),
        losses(record),
        cost(record),
        uncertainty(record),
        _targets(record),
        examples(record),
    ]
    parts += [human(record["human"])] if record.get("human") else []
    parts += [judged(judgement) for judgement in record.get("judges") or []]
    parts += [_beside(record, record["beside"])] if record.get("beside") else []
    return "Two stages or one prompt: the comparison", [*(part for part in parts if part.blocks), _about(record)]


def _summary(record: Record) -> Section:
    columns = record["columns"]
    head = [
        "system",
        *columns,
        "recall of low",
        "all labels right",
        "unparsable",
        "cut",
        "ROUGE-L",
        "time to labels",
        "time to answer",
    ]
    rows = []
    for system in record["systems"]:
        cost, replies = system["cost"], system["replies"]
        rows.append(
            [
                system["name"],
                *(value_alone(system["columns"][column]["accuracy"]) for column in columns),
                value_alone(low_recall(system)),
                value_alone(system["exact_match"]),
                f"{system['unparsable']['value']:.1%}",
                f"{cost['truncated']:.1%}",
                value_alone(replies[ROUGE_L]) if replies else NO_VALUE,
                seconds_alone(cost["labels_s"]),
                seconds_alone(cost["answer_s"]),
            ]
        )
    note = (
        f"Accuracy by label on {record['tickets']:,} tickets ({record['part']} part of {record['data']}). Unparsable: "
        "at least one label is missing or not of the list. Cut: tickets longer than the limit of tokens. Times: median "
        "of one ticket by itself on this machine. Intervals are in the sections below."
    )
    warnings = [f"Warning: {warning}." for warning in record["warnings"]]
    verdict = promotion(record["promotion"]) if record.get("promotion") else head_to_head(record)
    return Section("Summary", [*verdict, *warnings, Table(head, rows, note)])


def _targets(record: Record) -> Section:
    trained = [system["name"] for system in record["systems"] if system["training"]]
    elsewhere = [
        [name, *(figures.get(key, NO_VALUE) for key in _PUBLISHED)] for name, figures in published()["systems"].items()
    ]
    return Section(
        "Targets",
        [
            Table(
                ["target of the published plan", "wanted", *trained],
                targets(record),
                "Losses are of the run that writes the reply, over all it writes.",
            ),
            Table(
                ["published, elsewhere", *_PUBLISHED.values()],
                elsewhere,
                "Measured on other tickets with other models: for orientation, not for comparison. On Priority the "
                "small models of the last rows are ahead of the 7B single prompt.",
            ),
        ],
    )


def _beside(record: Record, other: Record) -> Section:
    head = ["system and split", *record["columns"], "ROUGE-L"]
    rows = []
    for source in (record, other):
        for system in source["systems"]:
            cells = [with_interval(system["columns"].get(column, {}).get("accuracy")) for column in record["columns"]]
            rouge = with_interval(system["replies"][ROUGE_L]) if system["replies"] else NO_VALUE
            rows.append([f"{system['name']}, {source['data']} ({source['tickets']:,})", *cells, rouge])
    return Section("Beside another split", [Table(head, rows)])


def _about(record: Record) -> Section:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    text = (
        f"{record['tickets']:,} tickets of the {record['part']} part of {record['data']}. "
        f"Machine: {record['machine']}. {versions}. "
        "Every system's answers are in answers.jsonl, every figure in report.json."
    )
    return Section("About this report", [text])
