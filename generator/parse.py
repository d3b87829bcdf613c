"""Reading what a single-prompt model wrote: labels, tags and reply, however it was decorated."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tickets.labels import LabelSpace

# what may stand before a field's name: list numbers and bullets, quotes, Markdown headings and emphasis
_LEAD = r"^[ \t]*(?:(?:[-*+>•#]+|\d+[.)])[ \t]*)*[*_`]*"
_COLON = r"[ \t]*[*_`]*[ \t]*[:：][ \t]*[*_`]*[ \t]*"
_REPLY_START = re.compile(
    _LEAD + r"(?:(?:\w+[ \t]+){0,2}(?:response|reply|answer)|antwort)[*_`]*[ \t]*(?:[:：]|$)[*_`]*", re.I | re.M
)
_DECORATION = " \t*_`\"'“”[]<>."
_EMPHASIS = re.compile(r"\*\*([^*\n]+)\*\*")
_BRACKETED = re.compile(r"\s*\(.*$", re.S)
_NONE = {"", "none", "n/a", "unknown", "-"}
_NEAREST = 0.6  # difflib's ratio


@dataclass(frozen=True)
class Parsed:
    """What one output says.

    Attributes:
        labels: labels of the label space, by column.
        foreign: what stood in a column's place and is no label of it.
        nearest: for a foreign value, the label most like it; never counted as right.
        tags: as written.
        reply: the text after the reply's heading; without one, what follows the label block.
    """

    labels: Mapping[str, str]
    foreign: Mapping[str, str]
    nearest: Mapping[str, str]
    tags: tuple[str, ...]
    reply: str

    def missing(self, columns: Mapping[str, object]) -> list[str]:
        """Columns of which nothing was said."""
        return [column for column in columns if column not in self.labels and column not in self.foreign]


def parse_output(text: str, space: LabelSpace) -> Parsed:
    """Read an output; never raises.

    Only what stands before the reply's heading counts, and of a repeated field the first: a block that a ticket made
    the model repeat in its reply changes nothing.
    """
    heading = _REPLY_START.search(text)
    block = text[: heading.start()] if heading else text
    labels: dict[str, str] = {}
    foreign: dict[str, str] = {}
    nearest: dict[str, str] = {}
    last = 0
    for column, classes in space.columns.items():
        found = _field(block, column)
        if found is None:
            continue
        last = max(last, found.end())
        label = _known_label(found[1], classes)
        if label is not None:
            labels[column] = label
        elif _clean(found[1]).lower() not in _NONE:
            foreign[column] = _clean(found[1])
            close = difflib.get_close_matches(foreign[column], classes, n=1, cutoff=_NEAREST)
            nearest |= {column: close[0]} if close else {}
    tags = _field(block, "tags")
    last = max(last, tags.end() if tags else 0)
    listed = tuple(_clean(tag) for tag in re.split(r"[,;]", tags[1])) if tags else ()
    reply = text[heading.end() :] if heading else text[last:]
    return Parsed(labels, foreign, nearest, tuple(t for t in listed if t.lower() not in _NONE), _reply(reply))


def _field(block: str, name: str) -> re.Match[str] | None:
    return re.search(_LEAD + re.escape(name) + _COLON + r"(.*)$", block, re.I | re.M)


def _known_label(value: str, classes: tuple[str, ...]) -> str | None:
    """The class that `value` is: as it stands, without a remark in brackets, or the only one in bold in a sentence."""
    by_name = {label.lower(): label for label in classes}
    candidates = [_clean(value), _clean(_BRACKETED.sub("", value))]
    in_bold = {_clean(match) for match in _EMPHASIS.findall(value)}
    candidates += in_bold if len(in_bold) == 1 else ()
    return next((by_name[name.lower()] for name in candidates if name.lower() in by_name), None)


def _clean(value: str) -> str:
    return " ".join(value.split()).strip(_DECORATION)


def _reply(text: str) -> str:
    return re.sub(r"\A[\s*_`]*(?:-{3,}\s*)?", "", text).rstrip()
