"""Which messages of a ticket are its requester's and which are not, by names, addresses and numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tickets.conversations.list_names import message_field
from tickets.conversations.messages import Message, identities

_PERSONS = (
    *(
        "requester",
        "requestor",
        "requestors",
        "primarycustomer",
        "customeruser",
        "customer_user",
        "fields.reporter",
        "reporter",
        "caller",
    ),
    *(
        "caller_id",
        "opened_for",
        "contact",
        "user",
        "source.author",
        "author",
        "_users_id_requester",
        "melder",
        "autor",
        "ersteller",
    ),
    *(
        "anrufer",
        "informador",
        "anforderer",
        "anfragesteller",
        "rapporteur",
        "demandeur",
        "auteur",
        "solicitante",
        "richiedente",
        "aanvrager",
    ),
    *("zgłaszający", "заявитель"),
)
_MAYBE_COMPANIES = ("customer", "client", "kunde")


@dataclass(frozen=True)
class Requester:
    """What a ticket says of its requester: for sure, and as a customer, who may be a company.

    `proven` are the kinds of names by which some message of the source is the customer's.
    """

    person: Mapping[str, str]
    customer: Mapping[str, str] = field(default_factory=dict)
    proven: frozenset[str] = frozenset()

    @classmethod
    def of_ticket(cls, fields: Mapping[str, Any], proven: frozenset[str] = frozenset()) -> "Requester":
        """Return the requester that the fields of a ticket outside its messages name."""
        outside = {name: value for name, value in fields.items() if message_field(name) is None}
        return cls(identities(outside, _PERSONS), identities(outside, _MAYBE_COMPANIES), proven)

    def __bool__(self) -> bool:
        """Return whether anything is known."""
        return bool(self.person or self.customer)

    def is_author(self, message: Message) -> bool:
        """Return whether the requester wrote a message, as far as names tell."""
        return any(_shared(person, message.author, equal=True) for person in (self.person, self.customer))

    def is_other(self, message: Message) -> bool:
        """Return whether somebody else did: a name that can be compared differs, and it is a person's."""
        customer = {kind: name for kind, name in self.customer.items() if kind in self.proven}
        return any(_shared(person, message.author, equal=False) for person in (self.person, customer))

    def received(self, message: Message) -> bool:
        """Return whether a message went to the requester's address, so that he sees it."""
        return any(person.get("email") in message.recipients for person in (self.person, self.customer))

    def with_writer(self, messages: Sequence[Message], body: str) -> "Requester":
        """Return this with the author of the message that is the ticket, where the ticket itself names no person.

        Where messages state roles, numbers of agents and of customers may be two series, so that none is taken.
        """
        if self.person or not messages:
            return self
        first = messages[0]
        if body.strip():
            same = " ".join(body.split())
            first = next((m for m in messages if m.public and " ".join(m.text.split()) == same), first)
            if " ".join(first.text.split()) != same:
                return self
        return replace(self, person=first.author) if first.public and not first.role else self


def proven_kinds(requester: Requester, messages: Sequence[Message]) -> set[str]:
    """Return kinds of names by which a message is the customer's, so that it is a person and can be compared."""
    return {
        kind
        for message in messages
        for kind, name in requester.customer.items()
        if name and message.author.get(kind) == name
    }


def _shared(person: Mapping[str, str], author: Mapping[str, str], equal: bool) -> bool:
    """Return whether two people have one kind of name that is the same; or one that differs, and none that may fit."""
    shared = person.keys() & author.keys()
    if equal:
        return any(person[kind] == author[kind] for kind in shared)
    alone = len(shared) == 1
    return bool(shared) and not any(_may_be_same(person[kind], author[kind], alone) for kind in shared)


def _may_be_same(first: str, second: str, alone: bool) -> bool:
    """Return whether two names can be one person's: `Ann` and `Ann Lee`, or `alee` where only a login is known."""
    one, other = set(first.split()), set(second.split())
    return one <= other or other <= one or (alone and (len(one) == 1) != (len(other) == 1))
