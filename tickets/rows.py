"""From the rows of a source to tickets: which columns hold what, and how a row becomes a ticket."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

from tickets.cleaning import Cleaner, normalise
from tickets.column_checks import drop_status_reply, label_candidates
from tickets.columns import ColumnMap, as_text, choose_columns
from tickets.conversations import (
    NO_AUDIENCE,
    NO_AUTHOR,
    REQUESTER,
    Conversation,
    ConversationColumns,
    Turn,
    find_conversations,
    read_conversation,
)
from tickets.errors import InputError
from tickets.labels import label_or_empty
from tickets.raw import RawRow, ReadLog
from tickets.readers import read_rows
from tickets.redact.people import PeopleColumns, people_columns
from tickets.schema import Ticket
from tickets.tag_text import separated_by_spaces

_PEEK = 1_000  # rows looked at to find the columns
_NO_ROWS = "found no rows below the header; expected tickets; give another file"
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
        rows = read_rows(name, encoding, log)
        peek = list(islice(rows, _PEEK))
        samples = _samples(name, peek)
        asked, maps = people_columns(maps, list(dict.fromkeys(column for fields in samples for column in fields)))
        columns, conversations = _choose_columns(name, samples, preset, maps, keep, log)
        named = (columns.body, columns.subject, columns.reply)
        texts = (
            value
            for row in peek
            for column, value in row.fields.items()
            if isinstance(value, str) and (column in named or conversations.holds(column))
        )
        taken = frozenset(column for column in (*named, *columns.labels.values(), *columns.tags) if column)
        people = PeopleColumns(asked, taken)
        return cls(name, chain(peek, rows), columns, tuple(texts), conversations, people, log)

    @cached_property
    def part_columns(self) -> dict[str, str]:
        """Return the source column of each part that the source has."""
        columns = self.columns
        named = {"id": columns.id, "subject": columns.subject, "body": columns.body, "reply": columns.reply}
        named |= {"language": columns.language, "created": columns.created, "tags": ", ".join(columns.tags)}
        if self.conversations and not named["reply"]:
            named["reply"] = f"{self.conversations.name}, first public message of somebody else"
        return {part: column for part, column in named.items() if column}

    def notes(self) -> tuple[str, ...]:
        """Return what the report has to say of the reading."""
        doubts = (
            f"No reply was taken from {count:,} tickets: {reason} is not known; --map reply={self.conversations.name} "
            f"takes {_TRUSTED[reason]}."
            for reason, count in self.unknown.items()
        )
        return (*self.log.all_notes(), *doubts)

    def cells(self, row: RawRow) -> Cells:
        """Return what a row says, by part of the ticket."""
        parts = {part: as_text(row.fields.get(column)) for part, column in self.part_columns.items() if part != "tags"}
        labels = {
            name: label_or_empty(normalise(as_text(row.fields.get(column))))
            for name, column in self.columns.labels.items()
        }
        tags = tuple(tag for value in self.columns.tag_values(row.fields) if (tag := normalise(value)))
        if not self.conversations:
            return Cells(parts, labels, tags)
        conversation = self._conversation(row.fields, parts["body"])
        parts["body"] = conversation.text
        if not self.columns.reply:
            parts["reply"] = conversation.turns[0].reply if conversation.turns else ""
        return Cells(parts, labels, tags, conversation.turns)

    def _conversation(self, fields: Mapping[str, Any], body: str) -> Conversation:
        outside = "" if self.conversations.holds(self.columns.body) else body
        conversation = read_conversation(fields, self.conversations, outside)
        if conversation.unknown:
            self.unknown[conversation.unknown] += 1
        return conversation

    def ticket(self, cells: Cells, number: int, cleaner: Cleaner) -> Ticket:
        """Make the ticket of the `number`-th row; the number is its id if the row has none."""
        parts = cells.parts
        return Ticket(
            id=normalise(parts.get("id", "")) or f"{number:06d}",
            subject=" ".join(cleaner.clean(parts.get("subject", ""), thread=False).split()),
            body=cleaner.clean(parts["body"]),
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


def no_rows(source: str) -> InputError:
    """Return the error of a source that holds nothing."""
    return InputError(f"{source}: {_NO_ROWS}")


def _samples(source: str, peek: Sequence[RawRow]) -> list[dict[str, Any]]:
    """Return the fields of the first rows that can be read, of all if none can."""
    if not peek:
        raise no_rows(source)
    if all(row.fault and len(row.fields) <= 1 for row in peek):
        raise InputError(
            f"{source}: found no readable row; line {peek[0].line}: {peek[0].fault}; "
            "expected CSV, TSV, JSONL, JSON or Parquet; export the file again"
        )
    return [row.fields for row in peek if row.fault is None] or [row.fields for row in peek]


def _choose_columns(
    source: str,
    samples: Sequence[dict[str, Any]],
    preset: str | None,
    maps: Sequence[str],
    keep: Sequence[str] | None,
    log: ReadLog,
) -> tuple[ColumnMap, ConversationColumns]:
    """Find the columns of the parts and of the messages by the header, the options and the first rows."""
    header = list(dict.fromkeys(column for fields in samples for column in fields))
    conversations, maps = _conversations(header, samples, maps)
    columns = _find_columns(source, header, samples, preset, maps, keep, conversations.text_column(header))
    if conversations.holds(columns.reply):
        columns = replace(columns, reply=None)
    columns = drop_status_reply(columns, samples, maps, log)
    if columns.reply and any(text.partition("=")[0].strip() == "reply" for text in maps):
        conversations = ConversationColumns()  # the reply asked for is a column of its own
    tag_cells = [as_text(fields.get(columns.tags[0])) for fields in samples] if len(columns.tags) == 1 else []
    columns = replace(columns, tags_by_spaces=columns.preset == "zendesk" and separated_by_spaces(tag_cells))
    if keep is None and (offered := label_candidates(columns, conversations.holds, samples)):
        log.note(f"Could be labels too: {offered}; --map NAME=COLUMN makes one of them a label.")
    return columns, conversations


def _conversations(
    header: Sequence[str], samples: Sequence[dict[str, Any]], maps: Sequence[str]
) -> tuple[ConversationColumns, list[str]]:
    """Return the columns of messages, and the maps without one that asks to trust them: `reply=comments`."""
    conversations, rest = find_conversations(header, samples), []
    for text in maps:
        name, _, column = (part.strip() for part in text.partition("="))
        trusted = conversations.trust(column) if name == "reply" else None
        if trusted:
            conversations = trusted
        else:
            rest.append(text)
    return conversations, rest


def _find_columns(
    source: str,
    header: Sequence[str],
    samples: Sequence[dict[str, Any]],
    preset: str | None,
    maps: Sequence[str],
    keep: Sequence[str] | None,
    message: str | None,
) -> ColumnMap:
    """Return the column map that the first rows and the options give."""
    filled = frozenset(n for fields in samples for n, value in fields.items() if as_text(value).strip())
    try:
        columns = choose_columns(header, preset, maps, keep, filled, message)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    asked = any(text.partition("=")[0].strip() == "id" for text in maps)
    if columns.id and not asked and not columns.id.lower().endswith("id"):  # a number or key has to tell tickets apart
        ids = [as_text(fields.get(columns.id)) for fields in samples]
        if len(set(ids)) < 0.9 * len(ids):
            return replace(columns, id=None)
    return columns
