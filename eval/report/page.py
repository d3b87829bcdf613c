"""The comparison report: sections of text, tables and charts, built from report.json alone, as HTML and Markdown."""

import html
import math
from collections.abc import Mapping
from importlib import resources
from itertools import count
from pathlib import Path
from typing import Any

import jinja2

from backbone.runs.files import disk_guard, read_json, writable, write_text
from eval.report.blocks import Chart, Section, Table
from eval.report.charts import with_own_ids
from eval.report.sections import sections
from tickets.errors import InputError
from tickets.plain_reason import plain_reason
from tickets.terminal import escape_controls, json_text

Record = Mapping[str, Any]
REPORT, HTML, MARKDOWN = "report.json", "report.html", "report.md"
_FORMAT = 3  # of report.json
_REMEDY = "what `duet compare` writes; move it away and run the same `duet compare` again, which keeps its answers"


def write_report(record: Record, folder: Path) -> Path:
    """Write report.json, report.html and report.md, none ever by halves; returns the path of the HTML."""
    record = {"format": _FORMAT, **plain(record)}
    title, parts = sections(record)
    texts = {
        REPORT: json_text(record, indent=1) + "\n",
        HTML: _html(title, parts),
        MARKDOWN: _markdown(title, parts),
    }
    with disk_guard(folder), writable(folder, "--out"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text(folder / name, text)
    return folder / HTML


def plain(value: Any) -> Any:
    """Return plain values for JSON, which knows neither NaN nor infinity: None instead."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_report(folder: Path) -> dict[str, Any]:
    """Return what `write_report` was given.

    Raises:
        InputError: no report there, or one of another version.
    """
    record: dict[str, Any] = read_json(folder / REPORT, _REMEDY)
    if record.get("format") != _FORMAT:
        raise InputError(
            f"{folder / REPORT}: format {record.get('format')}, expected {_FORMAT}; run the same `duet compare` again, "
            "which keeps its answers"
        )
    record = plain(record)
    try:
        _markdown(*sections(record))  # what cannot be shown is no report
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{folder / REPORT}: not a report ({plain_reason(error)}); expected {_REMEDY}") from None
    return record


def _html(title: str, parts: list[Section]) -> str:
    numbers = count()
    template = (resources.files("eval.report") / "report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["svg"] = lambda chart: with_own_ids(chart.svg, f"c{next(numbers)}-")
    environment.tests |= {"table": lambda b: isinstance(b, Table), "chart": lambda b: isinstance(b, Chart)}
    return escape_controls(environment.from_string(template).render(title=title, sections=parts))


def _markdown(title: str, parts: list[Section]) -> str:
    texts = [f"# {_plain_text(title)}"]
    for number, section in enumerate(parts):
        texts.append(section_text(section, f"{number}. " if number else ""))
    return "\n\n".join(texts) + "\n"


def section_text(section: Section, number: str = "") -> str:
    """Return a section as Markdown."""
    lines = [f"## {number}{_plain_text(section.title)}"]
    for block in section.blocks:
        if isinstance(block, Table):
            lines.append(_markdown_table(block))
        elif isinstance(block, Chart):
            lines.append(f"*{_plain_text(block.caption)}: see {HTML}.*")
        else:
            lines.append(_plain_text(block))
    return "\n\n".join(lines)


def _markdown_table(table: Table) -> str:
    rows = [table.head, ["---"] * len(table.head), *table.rows]
    text = "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows)
    return f"{text}\n\n{_plain_text(table.note)}" if table.note else text


def _cell(text: str) -> str:
    return _plain_text(text).replace("|", "\\|")


def _plain_text(text: str) -> str:
    """Return a paragraph of Markdown that shows `text`: on one line, without HTML, links and pictures."""
    escaped = html.escape(escape_controls(" ".join(text.split())), quote=False)
    return escaped.replace("](", "]\\(").replace("][", "]\\[").replace("]:", "]\\:")
