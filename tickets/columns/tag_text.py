"""Tags that an export writes into one cell, in the ways helpdesks have for it."""

import ast
import json
import re
from collections.abc import Iterable
from contextlib import suppress

_LIST = re.compile(r"[\[({].*[\])}]", re.S)
_NUMPY = re.compile(r"\[\s*(?:'[^']*'|\"[^\"]*\")(?:\s+(?:'[^']*'|\"[^\"]*\"))+\s*\]")
_ANGLES = re.compile(r"(?:<[^<>]+>\s*)+")
_SEPARATORS = re.compile(r"[|,;\n]|><")
_WORD = re.compile(r"[a-z0-9][a-z0-9_./:-]*")


def split_tags(text: str, spaces: bool = False) -> list[str]:
    """Return the tags of a cell: a Python or JSON list, `<a><b>`, or text with `|`, `;`, `,` or line breaks in between.

    Args:
        spaces: a space separates tags too, as in Zendesk.
    """
    text = text.strip()
    if _LIST.fullmatch(text) and (items := _literal(text)) is not None:
        return items
    if _ANGLES.fullmatch(text):
        return re.findall(r"<([^<>]+)>", text)
    if "><" in text:
        return text.strip("<>").split("><")
    if "|" in text:
        return text.split("|")
    if re.search(r"[,;\n]", text):
        return re.split(r"[,;\n]", text)
    return text.split() if spaces else [text]


def separated_by_spaces(cells: Iterable[str]) -> bool:
    """Return whether cells hold several words, all of them written as Zendesk's tags are, and no other separator."""
    several = False
    for cell in cells:
        if _SEPARATORS.search(cell) or _LIST.fullmatch(cell.strip()):
            return False
        words = cell.split()
        if not all(_WORD.fullmatch(word) for word in words):
            return False
        several = several or len(words) > 1
    return several


def _literal(text: str) -> list[str] | None:
    """Items of a list as JSON, Python, numpy or PostgreSQL print it; None for other text in brackets."""
    if _NUMPY.fullmatch(text):  # Python would join 'a' 'b' to 'ab'
        return [single or double for single, double in re.findall(r"'([^']*)'|\"([^\"]*)\"", text)]
    items: object = None
    with suppress(ValueError, RecursionError):
        items = json.loads(text)
    if items is None:
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            items = ast.literal_eval(text)
    if isinstance(items, (list, tuple, set)) and all(isinstance(item, (str, int, float, type(None))) for item in items):
        return [str(item) for item in items if item is not None]
    if text[0] in "[{" and not re.search(r"['\":]", text):  # [a, b] and {a,b}
        return text[1:-1].split(",")
    return None
