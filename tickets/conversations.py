"""From the messages of a row to a ticket and its reply; no reply is guessed where author or audience is unknown.

The requester's first message is the ticket. The first public message of somebody else behind it is the reply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tickets.messages import (
    JIRA_COLUMN,
    JOURNAL_COLUMN,
    MESSAGE_FIELD,
    Message,
    cell_messages,
    identities,
    nested_messages,
)

REQUESTER, SUPPORT = "Requester", "Support"
NO_AUTHOR, NO_AUDIENCE = "who wrote a message", "whether the requester sees a message"
_REQUESTERS = (
    *("requester", "customer", "customeruser", "fields.reporter", "reporter", "caller", "caller_id", "opened_for"),
    *("contact", "user", "author"),
)


@dataclass(frozen=True)
class Turn:
    """A public reply and what was said before it, as speaker and text."""

    before: tuple[tuple[str, str], ...]
    reply: str


@dataclass(frozen=True)
class Conversation:
    """What a row's messages say: the text of the ticket, every public reply, and why there is none."""

    text: str
    turns: tuple[Turn, ...]
    unknown: str = ""


@dataclass(frozen=True)
class ConversationColumns:
    """Where the messages of a source are: lists of objects, or columns of text; `trusted` takes all as public."""

    lists: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    trusted: bool = False

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.lists or self.cells)

    @property
    def name(self) -> str:
        """The name for reports."""
        return (self.lists or self.cells)[0]

    def holds(self, column: str | None) -> bool:
        """Whether a column is part of a message."""
        return column is not None and (column in self.cells or _list_name(column) in self.lists)

    def text_column(self, header: Sequence[str]) -> str | None:
        """The column of the first message's text, for sources whose only text is the conversation."""
        return next((_text_column(name, header) for name in self.lists), None)

    def trust(self, column: str) -> "ConversationColumns | None":
        """Self with all messages taken as public, if `column` is one of its lists or columns; else None."""
        known = column in self.lists or self.holds(column) or column.lower() in map(str.lower, self.cells)
        return replace(self, trusted=True) if known else None


def find_conversations(header: Sequence[str], samples: Sequence[Mapping[str, Any]]) -> ConversationColumns:
    """The columns of messages: lists such as `comments.0.body`, Jira's `Comment` columns, ServiceNow's journals."""
    lists = dict.fromkeys(name for column in header if (name := _list_name(column)) and _text_column(name, header))
    cells = [column for column in header if JIRA_COLUMN.fullmatch(column) or JOURNAL_COLUMN.fullmatch(column)]
    messages = [m for fields in samples for m in cell_messages(fields, cells)] if cells else []
    dated = bool(messages) and sum(bool(message.author) for message in messages) >= len(messages) / 2
    return ConversationColumns(tuple(lists), tuple(cells) if dated else ())


def read_conversation(fields: Mapping[str, Any], columns: ConversationColumns, body: str) -> Conversation:
    """The conversation of a row whose own column for the text says `body`, empty where it has none."""
    lists = nested_messages(fields) if columns.lists else {}
    messages = [message for name in columns.lists for message in lists.get(name, ())]
    messages = [message for message in [*messages, *cell_messages(fields, columns.cells)] if message.text]
    if all(message.sent for message in messages):
        messages.sort(key=lambda message: message.sent)
    if columns.trusted:
        messages = [replace(m, public=True) if m.public is None else m for m in messages]
    messages = _with_roles(messages, _requester(fields, messages, body), columns.trusted)
    spoken = [m for m in messages if m.public is not False and not m.automatic]
    opening = _opening(spoken, body)
    text = body or (spoken[opening].text if opening is not None else "")
    later = spoken if opening is None else spoken[opening + 1 :]
    turns = _turns(text, later)
    unsure = [m for m in later if m.text and (m.role == "" or (m.role == "agent" and m.public is None))]
    return Conversation(text, turns, _doubt(unsure[0]) if unsure and not turns else "")


def _requester(fields: Mapping[str, Any], messages: Sequence[Message], body: str) -> Mapping[str, str]:
    """The requester as the ticket names it, else the author of the message that is the ticket."""
    person = identities({name: value for name, value in fields.items() if _list_name(name) == ""}, _REQUESTERS)
    if person or not messages:
        return person
    first = messages[0]
    return first.author if first.public and (not body.strip() or _same(first.text, body)) else {}


def _with_roles(messages: Sequence[Message], requester: Mapping[str, str], trusted: bool) -> list[Message]:
    """The messages with the role of each where it can be told from the author."""
    told = []
    for message in messages:
        role = message.role
        shared = requester.keys() & message.author.keys()
        if shared and any(requester[kind] == message.author[kind] for kind in shared):
            role = "requester"
        elif not role:
            role = "agent" if shared or (trusted and not requester) else ""
        told.append(replace(message, role=role))
    return told


def _opening(spoken: Sequence[Message], body: str) -> int | None:
    """Place of the message that is the ticket; None where the ticket is not among the messages."""
    if body.strip():
        return next((place for place, message in enumerate(spoken) if _same(message.text, body)), None)
    by_requester = (place for place, message in enumerate(spoken) if message.role == "requester")
    return next(by_requester, 0 if spoken else None)


def _turns(text: str, later: Sequence[Message]) -> tuple[Turn, ...]:
    before, turns = [(REQUESTER, text)], []
    for message in later:
        if message.role == "agent" and message.public:
            turns.append(Turn(tuple(before), message.text))
            before.append((SUPPORT, message.text))
        elif message.role == "requester":
            before.append((REQUESTER, message.text))
    return tuple(turns)


def _doubt(message: Message) -> str:
    return NO_AUTHOR if message.role == "" else NO_AUDIENCE


def _same(first: str, second: str) -> bool:
    return " ".join(first.split()) == " ".join(second.split())


def _list_name(column: str) -> str:
    match = MESSAGE_FIELD.fullmatch(column)
    return match[1] if match else ""


def _text_column(name: str, header: Sequence[str]) -> str | None:
    """The first column of the list `name` that holds the text of a message, if any."""
    texts = ("body", "plain_body", "body_text", "html_body", "text", "content", "value", "message", "bodytext")
    columns = (column for column in header if column.startswith(f"{name}."))
    return next((column for column in columns if column[len(name) :].lower().rsplit(".", 1)[-1] in texts), None)
