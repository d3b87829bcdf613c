"""Properties of the pages of a Notion database, each a value in an envelope that is named after its type."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from tickets.rich_text import rich_text

TITLE = "title"
_NAMED = frozenset(("select", "status", "created_by", "last_edited_by"))
_LISTS = frozenset(("multi_select", "people"))
_PLAIN = frozenset(("number", "checkbox", "email", "phone_number", "url", "created_time", "last_edited_time"))
_TYPES = _NAMED | _LISTS | _PLAIN | {TITLE, "rich_text", "date", "unique_id"}


def is_property(value: object) -> TypeGuard[Mapping[str, Any]]:
    """Return whether an object is a property: a type, a value under its name, and a number or name at most."""
    if not isinstance(value, Mapping) or value.get("type") not in _TYPES:
        return False
    return value["type"] in value and value.keys() <= {"id", "name", "type", value["type"]}


def property_value(value: Mapping[str, Any]) -> object:
    """Return what a property holds: a text, a name, a list of names, a day, a number; None for an empty one."""
    kind, content = value["type"], value[value["type"]]
    if kind in (TITLE, "rich_text"):
        return rich_text(content) or ""
    if kind in _LISTS and isinstance(content, list):
        return [item.get("name") for item in content if isinstance(item, Mapping) and item.get("name")]
    if not isinstance(content, Mapping):
        return content
    if kind == "unique_id":
        return "-".join(str(content[part]) for part in ("prefix", "number") if content.get(part) is not None)
    return content.get("start" if kind == "date" else "name")
