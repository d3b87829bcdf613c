"""What the values of the columns say about the choice: a reply that is a status, columns that look like labels."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tickets.columns import ColumnMap, as_text, next_reply
from tickets.errors import InputError
from tickets.raw import ReadLog

_MOST_STATUSES, _FEWEST_ROWS = 12, 4
_MOST_CLASSES, _FEWEST_LABELLED, _LONGEST_LABEL, _OFFERED = 20, 8, 40, 6
# how the export of `duet serve` says where a row comes from
_CORRECTIONS = {"source", "own_output", "reviewer", "reviewed_at", "model", "draw", "draw_probability", "weight"}
_NO_LABEL = re.compile(r"(?:.*[ _.])?(?:id|ids|date|time|at|on|url|email|mail|phone|name|version|language)", re.I)


def drop_status_reply(
    columns: ColumnMap, samples: Sequence[Mapping[str, Any]], maps: Sequence[str], log: ReadLog
) -> ColumnMap:
    """The columns with a guessed reply that is a status replaced by the next candidate, or by none.

    Raises:
        InputError: the column asked for as the reply holds a handful of short values.
    """
    asked = any(text.partition("=")[0].strip() == "reply" for text in maps)
    while columns.reply and _is_status(values := _values(columns.reply, samples)):
        shown = ", ".join(sorted(set(values), key=values.index)[:4])
        if asked:
            raise InputError(
                f"column {columns.reply!r} holds a handful of short values ({shown}), expected replies; name another "
                "with --map reply=COLUMN or leave that out"
            )
        log.note(f"Column {columns.reply!r} is not taken for the reply: it holds a handful of short values ({shown}).")
        header = dict.fromkeys(name for fields in samples for name in fields)
        columns = replace(columns, reply=next_reply(columns.reply, list(header), columns.preset))
    return columns


def label_candidates(
    columns: ColumnMap, is_message: Callable[[str], bool], samples: Sequence[Mapping[str, Any]]
) -> str:
    """Columns with few different short values that are no part of the ticket, each with their number, as text."""
    used = {columns.body, columns.subject, columns.reply, columns.language, columns.id}
    used |= {*columns.labels.values(), *columns.tags}
    if samples and samples[0].keys() >= _CORRECTIONS:
        used |= _CORRECTIONS
    offered = []
    for name in dict.fromkeys(name for fields in samples for name in fields):
        if name in used or _NO_LABEL.fullmatch(name) or re.search(r"\.\d+(?:\.|$)", name) or is_message(name):
            continue
        values = _values(name, samples)
        different = len(set(values))
        if (
            len(values) >= _FEWEST_LABELLED
            and 2 <= different <= min(_MOST_CLASSES, len(values) // 2)
            and max(map(len, values)) <= _LONGEST_LABEL
        ):
            offered.append(f"{name} ({different} values)")
    more = f" and {len(offered) - _OFFERED} more" if len(offered) > _OFFERED else ""
    return ", ".join(offered[:_OFFERED]) + more


def _is_status(values: Sequence[str]) -> bool:
    """Whether values are few and none is a sentence, as `Done` and `Won't Do` are."""
    different = set(values)
    if len(values) < _FEWEST_ROWS or not len(different) <= min(_MOST_STATUSES, len(values) - 1):
        return False
    return all(len(v.split()) <= 2 or (len(v.split()) <= 4 and v[-1] not in ".!?") for v in different)


def _values(column: str, samples: Sequence[Mapping[str, Any]]) -> list[str]:
    return [text for fields in samples if (text := as_text(fields.get(column)).strip())]
