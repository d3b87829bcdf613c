"""Which columns hold tags, and the tags of a row: lists, one tag per column, or objects with a name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tickets.cell_text import as_text
from tickets.columns.tag_text import split_tags

_FAMILY = re.compile(r"(.*?)[ _.]?\d+")  # tag_1, Labels.2
# labels.0.name, labels.nodes.0.name, labels.edges.0.node.name, tags.tags.0.name, tags.0.tag
_OBJECT = (
    r"(?:\.(?:nodes|edges|tags|labels|data|items|results))?\.\d+\.(?:node\.|attributes\.)?(?:name|title|tag|label)"
)
_OBJECT_FIELD = re.compile(rf"((?:_embedded\.)?.+?){_OBJECT}", re.I)


def tag_values(columns: Sequence[str], by_spaces: bool, fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tags of a row, in order, without repeats: one per numbered or repeated column, or those of a list."""
    values = (value for column in columns for value in _values(column, columns, by_spaces, fields))
    return tuple(dict.fromkeys(tag for value in values if (tag := " ".join(value.split()))))


def with_repeats(columns: Sequence[str], header: Sequence[str]) -> tuple[str, ...]:
    """Return each column with those that repeat its name: `Labels`, `Labels.2`, `Labels.3`."""
    repeats = {column: [n for n in header if re.fullmatch(re.escape(column) + r"\.\d+", n)] for column in columns}
    return tuple(dict.fromkeys(name for column in columns for name in (column, *repeats[column])))


def object_lists(header: Sequence[str]) -> list[str]:
    """Return the names that the header has as lists of objects with a name: `labels` of `labels.0.name`."""
    return list(dict.fromkeys(match[1] for name in header if (match := _OBJECT_FIELD.fullmatch(name))))


def _values(column: str, columns: Sequence[str], by_spaces: bool, fields: Mapping[str, Any]) -> Iterator[str]:
    value = fields.get(column)
    if isinstance(value, (list, tuple)):
        yield from (as_text(item) for item in value)
    elif len(columns) > 1 and (_FAMILY.fullmatch(column) or f"{column}.2" in columns):
        yield as_text(value)
    elif value is not None:
        yield from split_tags(as_text(value), by_spaces)
    if column in fields:
        return
    for name, inner in fields.items():
        if name.startswith(column) and name != column and re.fullmatch(_OBJECT, name[len(column) :], re.I):
            yield as_text(inner)
