"""Which source column is which part of a ticket: presets, `--map`, and a guess from the header."""

import difflib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from tickets.cell_text import as_text, text_or_empty
from tickets.columns.common_names import COMMON
from tickets.columns.presets import FIELDS, HALLMARKS, PRESETS
from tickets.columns.tag_columns import object_lists, tag_values, with_repeats
from tickets.errors import InputError

_IN_LIST = re.compile(r"\.\d+(?:\.|$)")
_NAME_OF_OBJECT = re.compile(r"(?!.*\.\d)([^.]+)\.(name|display_?value|label|title|iso8601|value)", re.I)
# a text that stands in several forms, the best first: `body.content` of Microsoft, `content.rendered` of WordPress
_TEXT_OF_OBJECT = re.compile(
    r"(?!.*\.\d)([^.]+)\.(text|plain|plain_?text|markdown|raw|content|value|body|rendered|html)", re.I
)
_PREFIX = re.compile(r"(?:ticket|request|case|incident|issue)(?=.)")  # Request Subject
_ENVELOPE = re.compile(r"(?:fields|attributes|properties|custom_?fields)\.([^.]+)", re.I)  # of Airtable and Strapi
_FORMS = ("text", "plain", "plaintext", "markdown", "raw", "content", "value", "body", "rendered", "html")
_NAMES_OF_OBJECTS = ("name", "displayvalue", "label", "title", "iso8601", "value")  # the best first
_TEXT_PARTS = ("subject", "body", "reply")
_LISTED = 20  # columns named in an error
LONGEST_NAME = 60  # characters of a column's name


@dataclass(frozen=True)
class ColumnMap:
    """Source columns by part of the ticket; None or nothing where the source has no such column.

    `preset` is the one asked for or recognised; `tags_by_spaces` says that a space separates tags. `repeats`
    are the columns that repeat the name of a part's column, and `asked` the parts that `--map` names.
    """

    body: str = ""
    subject: str | None = None
    reply: str | None = None
    language: str | None = None
    id: str | None = None
    created: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    preset: str | None = None
    tags_by_spaces: bool = False
    repeats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()

    def tag_values(self, fields: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the tags of a row, in order, without repeats."""
        return tag_values(self.tags, self.tags_by_spaces, fields)

    def text(self, part: str, fields: Mapping[str, Any]) -> tuple[str, str]:
        """Return the subject, body or reply of a row with its column: all repeated ones, else the first filled one.

        A column that was asked for has no other candidates, and a reply has none either: the next column may be a note.
        """
        column = getattr(self, part) or ""
        texts = [_lines(fields.get(name)) for name in (column, *self.repeats.get(part, ()))] if column else []
        filled = list(dict.fromkeys(text for text in texts if text_or_empty(text)))
        if filled or part == "reply" or part in self.asked:
            return (filled[0] if part == "subject" else "\n\n".join(filled)) if filled else "", column
        ranks = _ranks(self.preset, part)
        others = sorted((rank, name) for name in fields if (rank := ranks.get(plain_name(name))) is not None)
        for _, name in others:
            if name not in self.used and not _IN_LIST.search(name) and text_or_empty(text := _lines(fields[name])):
                return text, name
        return "", column

    def beside(self, header: tuple[str, ...]) -> "ColumnMap":
        """Return the columns for rows of another header: those of self where it has them, else the guessed ones."""
        try:
            other = choose_columns(header, self.preset)
        except InputError:
            return self
        parts = ("subject", "body", "reply", "language", "id", "created")
        kept = {part: column for part in parts if (column := getattr(self, part)) in header or part in self.asked}
        labels = {name: old if old in header else other.labels.get(name, old) for name, old in self.labels.items()}
        tags = self.tags if any(name in header for name in self.tags) else other.tags
        used = {**{part: getattr(other, part) for part in parts}, **kept}
        used["reply"] = used["reply"] if self.reply else None  # what looked like a reply may be a status
        return replace(self, **used, labels=labels, tags=tags, repeats=other.repeats)

    @cached_property
    def used(self) -> frozenset[str]:
        """Columns that are a part of the ticket."""
        single = (self.body, self.subject, self.reply, self.language, self.id, self.created)
        repeated = (name for names in self.repeats.values() for name in names)
        return frozenset(name for name in (*single, *self.labels.values(), *self.tags, *repeated) if name)


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
    named = frozenset(asked)
    usable = [name for name in header if filled is None or name in filled]
    preset = find_preset(preset, header)
    candidates = _candidates(preset)
    guessed = _guess(usable, candidates)
    tags = asked.pop("tags", None) or guessed.pop("tags", ())
    chosen = {**guessed, **asked}
    single = {name: columns[0] for name, columns in chosen.items() if columns}
    labels = {name: column for name, column in single.items() if name not in FIELDS}
    body = single.get("body") or _guess(header, candidates).get("body", (message,))[0]
    if not body and not single.get("subject"):
        raise InputError(no_body(header))
    texts = {part: column for part in ("subject", "body", "reply") if (column := single.get(part) or "")}
    return ColumnMap(
        body=body or "",
        subject=single.get("subject"),
        reply=single.get("reply"),
        language=single.get("language"),
        id=single.get("id"),
        created=single.get("created"),
        labels=_kept(labels, keep, header),
        tags=tuple(tags),
        preset=preset,
        repeats={part: repeats for part, column in texts.items() if (repeats := with_repeats([column], header)[1:])},
        asked=named,
    )


def no_body(header: Sequence[str]) -> str:
    """Return what to say where no column holds the text."""
    if any(len(name) > LONGEST_NAME or name.isdecimal() for name in header):
        return (
            f"the first line looks like a ticket ({_shown(header)}); expected the names of the columns there; write "
            "them above it, such as id,subject,body,queue"
        )
    return f"no column for the body text; found {_shown(header)}; name it with --map body=COLUMN"


def find_preset(name: str | None, header: Sequence[str]) -> str | None:
    """Return the preset asked for, or the first whose columns the header has.

    Raises:
        InputError: no preset of that name.
    """
    if name is not None and name not in PRESETS:
        raise InputError(f"found preset {name!r}, expected one of {', '.join(PRESETS)}; correct --preset")
    plain = {plain_name(column) for column in header}
    return name or next(
        (preset for preset, marks in HALLMARKS if all(plain_name(mark) in plain for mark in marks)), None
    )


def next_reply(column: str, header: Sequence[str], preset: str | None) -> str | None:
    """Return the best column for the reply behind `column`, which holds none."""
    plain = {plain_name(name): name for name in header}
    names = _candidates(preset)["reply"]
    columns = list(dict.fromkeys(plain[plain_name(name)] for name in names if plain_name(name) in plain))
    return next(iter(columns[columns.index(column) + 1 :]), None) if column in columns else None


@lru_cache
def _candidates(preset: str | None) -> dict[str, tuple[str, ...]]:
    named = PRESETS[preset] if preset else {}
    return {part: (*named.get(part, ()), *COMMON.get(part, ())) for part in COMMON}


@lru_cache
def _ranks(preset: str | None, part: str) -> dict[str, int]:
    """Return plain names of a part's columns with their rank, the best first."""
    names = _candidates(preset)[part]
    return {plain_name(name): rank for rank, name in reversed(list(enumerate(names)))}


def _guess(header: Sequence[str], candidates: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return columns by part: the first that the header has; of tags all that are numbered, repeated or objects."""
    plain = {plain_name(column): column for column in reversed(header)}
    for column in header:
        plain.setdefault(_PREFIX.sub("", plain_name(column)), column)
    for column in header:
        if inner := _ENVELOPE.fullmatch(column):
            plain.setdefault(plain_name(inner[1]), column)
    guessed, lists = {}, {plain_name(name).removeprefix("embedded."): name for name in object_lists(header)}
    named = {**_of_objects(header), **plain}
    texts = {**_texts_of_objects(header), **plain}
    for part, names in candidates.items():
        known = texts if part in _TEXT_PARTS else plain if part in FIELDS and part != "created" else named
        columns = tuple(dict.fromkeys(known[plain_name(name)] for name in names if plain_name(name) in known))
        guessed[part] = columns if part == "tags" else columns[:1]
    guessed["tags"] = (
        with_repeats(guessed["tags"], header)
        or tuple(lists[plain_name(name)] for name in candidates["tags"] if plain_name(name) in lists)[:1]
    )
    return {part: columns for part, columns in guessed.items() if columns}


def _texts_of_objects(header: Sequence[str]) -> dict[str, str]:
    """Return columns by the plain name of the object whose text they are: `body` for `body.content`."""
    forms = [form for column in header if (form := _TEXT_OF_OBJECT.fullmatch(column))]
    forms.sort(key=lambda form: _FORMS.index(plain_name(form[2])), reverse=True)
    return {plain_name(form[1]): form[0] for form in forms}


def _lines(value: object) -> str:
    """Return a cell as text; of a list of texts each in a line of its own."""
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "\n".join(value)
    return as_text(value)


def _of_objects(header: Sequence[str]) -> dict[str, str]:
    """Return columns by the plain name of the object whose name they are: `priority.name`, and not `priority.value`."""
    matches = [match for column in header if (match := _NAME_OF_OBJECT.fullmatch(column))]
    matches.sort(key=lambda match: _NAMES_OF_OBJECTS.index(plain_name(match[2])), reverse=True)
    return {plain_name(match[1]): match[0] for match in matches}


def _parse_maps(maps: Sequence[str], header: Sequence[str]) -> dict[str, tuple[str, ...]]:
    asked: dict[str, tuple[str, ...]] = {}
    for text in maps:
        name, sign, column = (part.strip() for part in text.partition("="))
        if not sign or not name or not column:
            raise InputError(f"found --map {text!r}, expected --map name=Column, such as --map subject=Betreff")
        near = [] if name in FIELDS else difflib.get_close_matches(name.lower(), FIELDS, n=1, cutoff=0.75)
        if near:
            raise InputError(f"found --map {text!r}: {name!r} is no part of a ticket; did you mean {near[0]!r}?")
        columns = [column] if column in header or name != "tags" else [c.strip() for c in column.split(",")]
        found = tuple(find_column(one, header, f"--map {text}") for one in columns)
        if asked.setdefault(name, found) != found:
            several = "; several columns of tags are written --map tags=A,B" if name == "tags" else ""
            raise InputError(
                f"found --map {text!r} after {name}={','.join(asked[name])}, expected one column for {name!r}; leave "
                f"one out{several}"
            )
    return asked


def find_column(column: str, header: Sequence[str], where: str) -> str:
    """Return the column of that name, whatever its case, spaces and hyphens.

    Raises:
        InputError: there is none; `where` names the option.
    """
    if column in header:
        return column
    match = next((name for name in header if plain_name(name) == plain_name(column)), None)
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


@lru_cache(maxsize=20_000)
def plain_name(name: str) -> str:
    """Return a name as it is compared: without case, spaces, `_`, `-` and a full stop or colon at its end."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name)).casefold().rstrip(".:")
