"""Charts of the report as SVG that follows the page: ink, lines and series take their colours from its style sheet."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Record = Mapping[str, Any]
Series = Mapping[str, Sequence[tuple[float, float]]]

# drawn in these, then replaced by the style sheet's variables: matplotlib knows no CSS
_INK, _LINE = "#010101", "#020202"
_COLOURS = [f"#{i:02x}0303" for i in range(1, 9)]
_VARIABLES = {_INK: "--ink", _LINE: "--line"} | {colour: f"--c{i}" for i, colour in enumerate(_COLOURS, start=1)}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a label may hold dollar signs
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
_MARKERS = "osD^vP*X"
_ROW = 4  # panels
_MIDDLE = 0.5  # of an axis from 0 to 1
_MOST_CLASSES = 40  # of a confusion matrix that can still be read


def accuracy_chart(systems: Sequence[Record], columns: Sequence[str]) -> str:
    """Draw the accuracy of every system with its interval, a panel per label column."""
    with _figure(len(columns), width=3.3, height=0.5 + 0.33 * len(systems), sharey=True) as (figure, axes):
        for axis, column in zip(axes, columns, strict=True):
            for i, system in enumerate(systems):
                score = system["columns"][column]["accuracy"]
                axis.plot([score["low"], score["high"]], [-i, -i], color=_series(i))
                axis.plot(score["value"], -i, _MARKERS[i % len(_MARKERS)], color=_series(i))
            axis.set_title(column)
            axis.set_xlabel("accuracy")
            axis.grid(axis="x", alpha=0.5)
        axes[0].set_yticks([-i for i in range(len(systems))], [system["name"] for system in systems])
        return _svg(figure)


def confusion_chart(columns: Mapping[str, Record]) -> str:
    """Draw the confusion matrices of one system: share of each true class, a panel per column."""
    shown = {column: scores for column, scores in columns.items() if len(scores["predicted"]) <= _MOST_CLASSES}
    sizes = [len(scores["predicted"]) + 2 for scores in shown.values()]
    if not sizes:
        return ""
    ratios = {"width_ratios": sizes}
    height = 1.6 + 0.24 * max(sizes)
    with _figure(len(shown), width=2.2 + 0.14 * max(sizes), height=height, gridspec_kw=ratios) as (figure, axes):
        for axis, (column, scores) in zip(axes, shown.items(), strict=True):
            matrix = np.array(scores["confusion"], dtype=float)
            shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
            given = [*scores["predicted"], "(none)"] if matrix[:, -1].any() else list(scores["predicted"])
            _heat(axis, shares[:, : len(given)], list(scores["classes"]), given)
            axis.set_title(column, loc="left")
        return _svg(figure)


def reliability_chart(confidence: Mapping[str, Record]) -> str:
    """Draw accuracy by confidence, a panel per column; the diagonal is perfect calibration, dots grow with tickets."""
    with _figure(len(confidence), width=3.0, height=2.8) as (figure, axes):
        for axis, (column, report) in zip(axes, confidence.items(), strict=True):
            bins = report["reliability"]
            most = max(b["tickets"] for b in bins)
            axis.plot([0, 1], [0, 1], "--", color=_LINE)
            axis.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], color=_series(0), clip_on=False)
            for b in bins:
                size = 3 + 9 * b["tickets"] / most
                axis.plot(b["confidence"], b["accuracy"], "o", color=_series(0), markersize=size, clip_on=False)
            axis.set(title=column, xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
        axes[0].set_ylabel("accuracy")
        return _svg(figure)


def coverage_chart(confidence: Mapping[str, Record]) -> str:
    """Draw the accuracy of the most confident share of the tickets; the dot is what passes the review threshold."""
    with _figure(len(confidence), width=3.0, height=2.6) as (figure, axes):
        for axis, (column, report) in zip(axes, confidence.items(), strict=True):
            axis.plot(*zip(*report["coverage"], strict=True), color=_series(0))
            above, accuracy = report["above"]["value"], report["accuracy_above"]["value"]
            if accuracy is not None:
                axis.plot(above, accuracy, "o", color=_series(1), clip_on=False)
                side, shift = ("right", -4) if above > _MIDDLE else ("left", 4)
                axis.annotate("threshold", (above, accuracy), (shift, 6), textcoords="offset points", ha=side)
            axis.set(title=column, xlabel="share answered without review", xlim=(0, 1.02), ylim=(0, 1.02))
        axes[0].set_ylabel("accuracy")
        return _svg(figure)


def rouge_chart(systems: Sequence[Record]) -> str:
    """Draw the distribution of ROUGE-L by system; the vertical lines part the published buckets."""
    with _figure(1, width=7.5, height=2.8) as (figure, (axis,)):
        for i, system in enumerate(systems):
            counts, edges = np.histogram(system["rouge"], bins=20, range=(0, 1))
            axis.plot((edges[:-1] + edges[1:]) / 2, counts, color=_series(i), label=system["name"])
        for edge in (0.3, 0.5):
            axis.axvline(edge, color=_LINE, linestyle="--")
        axis.set(xlabel="ROUGE-L of a reply", ylabel="replies", xlim=(0, 1), ylim=(0, None))
        axis.legend()
        return _svg(figure)


def loss_chart(runs: Mapping[str, Record]) -> str:
    """Draw training and validation loss by epoch, a panel per run, four in a row."""
    with _figure(min(len(runs), _ROW), width=3.1, height=2.6, rows=-(-len(runs) // _ROW)) as (figure, axes):
        for axis in axes[len(runs) :]:
            axis.set_axis_off()
        for axis, (name, facts) in zip(axes, runs.items(), strict=False):
            axis.plot(*_xy(facts["curve"]), color=_LINE, label="optimised")
            axis.plot(*_xy(facts["training"]), "o-", color=_series(0), label="training tickets", clip_on=False)
            axis.plot(*_xy(facts["validation"]), "s-", color=_series(1), label="validation tickets", clip_on=False)
            axis.set(title=name, xlabel="epoch", ylim=(0, None))
        axes[0].set_ylabel("loss (nats)")
        axes[0].legend()
        return _svg(figure)


def rank_chart(figures: Mapping[str, Series]) -> str:
    """Draw figures against the rank of the adapter, a panel per figure and a line per kind of system, four in a row."""
    with _figure(min(len(figures), _ROW), width=2.6, height=2.4, rows=-(-len(figures) // _ROW)) as (figure, axes):
        for axis in axes[len(figures) :]:
            axis.set_axis_off()
        for axis, (name, series) in zip(axes, figures.items(), strict=False):
            for i, (kind, points) in enumerate(series.items()):
                axis.plot(*_xy(sorted(points)), f"{_MARKERS[i]}-", color=_series(i), label=kind)
            axis.set_xscale("log", base=2)
            ranks = sorted({rank for points in series.values() for rank, _ in points})
            axis.set_xticks(ranks, [f"{rank:g}" for rank in ranks])
            axis.set(title=name, xlabel="rank")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
        return _svg(figure)


@contextmanager
def _figure(
    panels: int, width: float, height: float, rows: int = 1, **options: Any
) -> Iterator[tuple[Figure, list[Axes]]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width * panels + 0.6, height * rows), layout="constrained")
        yield figure, list(figure.subplots(rows, panels, squeeze=False, **options).ravel())


def _heat(axis: Axes, shares: Any, rows: list[str], columns: list[str]) -> None:
    """Draw a matrix of squares whose opacity is the share, so that it works on light and dark."""
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            axis.add_patch(mpl.patches.Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=_series(0), alpha=0.85 * share))
            if share >= 0.005:
                axis.text(x, y, f"{share:.2f}".lstrip("0") or "0", ha="center", va="center", fontsize=7)
    axis.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), ylabel="true", xlabel="predicted")
    axis.set_xticks(range(len(columns)), columns, rotation=40, ha="right", fontsize=8)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.set_aspect("equal")


def _series(index: int) -> str:
    return _COLOURS[index % len(_COLOURS)]


def _xy(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def with_own_ids(svg: str, prefix: str) -> str:
    """Return the chart with `prefix` before every id: matplotlib gives the same ids to the parts of every chart."""
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", svg)


def _svg(figure: Figure) -> str:
    """Return the figure as an SVG element without a fixed size."""
    buffer = io.StringIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": "duet"}):  # the same chart gives the same text
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    width = re.search(r'<svg[^>]* width="([\d.]+)pt"', text)
    for size in ("width", "height"):
        text = re.sub(rf'(<svg[^>]*?) {size}="[\d.]+pt"', r"\1", text, count=1)
    return text.replace("<svg", f'<svg style="max-width:{float(width[1]) if width else 600:.0f}pt" role="img"', 1)
