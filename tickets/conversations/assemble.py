"""From the messages of a row to a ticket and its reply; no reply is guessed where author or audience is unknown.

The requester's first message is the ticket. The first public message of somebody else behind it is the reply.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tickets.cell_text import bare
from tickets.conversations.automatic_messages import sounds_automatic
from tickets.conversations.journals import JIRA_COLUMN, JOURNAL_COLUMN, cell_messages
from tickets.conversations.list_names import is_history, message_field
from tickets.conversations.message_order import day_comes_first, in_order
from tickets.conversations.messages import Message, nested_messages, text_keys
from tickets.conversations.requesters import Requester, proven_kinds

_ANSWERS = re.compile(r"comment|repl(?:y|ies)|note|kommentar", re.I)  # lists without the ticket's own text
REQUESTER, SUPPORT = "Requester", "Support"
NO_AUTHOR, NO_AUDIENCE = "it is unknown who wrote a message", "it is unknown whether the requester sees a message"
NO_MATCH = "it is unknown whether the requester wrote a message: names cannot be compared"
NO_NAME = "it is unknown who wrote a message: it names nobody"
NO_ORDER = "it is unknown which message came first: dates have two meanings"


@dataclass(frozen=True)
class Turn:
    """A public reply and what was said before it, as speaker and text."""

    before: tuple[tuple[str, str], ...]
    reply: str


@dataclass(frozen=True)
class Conversation:
    """What a row's messages say: the text of the ticket, every public reply, and why no reply was taken."""

    text: str
    turns: tuple[Turn, ...]
    unknown: str = ""


@dataclass(frozen=True)
class ConversationColumns:
    """Where the messages of a source are: lists of objects, or columns of text.

    Messages of the lists and columns in `trusted` count as public. `day_first` says how the source writes dates.
    `proven` are the kinds of names by which customers are people: some message's author has its ticket's customer.
    """

    lists: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    trusted: frozenset[str] = frozenset()
    day_first: bool | None = None
    proven: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.lists or self.cells)

    @property
    def name(self) -> str:
        """The name for reports."""
        return (self.lists or self.cells)[0]

    def holds(self, column: str | None) -> bool:
        """Return whether a column is part of a message."""
        return column is not None and (column in self.cells or _list_name(column) in self.lists)

    def text_column(self, header: Sequence[str]) -> str | None:
        """Return the column of the first message's text, for sources whose only text is the conversation."""
        return next((_text_column(name, header) for name in self.lists), None)

    def trust(self, column: str) -> "ConversationColumns | None":
        """Return this with the messages of a list, or of all columns, taken as public; None for other names."""
        name = column if column in self.lists else _list_name(column)
        if name in self.lists:
            return replace(self, trusted=frozenset((name,)))
        known = column.lower() in map(str.lower, self.cells)
        return replace(self, trusted=frozenset(self.cells)) if known else None

    def messages(self, fields: Mapping[str, Any]) -> list[Message]:
        """Return the messages of a row that have a text, as they stand there."""
        lists = nested_messages(fields) if self.lists else {}
        messages = [message for name in self.lists for message in lists.get(name, ())]
        messages = [message for message in [*messages, *cell_messages(fields, self.cells)] if message.text]
        said = {_words(message.text) for message in messages if not is_history(message.place)}
        return [m for m in messages if not (is_history(m.place) and _words(m.text) in said)]  # some repeat the comments


def find_conversations(header: Sequence[str], samples: Sequence[Mapping[str, Any]]) -> ConversationColumns:
    """Return the columns of messages: lists such as `comments.0.body`, comments of Jira, journals of ServiceNow."""
    lists = dict.fromkeys(name for column in header if (name := _list_name(column)) and _text_column(name, header))
    if histories := [name for name in lists if is_history(name)]:
        spoken = {name for fields in samples for name, found in nested_messages(fields).items() if _speaks(found)}
        kept = [name for name in lists if name not in histories or name in spoken]
        lists = dict.fromkeys(sorted(kept, key=is_history))  # without dates, what only a history has comes last
    cells = [column for column in header if JIRA_COLUMN.fullmatch(column) or JOURNAL_COLUMN.fullmatch(column)]
    messages = [m for fields in samples for m in cell_messages(fields, cells)] if cells else []
    has_authors = bool(messages) and sum(bool(message.author) for message in messages) >= len(messages) / 2
    columns = ConversationColumns(tuple(lists), tuple(cells) if has_authors else ())
    if not columns:
        return columns
    dates: list[str] = []
    proven: set[str] = set()
    for fields in samples:
        messages = columns.messages(fields)
        dates += [message.sent for message in messages]
        proven |= proven_kinds(Requester.of_ticket(fields), messages)
    return replace(columns, day_first=day_comes_first(dates), proven=frozenset(proven))


def read_conversation(
    fields: Mapping[str, Any], columns: ConversationColumns, body: str, subject: str = ""
) -> Conversation:
    """Return the conversation of a row; `body` and `subject` are what its own text and subject hold, or empty."""
    messages = [
        replace(m, public=True) if m.public is None and m.place in columns.trusted else m
        for m in columns.messages(fields)
    ]
    ordered = in_order(messages, columns.day_first)
    ordered = _oldest_first(ordered, body) if ordered else ordered
    messages = messages if ordered is None else ordered
    requester = Requester.of_ticket(fields, columns.proven).with_writer(messages, body)
    messages = _with_roles(messages, requester, columns.trusted)
    spoken = [m for place, m in enumerate(messages) if m.public is not False and not _is_machine(m, place, body)]
    opening = _opening(spoken, body, bool(subject.strip()))
    text = body or (spoken[opening].text if opening is not None else "")
    later = spoken if opening is None else spoken[opening + 1 :]
    if ordered is None:
        return Conversation(text, (), NO_ORDER)
    turns = _turns(text, later)
    unsure = [m for m in later if m.role == "" or (m.role == "agent" and m.public is None)]
    return Conversation(text, turns, _doubt(unsure[0], requester) if unsure and not turns else "")


def _oldest_first(messages: list[Message], body: str) -> list[Message]:
    """Return messages without dates turned if the last of them is the ticket, so that the newest came first."""
    undated = len({message.sent for message in messages}) < 2
    is_last = undated and len(messages) > 1 and bool(body.strip()) and _same(messages[-1].text, body)
    return messages[::-1] if is_last and not _same(messages[0].text, body) else messages


def _with_roles(messages: Sequence[Message], requester: Requester, trusted: frozenset[str]) -> list[Message]:
    """Return the messages with the role of each where it can be told from the author."""
    told = []
    for message in messages:
        role = message.role
        if requester.is_author(message):
            role = "requester"
        elif not role and (requester.is_other(message) or (message.place in trusted and not requester)):
            role = "agent"
        sent_there = role == "agent" and message.public is None and requester.received(message)
        told.append(replace(message, role=role, public=True if sent_there else message.public))
    return told


def _is_machine(message: Message, place: int, body: str) -> bool:
    """Return whether a machine wrote a message; the ticket itself may be about an automatic reply, or come from one."""
    is_ticket = message.role == "requester" or (place == 0 and (not body.strip() or _same(message.text, body)))
    return message.automatic or (message.seems_automatic and not is_ticket)


def _opening(spoken: Sequence[Message], body: str, has_subject: bool) -> int | None:
    """Return the index of the message that is the ticket; None if the ticket is not among the messages.

    That is the requester's first message, else the first of unknown author, and of these a public one if there is any.
    If there is a subject, lists of answers count only when public. An agent's message is no ticket.
    """
    if body.strip():
        return next((place for place, message in enumerate(spoken) if _same(message.text, body)), None)
    choices = [place for place, message in enumerate(spoken) if message.role != "agent"]
    for place in choices:
        if spoken[place].role == "requester":
            return place
    public = [place for place in choices if spoken[place].public]
    rest = [place for place in choices if not (has_subject and _ANSWERS.search(spoken[place].place))]
    return next(iter(public or rest), None)


def _turns(text: str, later: Sequence[Message]) -> tuple[Turn, ...]:
    before, turns = [(REQUESTER, text)], []
    for message in later:
        if message.role == "agent" and message.public:
            if sounds_automatic(message.text):
                continue
            turns.append(Turn(tuple(before), message.text))
            before.append((SUPPORT, message.text))
        elif message.role == "requester":
            before.append((REQUESTER, message.text))
    return tuple(turns)


def _doubt(message: Message, requester: Requester) -> str:
    if message.role:
        return NO_AUDIENCE
    if not requester:
        return NO_AUTHOR
    return NO_MATCH if message.author else NO_NAME


def _same(first: str, second: str) -> bool:
    return _words(first) == _words(second)


def _words(text: str) -> str:
    return " ".join(text.split())


def _speaks(messages: Sequence[Message]) -> bool:
    return any(message.text for message in messages)


def _list_name(column: str) -> str:
    field = message_field(column)
    return field[0] if field else ""


def _text_column(name: str, header: Sequence[str]) -> str | None:
    """Return the first column of the list `name` that holds the text of a message, if any."""
    fields = ((column, message_field(column)) for column in header if column.startswith(f"{name}."))
    keys = text_keys(name)
    texts = (c for c, field in fields if field and field[0] == name and bare(field[2]) in keys)
    return next(texts, None)
