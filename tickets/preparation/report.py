"""The preparation report as plain text, 80 columns wide."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from tickets.preparation.describe import RARE, DuplicateSummary, LabelColumn, Lengths, Report
from tickets.splitting.copies import SMALLEST_BUCKET

WIDTH = 80
_NAME = 34
_BAR = 22
_TOP_TAGS = 12
_SHOWN = 30  # rows of one table


def render_report(report: Report) -> str:
    """Return the whole report, section by section; ends with a line break."""
    sections = [
        _head(report),
        _section("Notes", [line for note in report.notes for line in _wrap(note)]),
        _section("Rows set aside, by reason (quarantine.jsonl)", _counts(report.reasons, report.rows_in)),
        _section("Texts changed by cleaning, and what it took away or changed", _cleaning(report)),
        _section(*_private(report)),
        _section("Columns used", [f"  {part:<12}{_cut(column, 64)}" for part, column in report.columns.items()]),
        _section("Missing values, of the rows that could be read", _counts(report.missing, report.rows_in)),
        _section("Languages", _counts(report.languages, report.kept)),
        *(_label_section(name, column, report.kept) for name, column in report.labels.items()),
        _section(f"Labels too rare to learn (under {RARE} training tickets)", _rare(report.labels)),
        _section(f"Tags: {len(report.tags)} different, most frequent", _counts(_top(report.tags), report.kept)),
        _section("Length in words", _length_table(report.words)),
        _section(_token_title(report), _length_table(report.tokens)),
        _section("Near-duplicates", _duplicate_lines(report)),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(report: Report) -> str:
    parts = ", ".join(f"{name} {count:,}" for name, count in report.parts.items())
    encodings = ", ".join(dict.fromkeys(report.encodings.values()))
    later = f" + {report.turns:,} later replies" if report.turns else ""
    lines = [
        f"Source   {_cut(report.source, WIDTH - 9)}",
        *([f"Encoding {_cut(encodings, WIDTH - 9)}"] if encodings else []),
        f"Rows     {report.rows_in:,} in{later} = {report.kept:,} kept + {report.quarantined:,} quarantined",
        f"Split    {report.split}: {parts}",
    ]
    return "\n".join(lines)


def _cleaning(report: Report) -> list[str]:
    """Return every step with its count and examples; what was switched off is said."""
    off = {step for step, on in report.reading.to_dict().items() if not on}
    lines = []
    for step, count in report.cleaned.items():
        lines.append(f"  {step:<{_NAME}}{'off' if step in off else f'{count:,}':>10}")
        lines += [f"    {_cut(example, WIDTH - 4)}" for example in report.removed.get(step, ())]
    return lines


def _private(report: Report) -> tuple[str, list[str]]:
    """Title and lines of the section on private data."""
    private = report.private
    if private.replaced:
        title = f"Private data replaced by placeholders, in {private.tickets:,} tickets"
    else:
        title = f"Private data in {private.tickets:,} tickets, not replaced (--redact replaces it)"
    return title, _counts(private.counts, None) or ["  none found"]


def _section(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, "-" * len(title), *lines]) if lines else ""


def _counts(counts: Mapping[str, int], whole: int | None) -> list[str]:
    """Return one aligned line per name: count and, where `whole` is given, its share.

    Zeros of a share table are left out.
    """
    shown = [(name, count) for name, count in counts.items() if count or whole is None]
    lines = [f"  {_cut(name, _NAME):<{_NAME}}{count:>10,}{_share(count, whole)}" for name, count in shown[:_SHOWN]]
    return lines + ([f"  and {len(shown) - _SHOWN} more, in report.json"] if len(shown) > _SHOWN else [])


def _share(count: int, whole: int | None) -> str:
    return f"{count / whole:>9.1%}" if whole else ""


def _label_section(name: str, column: LabelColumn, kept: int) -> str:
    title = f"Label {_cut(name, 30)}: {len(column.counts)} classes, largest / smallest = {column.imbalance:g}"
    most = max(column.counts.values())
    lines = []
    for label, count in list(column.counts.items())[:_SHOWN]:
        bar = "#" * max(1, round(_BAR * count / most))
        lines.append(f"  {_cut(label, _NAME):<{_NAME}}{count:>10,}{_share(count, kept)}  {bar}".rstrip())
    if len(column.counts) > _SHOWN:
        lines.append(f"  and {len(column.counts) - _SHOWN} more, in report.json")
    return _section(title, lines)


def _rare(labels: Mapping[str, LabelColumn]) -> list[str]:
    lines: list[str] = []
    for name, column in labels.items():
        shown = [f"{label!r} ({column.train_counts[label]})" for label in column.rare[:_SHOWN]]
        if len(column.rare) > _SHOWN:
            shown.append(f"and {len(column.rare) - _SHOWN} more")
        if shown:
            lines += _wrap(f"{name}: {', '.join(shown)}")
    return lines or ["  none"]


def _top(tags: Mapping[str, int]) -> dict[str, int]:
    return dict(list(tags.items())[:_TOP_TAGS])


def _token_title(report: Report) -> str:
    counted = max((part.texts for part in report.tokens.values()), default=0)
    sampled = f", in a sample of {counted:,} tickets" if counted < report.kept else ""
    return f"Length in tokens{sampled}"


def _length_table(table: Mapping[str, Lengths]) -> list[str]:
    if not table:
        return []
    head = f"  {'':<10}" + "".join(f"{name:>10}" for name in ("texts", "mean", "least", "median", "95 %", "most"))
    rows = [
        f"  {name:<10}{row.texts:>10,}{row.mean:>10,.1f}"
        + "".join(f"{figure:>10,}" for figure in (row.minimum, row.median, row.p95, row.maximum))
        for name, row in table.items()
    ]
    return [head, *rows]


def _duplicate_lines(report: Report) -> list[str]:
    duplicates, parts = report.duplicates, report.parts
    lines = [
        f"{duplicates.groups:,} groups of {duplicates.tickets:,} tickets "
        f"({_percent(duplicates.tickets, report.kept)} of all), the largest of {duplicates.largest:,}; "
        f"{_at_least(duplicates)}{duplicates.pairs:,} pairs.",
        f"Test tickets with a near-duplicate in training: {duplicates.test_leaks:,} of {parts['test']:,} "
        f"({_percent(duplicates.test_leaks, parts['test'])}); validation: {duplicates.validation_leaks:,} of "
        f"{parts['validation']:,}.",
    ]
    if duplicates.recall < 1:
        lines.append(
            f"So many tickets are compared approximately: about {duplicates.recall:.1%} of true pairs are found."
        )
    if duplicates.groups and len(duplicates.disagreeing) > 1:
        columns = ", ".join(f"{name} {count:,}" for name, count in duplicates.disagreeing.items() if name != "any")
        lines.append(
            f"Groups whose labels disagree: {duplicates.disagreeing['any']:,} of {duplicates.groups:,} ({columns})."
        )
    if duplicates.test_leaks:
        lines.append("These test tickets measure memory as well as skill; --split grouped keeps them apart.")
    return [line for text in lines for line in _wrap(text)]


def _at_least(duplicates: DuplicateSummary) -> str:
    """Return `at least ` where not every pair of a text's copies is listed."""
    return "at least " if duplicates.largest >= SMALLEST_BUCKET else ""


def _percent(count: int, whole: int) -> str:
    return f"{count / whole:.1%}" if whole else "0.0%"


def _wrap(text: str) -> Iterable[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _cut(text: str, width: int) -> str:
    """Return one line of at most `width` characters; what is too long loses its end."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 3] + "..."
