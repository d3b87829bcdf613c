"""Which source column is which part of a ticket: presets, `--map`, and a guess from the header."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tickets.dates import CREATED
from tickets.errors import InputError

PARTS = ("subject", "body", "reply", "language", "id", "created", "tags")
_LISTED = 20  # columns named in an error

# Candidates by part or label, best first; matched without regard to case, spaces, `_` and `-`.
PRESETS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "public": {
        "subject": ("subject",),
        "body": ("body",),
        "reply": ("answer",),
        "language": ("language",),
        "tags": tuple(f"tag_{n}" for n in range(1, 10)),
        "type": ("type",),
        "queue": ("queue",),
        "priority": ("priority",),
    },
    "zendesk": {
        "id": ("id", "ticket id"),
        "subject": ("subject", "raw_subject", "ticket subject"),
        "body": ("description", "ticket description", "comments.0.plain_body", "comments.0.body"),
        "reply": ("comments.1.plain_body", "comments.1.body"),
        "language": ("language", "locale", "requester.locale", "detected_language"),
        "tags": ("tags", "ticket tags"),
        "type": ("type", "ticket type"),
        "queue": ("group.name", "group", "ticket group", "assignee group", "group_id"),
        "priority": ("priority", "ticket priority"),
    },
    "zammad": {
        "id": ("id", "ticket id", "number"),
        "subject": ("title", "subject"),
        "body": ("article.body", "articles.0.body", "article", "body"),
        "reply": ("articles.1.body",),
        "language": ("language", "article.detected_language", "articles.0.detected_language"),
        "tags": ("tags", "tag_list"),
        "type": ("type",),
        "queue": ("group", "group.name", "group_id"),
        "priority": ("priority", "priority.name", "priority_id"),
    },
}
_COMMON: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "ticket id", "ticket number", "number", "ticketnummer", "nummer", "key"),
    "subject": ("subject", "title", "summary", "betreff", "titel", "short description"),
    "body": ("body", "description", "text", "message", "content", "nachricht", "beschreibung", "inhalt", "question"),
    "reply": ("answer", "reply", "response", "antwort", "resolution", "solution", "loesung", "lösung"),
    "language": ("language", "lang", "sprache", "locale"),
    "created": CREATED,
    "tags": ("tags", "labels", "keywords", "schlagworte"),
    "type": ("type", "ticket type", "issue type", "typ", "art"),
    "queue": ("queue", "group", "department", "team", "warteschlange", "abteilung", "gruppe"),
    "priority": ("priority", "prio", "urgency", "priorität", "prioritaet", "dringlichkeit"),
}
_HALLMARKS = {"public": ("tag_1", "answer"), "zendesk": ("description",), "zammad": ("title", "number")}


@dataclass(frozen=True)
class ColumnMap:
    """Source columns by part of the ticket; None where the source has no such column."""

    body: str
    subject: str | None = None
    reply: str | None = None
    language: str | None = None
    id: str | None = None
    created: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    def tag_values(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """Tags of a row, in order, without repeats: one per column, or the list in the only column."""
        if len(self.tags) == 1:
            values = _listed(fields.get(self.tags[0]))
        else:
            values = [as_text(fields.get(column)) for column in self.tags]
        return tuple(dict.fromkeys(tag for value in values if (tag := " ".join(value.split()))))


def as_text(value: object) -> str:
    """A cell as text: nothing for None and NaN, `3` for 3.0, `true` for True, JSON for lists."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)


def choose_columns(
    header: Sequence[str],
    preset: str | None = None,
    maps: Sequence[str] = (),
    keep: Sequence[str] | None = None,
    filled: frozenset[str] | None = None,
) -> ColumnMap:
    """The column map: the preset (or the one the header suggests), then every `name=Column` of `maps` over it.

    Args:
        keep: label columns to keep; None keeps type, queue and priority where present, and those mapped.
        filled: columns that hold any value; guessed labels, replies and ids must be among them.

    Raises:
        InputError: unknown preset, a mapped column the source lacks, or no body column.
    """
    asked = _parse_maps(maps, header)
    usable = [name for name in header if filled is None or name in filled]
    guessed = _guess(usable, _preset(preset, header))
    tags = asked.pop("tags", None) or guessed.pop("tags", ())
    chosen = {**guessed, **asked}
    single = {name: columns[0] for name, columns in chosen.items() if columns}
    labels = {name: column for name, column in single.items() if name not in PARTS}
    body = single.get("body") or _guess(header, _preset(preset, header)).get("body", ("",))[0]
    if not body:
        raise InputError(f"no column for the body text; found {_shown(header)}; name it with --map body=COLUMN")
    return ColumnMap(
        body=body,
        subject=single.get("subject"),
        reply=single.get("reply"),
        language=single.get("language"),
        id=single.get("id"),
        created=single.get("created"),
        labels=_kept(labels, keep, header),
        tags=tuple(tags),
    )


def _preset(name: str | None, header: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    if name is not None and name not in PRESETS:
        raise InputError(f"found preset {name!r}, expected one of {', '.join(PRESETS)}; mend --preset")
    if name is None:
        plain = {_plain(column) for column in header}
        fits = (n for n, marks in _HALLMARKS.items() if all(_plain(m) in plain for m in marks))
        name = next(fits, None)
    own = PRESETS[name] if name else {}
    return {part: (*own.get(part, ()), *_COMMON.get(part, ())) for part in _COMMON}


def _guess(header: Sequence[str], candidates: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Columns by part: the first candidate the header has, and of tags all numbered ones."""
    plain = {_plain(column): column for column in reversed(header)}
    guessed = {}
    for part, names in candidates.items():
        found = tuple(dict.fromkeys(plain[_plain(name)] for name in names if _plain(name) in plain))
        numbered = part == "tags" and len(found) > 1
        guessed[part] = found if numbered else found[:1]
    return {part: columns for part, columns in guessed.items() if columns}


def _parse_maps(maps: Sequence[str], header: Sequence[str]) -> dict[str, tuple[str, ...]]:
    asked: dict[str, tuple[str, ...]] = {}
    for text in maps:
        name, sign, column = (part.strip() for part in text.partition("="))
        if not sign or not name or not column:
            raise InputError(f"found --map {text!r}, expected --map name=Column, such as --map subject=Betreff")
        near = [] if name in PARTS else difflib.get_close_matches(name.lower(), PARTS, n=1, cutoff=0.8)
        if near:
            raise InputError(f"found --map {text!r}: {name!r} is no part of a ticket; did you mean {near[0]!r}?")
        columns = [column] if column in header or name != "tags" else [c.strip() for c in column.split(",")]
        asked[name] = tuple(_in_header(one, header, f"--map {text}") for one in columns)
    return asked


def _in_header(column: str, header: Sequence[str], where: str) -> str:
    if column in header:
        return column
    match = next((name for name in header if _plain(name) == _plain(column)), None)
    if match is None:
        near = difflib.get_close_matches(column.lower(), [name.lower() for name in header], n=1, cutoff=0.5)
        nearest = next((f"; did you mean {name!r}?" for name in header if near and name.lower() == near[0]), "")
        raise InputError(f"{where}: the source has no column {column!r}; found {_shown(header)}{nearest}")
    return match


def _kept(labels: Mapping[str, str], keep: Sequence[str] | None, header: Sequence[str]) -> dict[str, str]:
    """The label columns to keep; a name that is neither guessed nor mapped may be a source column itself."""
    if keep is None:
        return dict(labels)
    return {name: labels.get(name) or _in_header(name, header, f"--columns {name}") for name in keep}


def _shown(header: Sequence[str]) -> str:
    more = f" and {len(header) - _LISTED} more" if len(header) > _LISTED else ""
    return f"the columns {', '.join(name[:40] for name in header[:_LISTED])}{more}" if header else "no columns"


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()


def _listed(value: object) -> list[str]:
    """A cell with several tags: a list, a JSON list, or text with commas or semicolons between them."""
    text = as_text(value).strip()
    items: object = value
    if isinstance(value, str) and text.startswith("["):
        with suppress(ValueError, RecursionError):
            items = json.loads(text)
    if isinstance(items, (list, tuple)):
        return [as_text(item) for item in items]
    return re.split(r"[,;]", text)
