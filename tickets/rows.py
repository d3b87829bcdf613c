"""From the rows of a source to tickets: which columns hold what, and how a row becomes a ticket."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

from tickets.cleaning import Cleaner, normalise
from tickets.columns import ColumnMap, as_text, choose_columns
from tickets.errors import InputError
from tickets.labels import label_or_empty
from tickets.readers import RawRow, read_rows
from tickets.schema import Ticket

_PEEK = 1_000  # rows looked at to find the columns
_NO_ROWS = "found no rows below the header; expected tickets; give another file"
_LANGUAGES = {"english": "en", "englisch": "en", "german": "de", "deutsch": "de", "french": "fr", "spanish": "es"}


@dataclass(frozen=True)
class Cells:
    """What a row says, by part of the ticket, as it stands there."""

    parts: dict[str, str]
    labels: dict[str, str]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """An open source: its rows, to be read once, and its columns."""

    name: str
    rows: Iterator[RawRow]
    columns: ColumnMap
    sample: tuple[str, ...] = ()  # texts of the first rows, by which a source is judged

    @classmethod
    def open(
        cls, name: str, preset: str | None = None, maps: Sequence[str] = (), keep: Sequence[str] | None = None
    ) -> "Source":
        """Open a source and find its columns by the first rows and the options.

        Raises:
            InputError: no such source, no rows, or no column for the body.
        """
        rows = read_rows(name)
        peek = list(islice(rows, _PEEK))
        columns = _find_columns(name, peek, preset, maps, keep)
        judged = [column for column in (columns.body, columns.subject, columns.reply) if column]
        texts = [row.fields.get(column) for row in peek for column in judged]
        return cls(name, chain(peek, rows), columns, tuple(text for text in texts if isinstance(text, str)))

    @cached_property
    def part_columns(self) -> dict[str, str]:
        """Source column by part, for those the source has."""
        columns = self.columns
        named = {"id": columns.id, "subject": columns.subject, "body": columns.body, "reply": columns.reply}
        named |= {"language": columns.language, "created": columns.created, "tags": ", ".join(columns.tags)}
        return {part: column for part, column in named.items() if column}

    def cells(self, row: RawRow) -> Cells:
        """The cells of a row."""
        parts = {part: as_text(row.fields.get(column)) for part, column in self.part_columns.items() if part != "tags"}
        labels = {
            name: label_or_empty(normalise(as_text(row.fields.get(column))))
            for name, column in self.columns.labels.items()
        }
        tags = tuple(tag for value in self.columns.tag_values(row.fields) if (tag := normalise(value)))
        return Cells(parts, labels, tags)

    def ticket(self, cells: Cells, number: int, cleaner: Cleaner) -> Ticket:
        """The ticket of the `number`-th row; the number is its id where the source has none."""
        parts = cells.parts
        return Ticket(
            id=normalise(parts.get("id", "")) if self.columns.id else f"{number:06d}",
            subject=" ".join(cleaner.clean(parts.get("subject", ""), thread=False).split()),
            body=cleaner.clean(parts["body"]),
            language=language_code(normalise(parts.get("language", ""))),
            labels={name: label for name, label in cells.labels.items() if label},
            tags=cells.tags,
            reply=cleaner.clean(parts.get("reply", "")),
            created=normalise(parts.get("created", "")),
        )


def language_code(name: str) -> str:
    """`en` for `EN`, `en-US` and `English`; other names lower-cased."""
    lowered = name.strip().lower()
    return _LANGUAGES.get(lowered) or (lowered[:2] if lowered[2:3] in ("-", "_") else lowered)


def no_rows(source: str) -> InputError:
    """What to raise where a source holds nothing."""
    return InputError(f"{source}: {_NO_ROWS}")


def _find_columns(
    source: str, peek: list[RawRow], preset: str | None, maps: Sequence[str], keep: Sequence[str] | None
) -> ColumnMap:
    """The column map that the first rows and the options give."""
    readable: list[dict[str, Any]] = [row.fields for row in peek if row.fault is None] or [row.fields for row in peek]
    if peek and all(row.fault and len(row.fields) <= 1 for row in peek):
        raise InputError(
            f"{source}: found no readable row; line {peek[0].line}: {peek[0].fault}; "
            "expected CSV, TSV, JSONL, JSON or Parquet; export the file again"
        )
    header = list(dict.fromkeys(name for fields in readable for name in fields))
    if not peek:
        raise no_rows(source)
    filled = frozenset(n for fields in readable for n, value in fields.items() if as_text(value).strip())
    try:
        columns = choose_columns(header, preset, maps, keep, filled)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    asked = any(text.partition("=")[0].strip() == "id" for text in maps)
    if columns.id and not asked:  # a guessed id column has to tell tickets apart
        ids = [as_text(fields.get(columns.id)) for fields in readable]
        if len(set(ids)) < 0.9 * len(ids):
            return replace(columns, id=None)
    return columns
