"""Nested records as one level of dotted names."""

from collections.abc import Iterator, Mapping
from typing import Any

from tickets.notion import TITLE, is_property, property_value
from tickets.rich_text import rich_text

_FIELD_NAMES = ("fieldid", "name", "label", "title", "key", "id")  # of a field of the team's own, the best first
_FIELD_PARTS = frozenset(
    (*_FIELD_NAMES, "value", "text", "type", "multiple", "renderedvalue", "datatype", "displayname")
)
# what stands for the object itself: the content of an element of XML, a value of MongoDB
_CONTENT = ("#text", "#cdata-section", "__cdata")
_VALUE = ("$oid", "$date", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal")


def flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested objects to dotted names: `via.channel`, `articles.0.body`; team's fields: `custom_fields.Site`.

    Lists of plain values stay lists. A document of a rich-text editor becomes its text, an element of XML its content.
    """
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat.update(_flattened(str(name), value))
    return flat


def _flattened(name: str, value: object) -> Iterator[tuple[str, object]]:
    if is_property(value):
        yield (f"{name.rpartition('.')[0]}.{TITLE}" if value["type"] == TITLE else name), property_value(value)
        return
    text = rich_text(value) if isinstance(value, (Mapping, list)) else None
    if text is not None:
        yield name, text
    elif isinstance(value, Mapping) and value:
        for key, inner in value.items():
            if key in _CONTENT or (len(value) == 1 and key in _VALUE):
                yield from _flattened(name, inner)
            else:
                yield from _flattened(f"{name}.{key}", inner)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for place, item in enumerate(value):
            if is_named_value(item):
                field, content = _named_value(item)
                yield from _flattened(f"{name}.{field}", content)
            else:
                yield from _flattened(f"{name}.{place}", item)
    else:
        yield name, value


def is_named_value(item: object) -> bool:
    """Return whether an object is a field of a team's own: a name or number and its value, and nothing else."""
    if not isinstance(item, Mapping):
        return False
    parts = {_plain(name) for name in item}
    return "value" in parts and parts <= _FIELD_PARTS and not parts.isdisjoint(_FIELD_NAMES)


def _named_value(item: Mapping[str, Any]) -> tuple[str, object]:
    """Return the name of a field and its value; the text of it if it has one beside its number."""
    parts = {_plain(name): value for name, value in item.items()}
    name = next((str(parts[name]) for name in _FIELD_NAMES if parts.get(name) not in (None, "")), "value")
    return name, parts.get("text") or parts["value"]


def _plain(name: object) -> str:
    return str(name).replace("_", "").lower()
