"""Lists beside the tickets of a page that belong to them: users and groups by number, comments by ticket.

Zendesk calls them side-loaded: `{"tickets": [{"requester_id": 7}], "users": [{"id": 7, "name": "Ida"}]}`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tickets.conversations.list_names import HISTORY_NAME, LIST_NAME
from tickets.raw import ReadLog

_PEOPLE = re.compile(r"users?|people|contacts?|customers?|requesters?|agents?|end_?users?|members?", re.I)
_PERSON = re.compile(
    r"requester|customer|contact|submitter|assignee|author|user|agent|owner|responder|creator|created_by|reporter",
    re.I,
)
_OTHERS = re.compile(
    r"(?:group|organization|organisation|team|department|brand|ticket_form|product|categor)(?:s|ies)", re.I
)
_SHOWN = (
    *("name", "title", "full_name", "first_name", "last_name", "firstname", "lastname", "display_name"),
    *("email", "login", "username", "role"),
)
_ASSETS = "assets"  # of Zammad: objects by kind and number
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_TICKET = ("ticket_id", "ticketId", "issue_id", "issueId", "case_id", "conversation_id", "request_id", "incident_id")
_NUMBER = re.compile(r"(.+?)(?:_id|Id)")
_BY_NUMBER = re.compile(r"created_by|createdBy|assigned_to|assignedTo")  # whose value may be a person's number
_MESSAGES = re.compile(f"{LIST_NAME}|{HISTORY_NAME}", re.I)
_ID = ("id", "_id")

Record = Mapping[str, Any]


def listed(page: Any) -> Any:
    """Return a page of Zammad with lists of tickets, users and articles in place of its `assets`; others unchanged."""
    kinds = page.get(_ASSETS) if isinstance(page, Mapping) else None
    if not isinstance(kinds, Mapping) or "Ticket" not in kinds:
        return page
    numbered = {name: objects for name, objects in kinds.items() if isinstance(objects, Mapping)}
    lists = {f"{_CAPITAL.sub('_', name).lower()}s": list(objects.values()) for name, objects in numbered.items()}
    return {**{name: value for name, value in page.items() if name != _ASSETS}, **lists}


@dataclass(frozen=True)
class SideLoads:
    """Records by list and number, and messages by list and the number of their ticket; tickets `seen`, lists `used`."""

    records: Mapping[str, Mapping[str, Record]]
    messages: Mapping[str, Mapping[str, Sequence[Record]]]
    seen: set[str] = field(default_factory=set)
    used: set[str] = field(default_factory=set)

    @classmethod
    def of_page(cls, page: Record, ticket_lists: Sequence[str]) -> "SideLoads":
        """Return the side-loaded lists of a page, but for `ticket_lists`."""
        records: dict[str, dict[str, Record]] = {}
        messages: dict[str, dict[str, list[Record]]] = {}
        for name, items in page.items():
            if name in ticket_lists or not isinstance(items, list) or not items:
                continue
            if not all(isinstance(item, Mapping) for item in items):
                continue
            key = next((key for key in _TICKET if all(key in item for item in items)), None)
            if key and _MESSAGES.fullmatch(name):
                for item in items:
                    messages.setdefault(name, {}).setdefault(str(item[key]), []).append(item)
            elif (_PEOPLE.fullmatch(name) or _OTHERS.fullmatch(name)) and all("id" in item for item in items):
                records[name] = {str(item["id"]): _shown(item) for item in items}
        return cls(records, messages)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the lists."""
        return (*self.records, *self.messages)

    def joined(self, ticket: Any) -> Any:
        """Return a ticket with the names behind its numbers, and with its messages."""
        if not isinstance(ticket, Mapping) or not self.names:
            return ticket
        number = next((str(ticket[name]) for name in _ID if name in ticket), "")
        self.seen.add(number)
        self.used.update(name for name, lists in self.messages.items() if number in lists)
        own = {name: lists[number] for name, lists in self.messages.items() if number in lists and name not in ticket}
        joined = self._named({**ticket, **own})
        for name, value in joined.items():
            if isinstance(value, list) and _MESSAGES.fullmatch(name):
                joined[name] = [self._named(item) if isinstance(item, Mapping) else item for item in value]
        return joined

    def tell(self, log: ReadLog) -> None:
        """Say which lists were joined, and what of them belongs to no ticket."""
        joined = [name for name in self.names if name in self.used]
        if joined:
            log.note(f"Joined to the tickets by number: {', '.join(joined)}.")
        log.other_lists.update({name: len(records) for name, records in self.records.items() if name not in self.used})
        for name, lists in self.messages.items():
            left = sum(len(items) for number, items in lists.items() if number not in self.seen)
            log.other_lists.update({name: left} if left else {})

    def _named(self, record: Record) -> dict[str, Any]:
        """Return a record with an object `requester` for its `requester_id`, and so on."""
        named = dict(record)
        for name, value in record.items():
            if _BY_NUMBER.fullmatch(name) and str(value).isdigit() and (person := self._find("user", str(value))):
                named[name] = {"id": value, **person}
            match = _NUMBER.fullmatch(name)
            if match and match[1] not in record and (found := self._find(match[1], str(value))):
                named[match[1]] = found
        return named

    def _find(self, what: str, number: str) -> Record | None:
        for name, records in self.records.items():
            is_its_list = name.lower().startswith(what.lower()) or (_PERSON.fullmatch(what) and _PEOPLE.fullmatch(name))
            if is_its_list and number in records:
                self.used.add(name)
                return records[number]
        return None


def _shown(item: Record) -> Record:
    return {name: item[name] for name in _SHOWN if item.get(name)}
