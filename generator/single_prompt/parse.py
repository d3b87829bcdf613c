"""Reading what a single-prompt model wrote: labels, tags and reply, whatever formatting it added."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from generator.single_prompt.format import HEADING
from tickets.labels import LabelSpace

# what may stand before a field's name: list numbers, bullets, quotes, Markdown headings, table bars, emphasis and JSON
_LEAD = r"^(?:[-*+>•#|_`\"'{]|\d{1,3}[.)]|[ \t])*(?:\w{1,20}[ \t]+)?"
# and between it and its value: `level`, a remark in brackets, emphasis, quotes
_COLON = r"(?:[ \t]+level)?(?:[ \t]*\([^)\n]{0,40}\))?[ \t]*[*_`\"']*[ \t]*[:：|][ \t]*[*_`\"']*[ \t]*"
_REPLY_START = re.compile(
    r"^(?:[-*+>•#|_`]|\d{1,3}[.)]|[ \t])*((?:\w{1,20}[ \t]+){0,2}(?:response|reply|answer)|antwort)"
    r"[*_`]*[ \t]*(?:[:：]|$)[*_`]*",
    re.I | re.M,
)
_BLOCK_START = re.compile(re.escape(HEADING.rstrip(":")) + r"\b", re.I)
_NEXT_FIELD = r"[,;|][ \t]*(?=[\"']?{names}[\"']?[ \t]*[:：])"  # several fields on one line
_REMARK = re.compile(r"[(|]| [-–—] |[,;:]")
_EMPHASIS = re.compile(r"\*\*([^*\n]+)\*\*")
_BULLETS = re.compile(r"\s*\n((?:[ \t]*[-*+•][^\n]*(?:\n|\Z))+)")
_DECORATION = " \t*_`\"'“”[]{}<>.|"
_NONE = {"", "none", "n/a", "unknown", "-"}
_NEAREST = 0.6  # difflib's ratio
_LONGEST_LINE = 1_000  # characters of a field that are looked at


@dataclass(frozen=True)
class Parsed:
    """What one output says.

    Attributes:
        labels: labels of the label space, by column.
        unknown: by column, what is not one of the allowed labels.
        near_miss: for an unknown label, the allowed one most like it; it still counts as wrong.
        tags: as written.
        reply: the text after the reply's heading; without one, what follows the label block.
    """

    labels: Mapping[str, str]
    unknown: Mapping[str, str]
    near_miss: Mapping[str, str]
    tags: tuple[str, ...]
    reply: str


def parse_output(text: str, space: LabelSpace) -> Parsed:
    """Read an output; never raises.

    Labels are read between the last heading of a label block and the reply's heading. So a label block that was copied
    from the ticket, before the model's own or in its reply, is ignored.
    """
    heading = _reply_heading(text, space.columns)
    end = heading.start() if heading else len(text)
    start = max((match.start() for match in _BLOCK_START.finditer(text, 0, end)), default=0)
    block = _one_field_per_line(text[start:end], space.columns)
    labels: dict[str, str] = {}
    unknown: dict[str, str] = {}
    near_miss: dict[str, str] = {}
    last = 0
    for column, classes in space.columns.items():
        field = _field(block, column)
        if field is None:
            continue
        value = field[1] if _clean(field[1]) else _next_line(block[field.end() :])
        last = max(last, field.end())
        label = _known_label(value, classes)
        if label is not None:
            labels[column] = label
        elif _clean(value).lower() not in _NONE:
            unknown[column] = _clean(value)
            close = _only_mentioned(unknown[column], classes) or difflib.get_close_matches(
                unknown[column], classes, n=1, cutoff=_NEAREST
            )
            near_miss |= {column: close[0]} if close else {}
    tags = _field(block, "tags")
    last = max(last, tags.end() if tags else 0)
    reply = text[heading.end() :] if heading else block[last:]
    return Parsed(labels, unknown, near_miss, _tags(block, tags) if tags else (), _reply(reply))


def _reply_heading(text: str, columns: Iterable[str]) -> re.Match[str] | None:
    """Return the first heading of a reply that is not the name of a label column."""
    names = {column.lower() for column in columns}
    return next((match for match in _REPLY_START.finditer(text) if match[1].lower() not in names), None)


def _one_field_per_line(block: str, columns: Iterable[str]) -> str:
    names = "|".join(re.escape(name) for name in (*columns, "tags"))
    return re.sub(_NEXT_FIELD.format(names=f"(?:{names})"), "\n", block, flags=re.I)


def _field(block: str, name: str) -> re.Match[str] | None:
    return re.search(_LEAD + re.escape(name) + _COLON + r"([^\n]*)$", block, re.I | re.M)


def _next_line(remaining: str) -> str:
    return next((line for line in remaining.splitlines() if _clean(line)), "")


def _known_label(value: str, classes: tuple[str, ...]) -> str | None:
    """Return the class that `value` is: as it stands, before a remark, or the only one in bold in a sentence."""
    value = value[:_LONGEST_LINE]
    in_bold = {_clean(match) for match in _EMPHASIS.findall(value)}
    candidates = [_clean(value), _clean(_REMARK.split(value, maxsplit=1)[0])]
    candidates += in_bold if len(in_bold) == 1 else ()
    exact = {_clean(label): label for label in classes}
    any_case = {_clean(label).lower(): label for label in classes}
    return next((label for name in candidates if (label := exact.get(name) or any_case.get(name.lower()))), None)


def _only_mentioned(value: str, classes: tuple[str, ...]) -> list[str]:
    """Return the one class that prose such as `probably low` names; none where it names several."""
    mentioned = [name for name in classes if re.search(rf"\b{re.escape(name)}\b", value[:_LONGEST_LINE], re.I)]
    return mentioned if len(mentioned) == 1 else []


def _tags(block: str, field: re.Match[str]) -> tuple[str, ...]:
    listed = re.split(r"[,;]", field[1])
    if not _clean(field[1]) and (bullets := _BULLETS.match(block, field.end())):
        listed = bullets[1].splitlines()
    tags = (re.sub(r"^[ \t]*[-*+•][ \t]+", "", tag) for tag in listed)
    return tuple(tag for tag in map(_trimmed, tags) if tag.lower() not in _NONE)


def _trimmed(tag: str) -> str:
    """Return text without spaces and emphasis; a tag may begin or end with any other sign."""
    return " ".join(tag.split()).strip(" *_`|")


def _clean(value: str) -> str:
    return " ".join(value.split()).strip(_DECORATION)


def _reply(text: str) -> str:
    return re.sub(r"\A[\s*_`]*(?:-{3,}\s*)?", "", text).rstrip()
