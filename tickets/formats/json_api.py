"""Documents of JSON:API: tickets in `data`, and in `included` what their relationships name by type and id."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tickets.raw import ReadLog

_DATA, _INCLUDED, _RELATIONSHIPS = "data", "included", "relationships"
_DEPTH = 3  # a ticket, its comment, the comment's author

Resource = Mapping[str, Any]
Key = tuple[str, str]  # type and id


def with_list(document: Any) -> Any:
    """Return a document of one resource with a list of it in place of the resource; other values unchanged."""
    if not isinstance(document, Mapping) or not isinstance(document.get(_INCLUDED), list):
        return document
    return {**document, _DATA: [document[_DATA]]} if _is_resource(document.get(_DATA)) else document


@dataclass(frozen=True)
class Included:
    """The resources beside the tickets, by type and id, and those that name their ticket; `used` are the joined ones.

    `owned` has the resources that name another one, by the key of that.
    """

    resources: Mapping[Key, Resource]
    owned: Mapping[Key, Sequence[Resource]]
    kinds: Mapping[str, str] = field(default_factory=dict)  # type of every ticket, by its id
    used: set[Key] = field(default_factory=set)

    @classmethod
    def of_page(cls, page: Resource) -> "Included | None":
        """Return what lies beside the tickets of a page; None if the page is no document of JSON:API."""
        tickets, beside = page.get(_DATA), page.get(_INCLUDED, [])
        if not isinstance(tickets, list) or not tickets or not all(map(_is_resource, tickets)):
            return None
        if not isinstance(beside, list) or not (beside or any(_RELATIONSHIPS in ticket for ticket in tickets)):
            return None
        resources = {key: resource for resource in beside if (key := _key(resource))}
        own = {key for ticket in tickets if (key := _key(ticket))}
        owned: dict[Key, list[Resource]] = {}
        for resource in resources.values():
            for _, link in _links(resource):
                if isinstance(link, Mapping) and (owner := _key(link)) in own and owner is not None:
                    owned.setdefault(owner, []).append(resource)
        return cls(resources, owned, {number: kind for kind, number in own})

    @property
    def names(self) -> tuple[str, ...]:
        """The name of the list beside the tickets."""
        return (_INCLUDED,)

    def joined(self, ticket: Any) -> Any:
        """Return a ticket, whose attributes are its own fields already, with what it names and what names it."""
        if not isinstance(ticket, Mapping):
            return ticket
        own = {name: value for name, value in ticket.items() if name != _RELATIONSHIPS}
        number = str(ticket.get("id"))
        key = (self.kinds.get(number, ""), number)
        own.update({name: value for name, value in self._related(ticket, (key,)).items() if name not in own})
        named = {_key(item) for _, link in _links(ticket) for item in (link if isinstance(link, list) else [link])}
        for resource in self.owned.get(key, ()):
            kind = str(resource["type"])
            if _key(resource) not in named and isinstance(own.setdefault(kind, []), list):
                own[kind].append(self._found(resource, (key,)))
        return own

    def tell(self, log: ReadLog) -> None:
        """Say what was joined, and what no ticket names."""
        if self.used:
            kinds = dict.fromkeys(kind for kind, _ in self.resources if any(kind == used for used, _ in self.used))
            log.note(f"Joined to the tickets by type and id: {', '.join(kinds)}.")
        left = Counter(kind for kind, number in self.resources if (kind, number) not in self.used)
        log.other_lists.update({f"{_INCLUDED} {kind}": count for kind, count in left.items()})

    def _related(self, resource: Resource, path: tuple[Key, ...]) -> dict[str, Any]:
        """Return the resources that a resource names, by the name of the relationship, without those on the path."""
        related: dict[str, Any] = {}
        for name, link in _links(resource):
            if isinstance(link, list):
                related[name] = [found for item in link if (found := self._linked(item, path)) is not None]
            elif (found := self._linked(link, path)) is not None:
                related[name] = found
        return related

    def _linked(self, link: Any, path: tuple[Key, ...]) -> dict[str, Any] | None:
        key = _key(link)
        if key is None or key in path:
            return None
        resource = self.resources.get(key)
        if resource is None or len(path) > _DEPTH:
            return {"id": key[1], "type": _singular(key[0])}
        return self._found(resource, path)

    def _found(self, resource: Resource, path: tuple[Key, ...]) -> dict[str, Any]:
        """Return the fields of a resource and of what it names, and count it as used."""
        key = _key(resource) or ("", "")
        self.used.add(key)
        attributes = resource.get("attributes")
        fields = dict(attributes) if isinstance(attributes, Mapping) else {}
        return {"id": key[1], "type": _singular(key[0]), **self._related(resource, (*path, key)), **fields}


def _is_resource(value: object) -> bool:
    return isinstance(value, Mapping) and _key(value) is not None and isinstance(value.get("attributes"), Mapping)


def _key(value: object) -> Key | None:
    """Return type and id of a resource or of a link to one; None for other values."""
    if not isinstance(value, Mapping) or not isinstance(value.get("type"), str) or "id" not in value:
        return None
    return value["type"], str(value["id"])


def _links(resource: Resource) -> Iterator[tuple[str, Any]]:
    """Yield the relationships of a resource that say what they lead to: a link, or a list of links."""
    relationships = resource.get(_RELATIONSHIPS)
    for name, relationship in relationships.items() if isinstance(relationships, Mapping) else ():
        if isinstance(relationship, Mapping) and relationship.get(_DATA):
            yield str(name), relationship[_DATA]


def _singular(kind: str) -> str:
    """Return `agent` for the type `agents`, as other exports name the role of a person."""
    return kind[:-1] if kind.endswith("s") and not kind.endswith("ss") else kind
