"""From the rows of a source to tickets: which columns hold what, and how a row becomes a ticket."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

from tickets.cell_text import as_text, text_or_empty
from tickets.cleaning.clean import Cleaner, normalise
from tickets.columns.choose import ColumnMap
from tickets.columns.empty_labels import label_or_empty
from tickets.columns.json_cells import expanded
from tickets.columns.source_columns import sample_fields, source_columns
from tickets.conversations.assemble import (
    NO_AUDIENCE,
    NO_AUTHOR,
    REQUESTER,
    Conversation,
    ConversationColumns,
    Turn,
    read_conversation,
)
from tickets.formats.readers import read_rows
from tickets.raw import RawRow, ReadLog
from tickets.redact.people import PeopleColumns, people_columns
from tickets.schema import Ticket

_MOST_HEADERS = 1_000
_PEEK = 1_000  # rows looked at to find the columns
NO_TEXT = "the text"
SYNTHETIC = "synthetic ticket of `duet augment`"
_TRUSTED = {
    NO_AUTHOR: "the next message, whoever wrote it",
    NO_AUDIENCE: "the first message of somebody else, which may be an internal note",
}
_LANGUAGES = {"english": "en", "englisch": "en", "german": "de", "deutsch": "de", "french": "fr", "spanish": "es"}


@dataclass(frozen=True)
class Cells:
    """What a row says, by part of the ticket, as it stands there."""

    parts: dict[str, str]
    labels: dict[str, str]
    tags: tuple[str, ...]
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Source:
    """An open source: its rows, to be read once, its columns, and what was understood of it."""

    name: str
    rows: Iterator[RawRow]
    columns: ColumnMap
    sample: tuple[str, ...] = ()  # texts of the first rows, by which a source is judged
    conversations: ConversationColumns = field(default_factory=ConversationColumns)
    people: PeopleColumns = field(default_factory=lambda: PeopleColumns({}))
    log: ReadLog = field(default_factory=ReadLog)
    unknown: Counter[str] = field(default_factory=Counter)  # rows without a reply, by what is not known
    elsewhere: Counter[tuple[str, str]] = field(default_factory=Counter)  # texts in another column, by part and column
    others: dict[tuple[str, ...], ColumnMap] = field(default_factory=dict)  # columns of rows with other names

    @classmethod
    def open(
        cls,
        name: str,
        preset: str | None = None,
        maps: Sequence[str] = (),
        keep: Sequence[str] | None = None,
        encoding: str | None = None,
    ) -> "Source":
        """Open a source and find its columns by the first rows and the options.

        Raises:
            InputError: no such source, no rows, or no column for the body.
        """
        log = ReadLog()
        rows = expanded(read_rows(name, encoding, log))
        peek = list(islice(rows, _PEEK))
        samples = sample_fields(name, peek, log)
        asked, maps = people_columns(maps, list(dict.fromkeys(column for fields in samples for column in fields)))
        columns, conversations = source_columns(name, samples, preset, maps, keep, log)
        repeats = (name for names in columns.repeats.values() for name in names)
        named = (columns.body, columns.subject, columns.reply, *repeats)
        texts = (
            value
            for row in peek
            for column, value in row.fields.items()
            if isinstance(value, str) and (column in named or conversations.holds(column))
        )
        taken = columns.used - {columns.id, columns.language, columns.created}
        people = PeopleColumns(asked, taken)
        return cls(name, chain(peek, rows), columns, tuple(texts), conversations, people, log)

    @cached_property
    def part_columns(self) -> dict[str, str]:
        """Source column by part, for those the source has."""
        columns, parts = self.columns, ("id", "subject", "body", "reply", "language", "created")
        named = {part: (getattr(columns, part), *columns.repeats.get(part, ())) for part in parts}
        named["tags"] = columns.tags
        shown = {part: ", ".join(name for name in names if name) for part, names in named.items()}
        if self.conversations and not columns.reply:
            shown["reply"] = f"{self.conversations.name}, first public message of somebody else"
        return {part: text for part, text in shown.items() if text}

    def notes(self) -> tuple[str, ...]:
        """Return what the report has to say of the reading."""
        doubts = (self._doubt(reason, count) for reason, count in self.unknown.items())
        elsewhere = (
            f"The {part} of {count:,} tickets is in the column {column!r}, because {getattr(self.columns, part)!r} is "
            "empty or missing there."
            for (part, column), count in self.elsewhere.items()
        )
        return (*self.log.all_notes(), *elsewhere, *doubts)

    def _doubt(self, reason: str, count: int) -> str:
        """Return a note on tickets without a reply or a text, and the option that gives them one, if any."""
        conversations = self.conversations
        if reason == NO_TEXT:
            return (
                f"The text of {count:,} tickets is their heading alone: whether the first message is theirs is not "
                f"known; --map body={self.columns.body} takes it."
            )
        helps = reason in _TRUSTED and not conversations.trusted
        advice = f"; --map reply={conversations.name} takes {_TRUSTED[reason]}" if helps else ""
        return f"No reply was taken from {count:,} tickets: {reason}{advice}."

    def cells(self, row: RawRow) -> Cells:
        """Return the cells of a row."""
        columns = self._columns_of(row.fields)
        named = dict.fromkeys((*self.part_columns, "body"))
        parts = {part: self._cell(part, columns, row.fields) for part in named if part != "tags"}
        labels = {
            name: label_or_empty(" ".join(normalise(as_text(row.fields.get(column))).split()))
            for name, column in columns.labels.items()
        }
        values = map(text_or_empty, columns.tag_values(row.fields))
        tags = tuple(tag for value in values if (tag := normalise(value)))
        if not self.conversations:
            return Cells(parts, labels, tags)
        conversation = self._conversation(row.fields, parts["body"], parts.get("subject", ""))
        parts["body"] = conversation.text
        if not self.columns.reply:
            parts["reply"] = conversation.turns[0].reply if conversation.turns else ""
        return Cells(parts, labels, tags, conversation.turns)

    def _cell(self, part: str, columns: ColumnMap, fields: Mapping[str, Any]) -> str:
        """Return the text of a part; where its column holds none, that of the next candidate, which is counted."""
        if part not in ("subject", "body", "reply"):
            return text_or_empty(as_text(fields.get(getattr(columns, part))))
        text, column = columns.text(part, fields)
        if text and column != getattr(self.columns, part):
            self.elsewhere[part, column] += 1
        return text

    def _columns_of(self, fields: Mapping[str, Any]) -> ColumnMap:
        """Return the columns for a row, which may have other names: of another file, or another kind of object."""
        columns = self.columns
        if not columns.body or columns.body in fields or "body" in columns.asked or self.conversations:
            return columns
        header = tuple(fields)
        if header not in self.others:
            if len(self.others) >= _MOST_HEADERS:
                return columns
            self.others[header] = columns.beside(header)
        return self.others[header]

    def _conversation(self, fields: Mapping[str, Any], body: str, subject: str) -> Conversation:
        outside = "" if self.conversations.holds(self.columns.body) and "body" not in self.columns.asked else body
        conversation = read_conversation(fields, self.conversations, outside, subject)
        if conversation.unknown:
            self.unknown[conversation.unknown] += 1
        if not conversation.text and body:
            self.unknown[NO_TEXT] += 1
        return conversation

    def ticket(self, cells: Cells, number: int, cleaner: Cleaner) -> Ticket:
        """Make the ticket of the `number`-th row; the number is its id if the row has none."""
        parts = cells.parts
        return Ticket(
            id=normalise(parts.get("id", "")) or f"{number:06d}",
            subject=" ".join(cleaner.clean(parts.get("subject", ""), thread=False).split()),
            body=cleaner.clean(parts["body"], subject=parts.get("subject", "")),
            language=language_code(normalise(parts.get("language", ""))),
            labels={name: label for name, label in cells.labels.items() if label},
            tags=cells.tags,
            reply=cleaner.clean(parts.get("reply", "")),
            created=normalise(parts.get("created", "")),
        )

    def later_turns(self, ticket: Ticket, cells: Cells, cleaner: Cleaner) -> Iterator[Ticket]:
        """Yield a ticket for every public reply after the first, with the conversation before it as the body."""
        for number, turn in enumerate(cells.turns[1:], start=2):
            spoken = [(speaker, cleaner.clean(text)) for speaker, text in turn.before[1:]]
            lines = [f"{speaker}: {text}" for speaker, text in [(REQUESTER, ticket.body), *spoken] if text]
            body = "\n\n".join(lines)
            yield replace(ticket, id=f"{ticket.id}/{number}", body=body, reply=cleaner.clean(turn.reply))


def synthetic_fault(row: RawRow) -> str:
    """Say that a row is a synthetic ticket of ours, which must not reach validation or test; empty for other rows."""
    return SYNTHETIC if row.fields.get("synthetic") in (True, "true", "True") and row.fields.get("parent") else ""


class UniqueIds:
    """Makes ids unique: a repeated one gets `#2`, `#3` and so on. Eight bytes are kept of every id."""

    def __init__(self) -> None:
        self.next_number: dict[bytes, int] = {}

    def unique(self, name: str) -> str:
        """Return the name, with the first number after it that makes it new."""
        digest = _digest(name)
        number = self.next_number.get(digest)
        if number is None:
            self.next_number[digest] = 2
            return name
        while (numbered := _digest(f"{name}#{number}")) in self.next_number:
            number += 1
        self.next_number[numbered] = 2
        self.next_number[digest] = number + 1
        return f"{name}#{number}"


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def language_code(name: str) -> str:
    """Return `en` for `EN`, `en-US` and `English`; other names lower-cased."""
    lowered = name.strip().lower()
    return _LANGUAGES.get(lowered) or (lowered[:2] if lowered[2:3] in ("-", "_") else lowered)
