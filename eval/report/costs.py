"""Sections on what the systems cost and how sure the differences are: loss, cost, uncertainty."""

from collections.abc import Mapping, Sequence
from typing import Any

from eval.reply_metrics import NAMES, ROUGE_L
from eval.report import charts
from eval.report.blocks import Block, Chart, Section, Table
from eval.report.text import NO_VALUE, SIGNIFICANT, p_value, per_hour, seconds_with_interval
from eval.report.verdicts import in_several_ranks, rank_figures, ratio_verdict
from eval.slices import FEWEST
from eval.systems import CONSTRAINED, TWO_STAGE, ZERO_SHOT

Record = Mapping[str, Any]


def losses(record: Record) -> Section:
    """Show the loss by run, by epoch and by segment."""
    runs = _runs(record)
    if not runs:
        return Section("Loss")
    rows = [
        [
            name,
            f"{facts['rank']} / {facts['epochs']:g} / {facts['learning_rate']:g}",
            f"{facts['training_loss']:.3f}",
            f"{facts['validation_loss']:.3f}",
            ratio_verdict(facts),
            _loss(facts["reply"], "training"),
            _loss(facts["reply"], "validation"),
        ]
        for name, facts in runs.items()
    ]
    head = [
        "run",
        "rank / epochs / rate",
        "training",
        "validation",
        "validation / training",
        "reply: training",
        "reply: validation",
    ]
    note = (
        "At the kept checkpoint, evaluation mode, without class weights, nats: per token for writers, summed over "
        "heads for classifiers. Between systems only the reply's columns can be compared, and the single prompt is "
        "told more: it sees the true labels and tags before the reply, the generator labels with noise and no tags."
    )
    blocks: list[Block] = [Table(head, rows, note), Chart(charts.loss_chart(runs), "Loss by epoch")]
    for name, facts in runs.items():
        if len(facts["segments"]) > 1:
            parts = [
                [segment, f"{s['tokens']:.1%}", f"{s['loss']:.1%}", f"{s['training']:.3f}", f"{s['validation']:.3f}"]
                for segment, s in facts["segments"].items()
            ]
            blocks.append(
                Table(
                    [f"{name}: segment", "share of tokens", "share of loss", "training", "validation"],
                    parts,
                    "The published report estimates template 10 %, labels 30 %, reply 60 % of the loss.",
                )
            )
    return Section("Loss", [*blocks, *_ranks(record)])


def _ranks(record: Record) -> list[Block]:
    """Return a table and a chart of everything against the rank, where a kind of system comes in several."""
    systems = in_several_ranks(record["systems"])
    if not systems:
        return []
    figures = [rank_figures(system, record["columns"]) for system in systems]
    names = list(dict.fromkeys(name for by_name in figures for name in by_name))
    rows = [
        [
            system["name"],
            " / ".join(str(facts["rank"]) for facts in system["training"]),
            *(f"{by_name[name][1]:.3f}" if name in by_name else NO_VALUE for name in names),
        ]
        for system, by_name in zip(systems, figures, strict=True)
    ]
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for system, by_name in zip(systems, figures, strict=True):
        for name, point in by_name.items():
            series.setdefault(name, {}).setdefault(system["kind"], []).append(point)
    note = (
        "If two ranks are given, the first is the classifier's, used for its label metrics, and the second the "
        "generator's. Losses are those of the adapter that writes the reply."
    )
    return [
        Table(["by rank", "rank", *names], rows, note),
        Chart(charts.rank_chart(series), "Figures against the rank of the adapter"),
    ]


def cost(record: Record) -> Section:
    """Show time, memory and compute."""
    rows = []
    for system in record["systems"]:
        cost, training = system["cost"], system["training"]
        rows.append(
            [
                system["name"],
                seconds_with_interval(cost["labels_s"]),
                seconds_with_interval(cost["answer_s"]),
                per_hour(cost["seconds"]) if cost["tokens"] else NO_VALUE,
                f"{cost['read']:.0f} / {cost['tokens']:.0f}" if cost["tokens"] else NO_VALUE,
                NO_VALUE if cost["memory_mib"] is None else f"{cost['memory_mib']:,.0f} MiB",
                f"{sum(f['trained_parameters'] for f in training):,}" if training else NO_VALUE,
                f"{sum(f['seconds'] for f in training) / 60:.1f} min" if training else NO_VALUE,
                _flops(training),
            ]
        )
    times = ["time to labels", "time to answer", "tickets / hour", "tokens read / written", "peak memory"]
    head = ["system", *times, "trained parameters", "training time", "training FLOP"]
    note = (
        "Times: median of one ticket by itself, no prefix cached. Time to labels includes tags; there is none where a "
        "system never ended their line. Tickets per hour: in batches of 16, by the median batch. In brackets: 95 % "
        "bootstrap intervals of the medians, from six timings on. Peak memory: of a process of its own that answers "
        "one batch (CUDA: allocated; CPU: resident, libraries included). "
        "Training FLOP: 4 per frozen weight and token (6 with recomputation), padding and all of the last block "
        "counted. Training time is of the machine that trained."
    )
    return Section("Cost", [Table(head, rows, note)])


def uncertainty(record: Record) -> Section:
    """Show differences between systems, and figures of subsets."""
    blocks: list[Block] = [_label_differences(record), *_reply_differences(record)]
    shown = [system["name"] for system in record["systems"] if system["kind"] not in (ZERO_SHOT, CONSTRAINED)]
    for group in dict.fromkeys(part["group"] for part in record["slices"]):
        parts = [part for part in record["slices"] if part["group"] == group]
        blocks.append(
            Table(
                [f"by {group}", "tickets", *shown],
                [
                    [
                        part["name"],
                        str(part["tickets"]),
                        *(_slice_cell(part["systems"][name], record["columns"]) for name in shown),
                    ]
                    for part in parts
                ],
                f"Accuracy of {', '.join(record['columns'])}, then ROUGE-L; intervals in report.json. Subsets of fewer "
                f"than {FEWEST} tickets are left out: they prove nothing.",
            )
        )
    return Section("Uncertainty", blocks)


def _label_differences(record: Record) -> Table:
    rows = []
    for pair in record["pairs"]:
        cells = [_difference(d, pair["mcnemar"][name]) for name, d in pair["labels"].items()]
        cells += [_difference(d, d["p"]) for d in pair["macro_f1"].values()]
        rows.append([f"{pair['first']} - {pair['second']}", *cells])
    names = list(record["pairs"][0]["labels"]) if record["pairs"] else []
    accuracies = [f"{name} accuracy" if name in record["columns"] else name for name in names]
    note = (
        "Differences with their 95 % bootstrap intervals, then p: exact McNemar test for accuracy, paired bootstrap "
        "(1,000 resamples) for macro-F1; "
        f"* marks p < {SIGNIFICANT}. With so many pairs, one in twenty is marked by chance."
    )
    return Table(
        ["labels: first - second", *accuracies, *(f"{name} macro-F1" for name in record["columns"])], rows, note
    )


def _reply_differences(record: Record) -> list[Table]:
    writing = [pair for pair in record["pairs"] if pair["replies"]]
    if not writing:
        return []
    rows = [
        [
            f"{pair['first']} - {pair['second']}",
            *(_difference(difference, difference["p"]) for difference in pair["replies"].values()),
        ]
        for pair in writing
    ]
    names = [NAMES[name] for name in writing[0]["replies"]]
    return [
        Table(
            ["replies: first - second", *names],
            rows,
            f"Paired bootstrap: 95 % interval, then p; * marks p < {SIGNIFICANT}.",
        )
    ]


def _difference(difference: Record, p: float) -> str:
    return f"{difference['value']:+.3f} [{difference['low']:+.3f}, {difference['high']:+.3f}] ({p_value(p)})"


def _flops(training: Sequence[Record]) -> str:
    flops = [facts["flops"] for facts in training]
    return f"{sum(flops):.2e}" if flops and None not in flops else NO_VALUE


def _runs(record: Record) -> dict[str, Record]:
    """Return the training facts by run; a constrained system shares the free one's."""
    runs: dict[str, Record] = {}
    for system in record["systems"]:
        for facts in system["training"]:
            name = f"{system['name']}, {facts['stage']}" if system["kind"] == TWO_STAGE else system["name"]
            if facts not in runs.values():
                runs[name] = facts
    return runs


def _slice_cell(figures: Record, columns: Sequence[str]) -> str:
    values = [figures[name]["value"] for name in (*columns, ROUGE_L) if name in figures]
    return " / ".join(NO_VALUE if value is None else f"{value:.2f}" for value in values)


def _loss(segment: Record | None, key: str) -> str:
    return f"{segment[key]:.3f}" if segment else NO_VALUE
