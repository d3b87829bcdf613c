"""What the values of the columns say about the choice: a reply that is a status, columns that look like labels."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tickets.cell_text import as_text, text_or_empty
from tickets.columns.choose import ColumnMap, next_reply
from tickets.errors import InputError
from tickets.raw import ReadLog

_MOST_STATUSES, _FEWEST_ROWS = 12, 4
_MOST_CLASSES, _FEWEST_LABELLED, _LONGEST_LABEL, _OFFERED = 20, 8, 40, 6
# how the export of `duet serve` says where a row comes from
_CORRECTIONS = {"source", "own_output", "reviewer", "reviewed_at", "model", "draw", "draw_probability", "weight"}
_FEWEST_WORDS = 4  # of a text
_LOOKED_AT, _COMPARED, _SAME = 50, 200, 25  # rows and characters by which a copy is known
_INNER_TEXT = re.compile(
    r"([^.]+(?:\.[^.\d][^.]*)*)\.\d+\.(?:plain_body|body|body_text|text|content|message|comment|note|summary)"
)
_MARKUP = re.compile(r"html", re.I)  # the same text once more
_LONGEST_DATA = 40
_DATE_WORDS = re.compile(
    r"\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mär|mai|okt|dez|mon|tue|wed|thu|fri|sat|sun)\w*|"
    r"\b(?:am|pm|uhr|utc|gmt|cet|cest|h|hrs?|hours?|min|mins|minutes?|s|sec|seconds?|d|days?|w|weeks?|std|stunden?|"
    r"tage?|eur|usd)\b|(?<=\d)[a-z]{1,3}\b",
    re.I,
)
_NO_LABEL = re.compile(  # numbers and dates, and who asked: a name is private
    r"(?:.*[ _.])?(?:id|ids|date|time|at|on|url|email|mail|phone|name|version|language|request[eo]rs?|reporter|customer"
    r"|caller|contact|author|creator|sender|from|submitter|company|kunde|kundin|melder|absender|ersteller|anrufer|firma"
    r"|demandeur|solicitante|cliente|richiedente|aanvrager|klant)",
    re.I,
)


def drop_status_reply(
    columns: ColumnMap, samples: Sequence[Mapping[str, Any]], log: ReadLog, has_messages: bool = False
) -> ColumnMap:
    """Return the columns with a guessed reply that is a status or a date replaced by the next candidate, or by none.

    Args:
        has_messages: the source has a conversation too, so that a few words are no reply however few rows there are.

    Raises:
        InputError: the column asked for as the reply holds a handful of short values, or dates or numbers.
    """
    while columns.reply:
        values = _values(columns.reply, samples)
        is_status = _is_status(values) or (has_messages and "reply" not in columns.asked and _are_words(values))
        found = "a handful of short values" if is_status else "dates or numbers" if _is_no_text(values) else ""
        if not found:
            break
        shown = ", ".join(sorted(set(values), key=values.index)[:4])
        if "reply" in columns.asked:
            raise InputError(
                f"column {columns.reply!r} holds {found} ({shown}), expected replies; name another "
                "with --map reply=COLUMN or leave that out"
            )
        log.note(f"Column {columns.reply!r} is not taken for the reply: it holds {found} ({shown}).")
        header = dict.fromkeys(name for fields in samples for name in fields)
        columns = replace(columns, reply=next_reply(columns.reply, list(header), columns.preset))
    return columns


def label_candidates(
    columns: ColumnMap, is_message: Callable[[str], bool], samples: Sequence[Mapping[str, Any]]
) -> str:
    """Return the columns with few different short values that are no part of the ticket, with their number, as text."""
    used = set(columns.used) - {columns.created}
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


def unused_texts(columns: ColumnMap, is_message: Callable[[str], bool], samples: Sequence[Mapping[str, Any]]) -> str:
    """Return the columns with texts that are no part of the ticket, as text."""
    unused = []
    taken = [(columns.text("body", fields)[1], columns.text("subject", fields)[1]) for fields in samples]
    for name in dict.fromkeys(name for fields in samples for name in fields):
        if name in columns.used or is_message(name) or _MARKUP.search(name):
            continue
        if re.search(r"\.\d+(?:\.|$)", name):
            if (inner := _INNER_TEXT.fullmatch(name)) and inner[1] not in unused and _has_texts(name, samples):
                unused.append(inner[1])
            continue
        values = _values(name, [fields for fields, used in zip(samples, taken, strict=True) if name not in used])
        long = sum(len(value.split()) >= _FEWEST_WORDS for value in values)
        is_text = long >= max(2, len(values) / 2) and len(set(values)) > len(values) / 2
        if is_text and not _is_copy(name, samples[:_LOOKED_AT]):
            unused.append(name)
    more = f" and {len(unused) - _OFFERED} more" if len(unused) > _OFFERED else ""
    return ", ".join(unused[:_OFFERED]) + more


def _has_texts(name: str, samples: Sequence[Mapping[str, Any]]) -> bool:
    return any(len(value.split()) >= _FEWEST_WORDS for value in _values(name, samples))


def _is_copy(name: str, samples: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether another column begins with the same text in most rows: a preview, or the text as HTML."""
    rows = [fields for fields in samples if as_text(fields.get(name)).strip()]
    copies = 0
    for fields in rows:
        start = _bare(as_text(fields[name]))
        others = (value for other, value in fields.items() if other != name and isinstance(value, str))
        copies += any(_bare(value).startswith(start) for value in others)
    return copies > len(rows) / 2


def _bare(text: str) -> str:
    """Return the first letters of a text without tags and spaces."""
    return re.sub(r"<[^<>]*>|[\s.…]+", "", text[:_COMPARED])[:_SAME]


def _is_no_text(values: Sequence[str]) -> bool:
    """Return whether nearly all values are dates, numbers, durations or the like, and none of them a sentence."""
    return len(values) >= _FEWEST_ROWS and sum(map(_is_data, values)) >= 0.9 * len(values)


def _is_data(value: str) -> bool:
    """Return whether a value has digits, and hardly a word that is not part of a date or a number."""
    if len(value) > _LONGEST_DATA or not any(character.isdigit() for character in value):
        return False
    return sum(map(len, re.findall(r"[^\W\d_]+", _DATE_WORDS.sub(" ", value)))) <= 4


def _is_status(values: Sequence[str]) -> bool:
    """Return whether values are few and none is a sentence, as `Done` and `Won't Do` are."""
    different = set(values)
    if len(values) < _FEWEST_ROWS or not len(different) <= min(_MOST_STATUSES, len(values) - 1):
        return False
    return all(len(v.split()) <= 2 or (len(v.split()) <= 4 and v[-1] not in ".!?") for v in different)


def _are_words(values: Sequence[str]) -> bool:
    """Return whether values are words such as `FIXED`, and none a sentence."""
    return bool(values) and all(len(value.split()) <= 2 and value[-1] not in ".!?" for value in values)


def _values(column: str, samples: Sequence[Mapping[str, Any]]) -> list[str]:
    return [text for fields in samples if (text := text_or_empty(as_text(fields.get(column))).strip())]
