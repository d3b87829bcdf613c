"""Which source column is which part of a ticket: presets, `--map`, and a guess from the header."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tickets.errors import InputError
from tickets.presets import COMMON, HALLMARKS, PARTS, PRESETS
from tickets.tag_text import split_tags

_LISTED = 20  # columns named in an error
_FAMILY = re.compile(r"(.*?)[ _.]?\d+")  # tag_1, Labels.2


@dataclass(frozen=True)
class ColumnMap:
    """Source columns by part of the ticket; None where the source has no such column.

    `preset` is the one asked for or recognised; `tags_by_spaces` says that a space separates tags.
    """

    body: str
    subject: str | None = None
    reply: str | None = None
    language: str | None = None
    id: str | None = None
    created: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    preset: str | None = None
    tags_by_spaces: bool = False

    def tag_values(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the tags of a row, in order, without repeats; a numbered or repeated column holds one."""
        values = (value for column in self.tags for value in self._column_tags(column, fields))
        return tuple(dict.fromkeys(tag for value in values if (tag := " ".join(value.split()))))

    def _column_tags(self, column: str, fields: Mapping[str, Any]) -> Iterator[str]:
        value = fields.get(column)
        if isinstance(value, (list, tuple)):
            yield from (as_text(item) for item in value)
        elif len(self.tags) > 1 and (_FAMILY.fullmatch(column) or f"{column}.2" in self.tags):
            yield as_text(value)
        elif value is not None:
            yield from split_tags(as_text(value), self.tags_by_spaces)
        for place in count():  # labels of GitHub are objects with a name
            name = next((n for n in ("name", "title") if f"{column}.{place}.{n}" in fields), None)
            if name is None:
                return
            yield as_text(fields[f"{column}.{place}.{name}"])


def as_text(value: object) -> str:
    """Return a cell as text: nothing for None and NaN, `3` for 3.0, `true` for True, JSON for lists."""
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
    message: str | None = None,
) -> ColumnMap:
    """Return the column map: the preset (or the one the header suggests), with `name=Column` of `maps` over it.

    Args:
        keep: label columns to keep; None keeps type, queue and priority where present, and those mapped.
        filled: columns that hold any value; guessed labels, replies and ids must be among them.
        message: column of the first message's text; it is the body where no other column is.

    Raises:
        InputError: unknown preset, a mapped column the source lacks, or no body column.
    """
    asked = _parse_maps(maps, header)
    usable = [name for name in header if filled is None or name in filled]
    preset = find_preset(preset, header)
    candidates = _candidates(preset)
    guessed = _guess(usable, candidates)
    tags = asked.pop("tags", None) or guessed.pop("tags", ())
    chosen = {**guessed, **asked}
    single = {name: columns[0] for name, columns in chosen.items() if columns}
    labels = {name: column for name, column in single.items() if name not in PARTS}
    body = single.get("body") or _guess(header, candidates).get("body", (message,))[0]
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
        preset=preset,
    )


def find_preset(name: str | None, header: Sequence[str]) -> str | None:
    """Return the preset asked for, or the first whose columns the header has.

    Raises:
        InputError: no preset of that name.
    """
    if name is not None and name not in PRESETS:
        raise InputError(f"found preset {name!r}, expected one of {', '.join(PRESETS)}; mend --preset")
    plain = {_plain(column) for column in header}
    return name or next((preset for preset, marks in HALLMARKS if all(_plain(mark) in plain for mark in marks)), None)


def next_reply(column: str, header: Sequence[str], preset: str | None) -> str | None:
    """Return the best column for the reply after `column`, which holds none."""
    plain = {_plain(name): name for name in header}
    names = _candidates(preset)["reply"]
    columns = list(dict.fromkeys(plain[_plain(name)] for name in names if _plain(name) in plain))
    return next(iter(columns[columns.index(column) + 1 :]), None) if column in columns else None


def _candidates(preset: str | None) -> dict[str, tuple[str, ...]]:
    named = PRESETS[preset] if preset else {}
    return {part: (*named.get(part, ()), *COMMON.get(part, ())) for part in COMMON}


def _guess(header: Sequence[str], candidates: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return columns by part: the first candidate in the header; for tags also numbered, repeated and object ones."""
    plain = {_plain(column): column for column in reversed(header)}
    for column in header:
        plain.setdefault(_plain(column).removeprefix("ticket"), column)
    guessed = {}
    for part, names in candidates.items():
        columns = tuple(dict.fromkeys(plain[_plain(name)] for name in names if _plain(name) in plain))
        guessed[part] = columns if part == "tags" else columns[:1]
    guessed["tags"] = _with_repeats(guessed["tags"], header) or _object_lists(candidates["tags"], header)
    return {part: columns for part, columns in guessed.items() if columns}


def _with_repeats(columns: Sequence[str], header: Sequence[str]) -> tuple[str, ...]:
    """Return each column with those that repeat its name: `Labels`, `Labels.2`, `Labels.3`."""
    repeats = {column: [n for n in header if re.fullmatch(re.escape(column) + r"\.\d+", n)] for column in columns}
    return tuple(dict.fromkeys(name for column in columns for name in (column, *repeats[column])))


def _object_lists(names: Sequence[str], header: Sequence[str]) -> tuple[str, ...]:
    """Return the first name that the header has as a list of objects: `labels.0.name`."""
    lists = {m[1] for name in header if (m := re.fullmatch(r"(.+)\.\d+\.(?:name|title)", name))}
    plain = {_plain(name): name for name in lists}
    return tuple(plain[_plain(name)] for name in names if _plain(name) in plain)[:1]


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
        asked[name] = tuple(find_column(one, header, f"--map {text}") for one in columns)
    return asked


def find_column(column: str, header: Sequence[str], where: str) -> str:
    """Return the column of that name, whatever its case, spaces and hyphens.

    Raises:
        InputError: there is none; `where` names the option.
    """
    if column in header:
        return column
    match = next((name for name in header if _plain(name) == _plain(column)), None)
    if match is None:
        near = difflib.get_close_matches(column.lower(), [name.lower() for name in header], n=1, cutoff=0.5)
        nearest = next((f"; did you mean {name!r}?" for name in header if near and name.lower() == near[0]), "")
        raise InputError(f"{where}: the source has no column {column!r}; found {_shown(header)}{nearest}")
    return match


def _kept(labels: Mapping[str, str], keep: Sequence[str] | None, header: Sequence[str]) -> dict[str, str]:
    """Return the label columns to keep; a name that is neither guessed nor mapped may be a source column itself."""
    if keep is None:
        return dict(labels)
    return {name: labels.get(name) or find_column(name, header, f"--columns {name}") for name in keep}


def _shown(header: Sequence[str]) -> str:
    more = f" and {len(header) - _LISTED} more" if len(header) > _LISTED else ""
    return f"the columns {', '.join(name[:40] for name in header[:_LISTED])}{more}" if header else "no columns"


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", "", name).casefold()
