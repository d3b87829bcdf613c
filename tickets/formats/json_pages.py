"""Which lists inside a JSON object hold tickets: pages of an API, search hits, edges of a graph."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tickets.conversations.list_names import HISTORY_NAME, LIST_NAME
from tickets.flatten import is_named_value
from tickets.rich_text import rich_text

ListPath = tuple[str, ...]

_DEPTH = 5
_NAMES = re.compile(r"\S+")
_TICKET_LISTS = frozenset(
    _NAMES.findall(
        "tickets issues incidents requests cases conversations results result rows data items records nodes edges hits "
        "values value entries objects docs documents list"
    )
)
_MESSAGE_LISTS = frozenset(
    _NAMES.findall(
        "comments comment articles article conversations notes messages threads thread attachments changelog history "
        "histories events audits custom_fields customfields fields tags labels followers collaborators assignees "
        "associations conversation_parts posts updates interactions replies discussion discussions journal worklog"
    )
)
_MESSAGE_NAME = re.compile(rf"(?!.*conversations$)(?:{LIST_NAME})", re.I)  # ticket_comments
_HISTORY_NAME = re.compile(HISTORY_NAME, re.I)  # whose members may be messages, and in a page of its own tickets
_MESSAGE_PLACES = _MESSAGE_LISTS - {"conversations", "fields"}  # pages of conversations are tickets
_INNER = ("fields", "properties")  # of Jira and HubSpot
_PARTS: Mapping[str, frozenset[str]] = {
    "id": frozenset(("id", "key", "number", "iid", "_id", "ticketid", "ticketnumber")),
    "subject": frozenset(("subject", "title", "summary", "betreff", "shortdescription", "ticketsubject")),
    "body": frozenset(
        _NAMES.findall(
            "body description text message content nachricht beschreibung question descriptiontext ticketdescription "
            "plainbody bodytext articles article"
        )
    ),
    "label": frozenset(("priority", "status", "state", "type", "queue", "group", "category", "tags", "labels")),
}
_SUBTICKETS = frozenset(_NAMES.findall("tickets issues incidents requests cases conversations"))
_WRAPPERS = _NAMES.findall(
    "ticket issue incident case conversation request data record item payload object entity result json doc document "
    "tickets issues incidents cases requests conversations"  # as XML writes a list of one
)
_WRAPPER_END = re.compile(
    r"(?!parent|related|linked|merged|duplicate|original|previous|sub|child).*(?:ticket|issue|case)"
)


def ticket_lists(record: Mapping[str, Any], whole: bool = False) -> tuple[list[ListPath], dict[str, int]]:
    """Return paths of the lists of tickets in `record`, and sizes of its other lists by name.

    There are no paths if it is a ticket itself.

    `whole` says that a file holds nothing but the record, so that it rather is a page.
    """
    lists = dict(_lists(record, ()))
    inner, score = unwrap(record), ticket_score(record)
    outside = [
        path
        for path, items in lists.items()
        if not _is_message_list(path) and not all(map(is_named_value, items or [0])) and not _is_chat(items)
        if not (score and _is_history(path))
    ]
    named = [path for path in outside if path[-1].lower() in _TICKET_LISTS]
    pages = [path for path in named if _list_score(lists[path]) >= max(score, 2)]
    if is_ticket(inner) and not (whole and _is_page(inner, [(path, lists[path]) for path in pages])):
        pages = []
    elif not pages and score < 2:
        pages = (
            [path for path in named if lists[path]]
            or [path for path in outside if _list_score(lists[path]) >= 2]
            or named
            or sorted(outside, key=lambda path: -len(lists[path]))[:1]
        )
    if not pages:
        strange = [path for path in outside if path[-1].lower() not in _MESSAGE_LISTS]
        return [], {path[-1]: len(lists[path]) for path in strange if any(map(_is_subticket, lists[path][:5]))}
    alone = {
        name: 1
        for name, value in record.items()
        if isinstance(value, Mapping) and is_ticket(value) and all(path[0] != name for path in pages)
    }
    return pages, alone | {".".join(path): len(items) for path, items in lists.items() if path not in pages and items}


def is_ticket(record: Mapping[str, Any]) -> bool:
    """Return whether an object has a subject or a text of its own, and a further part of a ticket.

    A text under `message` needs a number, because an answer of a server has one: `{"message": "OK", "status": 200}`.
    """
    fields = _named_parts(record)
    if not ("subject" in fields or "body" in fields):
        return False
    if "subject" in fields or any(_plain(name) != "message" for name in fields["body"]):
        return ticket_score(record) >= 2
    return "id" in fields


def ticket_score(item: object) -> int:
    """Return how many parts of a ticket an object has, out of number, subject, text and label."""
    if not isinstance(item, Mapping):
        return 0
    record = unwrap(item)
    names = {_plain(name) for name in record}
    for nested in map(record.get, _INNER):
        if isinstance(nested, Mapping):
            names |= {_plain(name) for name in nested}
    return sum(not names.isdisjoint(part) for part in _PARTS.values())


def unwrap(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the ticket inside a search hit, an edge of a graph, a JSON:API resource or an object `ticket`."""
    source, node, attributes = item.get("_source"), item.get("node"), item.get("attributes")
    if isinstance(source, Mapping):
        return {"id": item.get("_id"), **source} if "_id" in item else source
    if isinstance(node, Mapping) and set(item) <= {"node", "cursor", "__typename"}:
        return node
    if isinstance(attributes, Mapping) and "id" in item and "type" in item:
        rest = {name: value for name, value in item.items() if name not in ("attributes", "type")}
        return {**rest, **attributes}
    own = _named_parts(item)
    if "subject" in own or any(_plain(name) != "message" for name in own.get("body", ())):
        return item  # a ticket beside it is another
    for name in sorted(item, key=_wrapper_rank):
        inner = item[name]
        if _wrapper_rank(name) < len(_WRAPPERS) + 1 and isinstance(inner, Mapping):
            ticket = unwrap(inner)
            if ticket_score(ticket) >= 2:
                return {**{key: value for key, value in item.items() if key != name}, **ticket}
    return item


def _wrapper_rank(name: object) -> int:
    """Return the place among the names of envelopes; `helpdesk_ticket` and the like come behind, other names last."""
    plain = _plain(name)
    if plain in _WRAPPERS:
        return _WRAPPERS.index(plain)
    return len(_WRAPPERS) + (0 if _WRAPPER_END.fullmatch(plain) else 1)


def _is_page(record: Mapping[str, Any], pages: list[tuple[ListPath, list[Any]]]) -> bool:
    """Return whether a file's only object is a page with a title, or a project with its tickets, and no ticket."""
    fields = _named_parts(record)
    if "id" not in fields:
        return bool(pages)
    return "body" not in fields and any(
        path[-1].lower() in _SUBTICKETS and any("body" in _named_parts(item) for item in items[:5] if _is_object(item))
        for path, items in pages
    )


def _named_parts(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the fields that hold a subject, a text, a number or a label of the object's own, by part."""
    found: dict[str, list[str]] = {}
    for fields in (record, *(record[name] for name in _INNER if _is_object(record.get(name)))):
        for name, value in fields.items():
            for part, names in _PARTS.items():
                if _plain(name) in names and _is_value(value):
                    found.setdefault(part, []).append(str(name))
    return found


def _is_value(value: object) -> bool:
    """Return whether a field holds a value of its own: a filled text, a number, or a document of an editor."""
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, (int, float)) or rich_text(value) is not None


def _is_subticket(item: object) -> bool:
    return isinstance(item, Mapping) and is_ticket(item) and "subject" in _named_parts(item)


def has_messages(name: object, items: object) -> bool:
    """Return whether a list of this name holds the messages of a ticket."""
    if not isinstance(items, list) or not _MESSAGE_NAME.fullmatch(str(name)):
        return False
    return any(isinstance(item, Mapping) and "body" in _named_parts(item) for item in items)


def _is_chat(items: list[Any]) -> bool:
    """Return whether a list is a conversation with a language model, and no list of conversations."""
    return bool(items) and all(_is_object(item) and {"from", "value"} == set(item) for item in items)


def _is_object(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_message_list(path: ListPath) -> bool:
    """Return whether a list holds messages or attachments of a ticket, or lies among them: `comments.nodes`."""
    inner, last = {name.lower() for name in path[:-1]}, path[-1].lower()
    if last in _MESSAGE_LISTS - _SUBTICKETS or _MESSAGE_NAME.fullmatch(path[-1]):
        return True
    return not inner.isdisjoint(_MESSAGE_PLACES)


def _is_history(path: ListPath) -> bool:
    return path[-1].lower() not in _TICKET_LISTS and _HISTORY_NAME.fullmatch(path[-1]) is not None


def _plain(name: object) -> str:
    text = str(name).lower()
    return text if text == "_id" else text.replace("_", "")


def _lists(record: Mapping[str, Any], path: ListPath) -> Iterator[tuple[ListPath, list[Any]]]:
    """Yield lists of objects, and empty ones with the name of a list of tickets, reached through objects alone."""
    for name, value in record.items():
        here = (*path, str(name))
        if name == "relationships" or (isinstance(value, (Mapping, list)) and rich_text(value) is not None):
            continue
        if isinstance(value, Mapping) and len(here) < _DEPTH:
            yield from _lists(value, here)
        elif isinstance(value, list) and (
            any(isinstance(item, Mapping) for item in value) or (not value and here[-1].lower() in _TICKET_LISTS)
        ):
            yield here, value


def _list_score(items: list[Any]) -> int:
    return max((ticket_score(item) for item in items[:5]), default=0)
