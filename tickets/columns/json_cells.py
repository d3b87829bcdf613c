"""Messages, tags and texts of editors that a table holds as JSON, or as Python prints it, in one cell."""

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tickets.conversations.list_names import HISTORY_NAME, LIST_NAME
from tickets.flatten import flatten
from tickets.raw import RawRow
from tickets.rich_text import rich_text

_COLUMN = re.compile(rf"(?:.*[._ ])?(?:tags|labels)|(?:.*\.)?(?:{LIST_NAME}|{HISTORY_NAME})", re.I)
_DOCUMENT = re.compile(
    r"\s*[\[{].{0,400}?\"(?:ops|insert|blocks|root|children|content|document|plain_text|object)\"\s*:", re.S
)
_OBJECTS = re.compile(r"\s*[\[(]\s*\{.*\}\s*,?\s*[\])]\s*", re.S)


def expanded(rows: Iterable[RawRow]) -> Iterator[RawRow]:
    """Yield the rows with lists of objects in cells of messages and tags as columns of their own: `comments.0.body`.

    The document of an editor that stands in a cell as JSON becomes its text.
    """
    for row in map(_with_texts, rows):
        cells = {name: value for name, value in row.fields.items() if _may_hold(name, value)}
        lists = {name: found for name, value in cells.items() if (found := _objects(value))}
        if not lists or row.fault:
            yield row
            continue
        fields: dict[str, Any] = {}
        for name, value in row.fields.items():
            fields.update(flatten({name: lists[name]}) if name in lists else {name: value})
        yield replace(row, fields=fields)


def _with_texts(row: RawRow) -> RawRow:
    texts = {name: text for name, value in row.fields.items() if (text := _document(value)) is not None}
    return replace(row, fields={**row.fields, **texts}) if texts and not row.fault else row


def _document(value: object) -> str | None:
    """Return the text of an editor's document that a cell holds as JSON; None for any other cell."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "[") or not _DOCUMENT.match(value):
        return None
    with suppress(ValueError, RecursionError):
        return rich_text(json.loads(value))
    return None


def _may_hold(name: str, value: object) -> bool:
    return isinstance(value, str) and "{" in value[:20] and _COLUMN.fullmatch(name) is not None


def _objects(text: str) -> list[Mapping[str, Any]] | None:
    """Return the list of objects that a cell holds; None for any other text."""
    if not _OBJECTS.fullmatch(text):
        return None
    value: object = None
    with suppress(ValueError, RecursionError):
        value = json.loads(text)
    if value is None:
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = ast.literal_eval(text)
    items = list(value) if isinstance(value, (list, tuple)) else []
    return items if items and all(isinstance(item, Mapping) for item in items) else None
