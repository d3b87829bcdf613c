"""A cell of any source as text, and what stands for an empty one."""

import json
import re

# What programs write for a cell without a value. What people write for it counts in labels only: see `labels.py`.
_EMPTY = frozenset(
    (
        *("nan", "none", "null", "nil", "nat", "<na>", "na", "n/a", "n.a.", "n. a.", "#n/a", "#na", "#null!", "\\n"),
        *("#ref!", "#value!", "#name?", "#div/0!", "#num!", "undefined", "(null)", "[null]", "<null>", "(none)"),
        *("(empty)", "(blank)", "k.a.", "k. a."),
    )
)
# what a spreadsheet would run at the start of a cell, and, read with `;` or tabs, behind those or a line break
_FORMULA = re.compile(r"(\A|[;\t\r\n])([ \"']*)(?=[=+\-@\t\r\uff0b\uff0d\uff1d\uff20])")
_SIGNS = "-–—_.…/\\~ \t\r\n\xa0"


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


def bare(name: str) -> str:
    """Return the name of a field, or one of its words, as they are compared: without case, spaces, `_` and `-`."""
    return re.sub(r"[\s_-]+", "", name).lower()


def text_or_empty(text: str) -> str:
    """Return the text, or nothing for what stands for none: `nan`, `NULL`, `n/a`, `-` and the like."""
    bare = text.strip() if len(text) > 40 else text.strip().lower()  # a longer text says something
    return "" if bare in _EMPTY or not bare.strip(_SIGNS) else text


def without_formula(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula, whatever it takes for the separator."""
    return _FORMULA.sub(r"\1\2'", text)
