"""Nested records as one level of dotted names."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

_FIELD_NAMES = ("fieldid", "name", "label", "title", "key", "id")  # of a field of the team's own, the best first
_FIELD_PARTS = frozenset(
    (*_FIELD_NAMES, "value", "text", "type", "multiple", "renderedvalue", "datatype", "displayname")
)
# what stands for the object itself: the content of an element of XML, a value of MongoDB
_CONTENT = ("#text", "#cdata-section", "__cdata")
_VALUE = ("$oid", "$date", "$numberInt", "$numberLong", "$numberDouble", "$numberDecimal")
_BLOCKS = frozenset(("paragraph", "heading", "blockquote", "codeBlock", "listItem", "tableRow", "rule", "panel"))


def flatten(record: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten nested objects to dotted names: `via.channel`, `articles.0.body`; team's fields: `custom_fields.Site`.

    Lists of plain values stay lists. A document in Jira's own format becomes its text, an element of XML its content.
    """
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat.update(_flattened(str(name), value))
    return flat


def _flattened(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping) and value:
        if value.get("type") == "doc" and isinstance(value.get("content"), list):
            yield name, _document_text(value).strip()
            return
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


def _document_text(node: Mapping[str, Any]) -> str:
    """Return the text of a node of the Atlassian Document Format, with a line break behind every block."""
    kind, attributes = node.get("type"), node.get("attrs")
    if kind == "text":
        return str(node.get("text", ""))
    if kind == "hardBreak":
        return "\n"
    if isinstance(attributes, Mapping) and kind in ("mention", "emoji", "status", "inlineCard", "blockCard"):
        return str(attributes.get("text") or attributes.get("shortName") or attributes.get("url") or "")
    if isinstance(attributes, Mapping) and kind == "date":
        return _day(str(attributes.get("timestamp", "")))
    content = node.get("content")
    children = content if isinstance(content, list) else []
    text = "".join(_document_text(child) for child in children if isinstance(child, Mapping))
    return f"{text}\n" if kind in _BLOCKS else text


def _day(milliseconds: str) -> str:
    """Return the day of a Unix time; the text itself where it is none."""
    try:
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).date().isoformat()
    except (ValueError, OverflowError, OSError):
        return milliseconds
