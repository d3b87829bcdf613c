"""Tags that an export writes into one cell, in the ways helpdesks have for it."""

import ast
import json
import re
from collections.abc import Iterable
from contextlib import suppress

_LIST = re.compile(r"[\[({].*[\])}]", re.S)
_NUMPY = re.compile(r"\[\s*(?:'[^']*'|\"[^\"]*\")(?:\s+(?:'[^']*'|\"[^\"]*\"))+\s*\]")
_BRACKETS = re.compile(r"(?:\[[^\[\]]+\]\s*){2,}")
_HASHES = re.compile(r"#\w[\w-]*(?:\s+#\w[\w-]*)*")
_QUOTED = re.compile(r"(?:\"[^\"]*\"\s*(?:[,;|]\s*|\Z))+")
_ANGLES = re.compile(r"(?:<[^<>]+>\s*)+")
_SEPARATORS = re.compile(r"[|,;\n•]|><|\s·\s")
_ITEM = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|([^,\"{}]+)")
_POSTGRES = re.compile(rf"\{{(?:{_ITEM.pattern})(?:,(?:{_ITEM.pattern}))*\}}")
_WORD = re.compile(r"[a-z0-9][a-z0-9_./:-]*")


def split_tags(text: str, spaces: bool = False) -> list[str]:
    """Return the tags of a cell: a Python or JSON list, `<a><b>`, `#a #b`, or text with `|`, `;`, `,` or `•` between.

    Args:
        spaces: a space separates tags too, as in Zendesk.
    """
    text = text.strip()
    if _BRACKETS.fullmatch(text):
        return re.findall(r"\[([^\[\]]+)\]", text)
    if _LIST.fullmatch(text) and (items := _literal(text)) is not None:
        return items
    if _QUOTED.fullmatch(text):
        return re.findall(r"\"([^\"]*)\"", text)
    if _HASHES.fullmatch(text):
        return re.findall(r"#([\w-]+)", text)
    if _ANGLES.fullmatch(text):
        return re.findall(r"<([^<>]+)>", text)
    if "><" in text:
        return text.strip("<>").split("><")
    if "|" in text:
        return text.split("|")
    for separators in (r"[,;\n]", r"•|\s·\s"):
        if re.search(separators, text):
            return re.split(separators, text)
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
    """Return items of a list as JSON, Python, numpy or PostgreSQL print it; None for other text in brackets."""
    if _NUMPY.fullmatch(text):  # Python would join 'a' 'b' to 'ab'
        return [single or double for single, double in re.findall(r"'([^']*)'|\"([^\"]*)\"", text)]
    items: object = None
    with suppress(ValueError, RecursionError):
        items = json.loads(text)
    if items is None:
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            as_list = f"[{text[1:-1]}]" if text[0] == "{" else text  # a set has no order
            items = ast.literal_eval(as_list)
    if isinstance(items, (list, tuple)) and all(isinstance(item, (str, int, float, type(None))) for item in items):
        return [str(item) for item in items if item is not None]
    if text[0] in "[{" and not re.search(r"['\":]", text):  # [a, b] and {a,b}
        return text[1:-1].split(",")
    if text[0] == "{" and _POSTGRES.fullmatch(text):
        return [quoted.replace('\\"', '"') or plain for quoted, plain in _ITEM.findall(text[1:-1])]
    return None
