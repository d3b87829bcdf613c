"""Which lists inside a JSON object hold tickets: pages of an API, search hits, edges of a graph."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

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
        "histories events audits custom_fields customfields fields tags labels followers collaborators assignees"
    )
)
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
_WRAPPERS = ("ticket", "issue", "incident", "case", "conversation")


def ticket_lists(record: Mapping[str, Any]) -> tuple[list[ListPath], dict[str, int]]:
    """Paths of the lists of tickets in `record`, none when it is a ticket itself; sizes of the other lists by name."""
    lists = dict(_lists(record, ()))
    score = ticket_score(record)
    named = [path for path in lists if path[-1].lower() in _TICKET_LISTS]
    pages = [path for path in named if _list_score(lists[path]) >= max(score, 2)]
    if not pages and score < 2:
        others = [path for path in lists if path[-1].lower() not in _MESSAGE_LISTS]
        pages = (
            [path for path in named if lists[path]]
            or [path for path in others if _list_score(lists[path]) >= 2]
            or sorted(others, key=lambda path: -len(lists[path]))[:1]
            or named
        )
    if not pages:
        return [], {}
    return pages, {".".join(path): len(items) for path, items in lists.items() if path not in pages and items}


def ticket_score(item: object) -> int:
    """How many parts of a ticket an object has, out of number, subject, text and label."""
    if not isinstance(item, Mapping):
        return 0
    record = unwrap(item)
    names = {_plain(name) for name in record}
    nested = record.get("fields")  # of Jira
    if isinstance(nested, Mapping):
        names |= {_plain(name) for name in nested}
    return sum(not names.isdisjoint(part) for part in _PARTS.values())


def unwrap(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ticket in the envelope of a search hit, an edge of a graph, a JSON:API resource or an object `ticket`."""
    source, node, attributes = item.get("_source"), item.get("node"), item.get("attributes")
    if isinstance(source, Mapping):
        return {"id": item.get("_id"), **source} if "_id" in item else source
    if isinstance(node, Mapping) and set(item) <= {"node", "cursor", "__typename"}:
        return node
    if isinstance(attributes, Mapping) and "id" in item and "type" in item:
        rest = {name: value for name, value in item.items() if name not in ("attributes", "type")}
        return {**rest, **attributes}
    for name in _WRAPPERS:
        inner = item.get(name)
        if isinstance(inner, Mapping) and ticket_score(inner) >= 2:
            return {**{key: value for key, value in item.items() if key != name}, **inner}
    return item


def _plain(name: object) -> str:
    text = str(name).lower()
    return text if text == "_id" else text.replace("_", "")


def _lists(record: Mapping[str, Any], path: ListPath) -> Iterator[tuple[ListPath, list[Any]]]:
    """Lists of objects, and empty ones with the name of a list of tickets, reached through objects alone."""
    for name, value in record.items():
        here = (*path, str(name))
        if isinstance(value, Mapping) and len(here) < _DEPTH:
            yield from _lists(value, here)
        elif isinstance(value, list) and (
            any(isinstance(item, Mapping) for item in value) or (not value and here[-1].lower() in _TICKET_LISTS)
        ):
            yield here, value


def _list_score(items: list[Any]) -> int:
    return max((ticket_score(item) for item in items[:5]), default=0)
