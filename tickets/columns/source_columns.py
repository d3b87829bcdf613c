"""Which columns of a source hold the parts of its tickets and the messages, by its first rows and the options."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tickets.cell_text import as_text
from tickets.columns.choose import ColumnMap, choose_columns
from tickets.columns.column_checks import drop_status_reply, label_candidates, unused_texts
from tickets.columns.tag_text import separated_by_spaces
from tickets.conversations.assemble import ConversationColumns, find_conversations
from tickets.errors import InputError
from tickets.raw import FAILED, RawRow, ReadLog

_SPACED_TAGS = ("zendesk", "trac")  # presets whose tags may have nothing but spaces between them


def sample_fields(source: str, peek: Sequence[RawRow], log: ReadLog) -> list[dict[str, Any]]:
    """Return the fields of the first rows that can be read, of all where none can.

    Raises:
        InputError: no rows, none that can be read, or the answer of a failed request.
    """
    if not peek:
        beside = f", but {', '.join(log.other_lists)} beside it" if log.other_lists else ""
        inside = f" in the {log.inside}" if log.inside else ""
        raise InputError(f"{source}: found {log.nothing}{inside}{beside}; expected tickets; give another file")
    if all(row.fault and row.fault.startswith(FAILED) for row in peek):
        raise InputError(
            f"{source}: found the {peek[0].fault}; expected tickets; check the address, the login and the rights of "
            "the request, and export again"
        )
    if all(row.fault and len(row.fields) <= 1 for row in peek):
        raise InputError(
            f"{source}: found no readable row; line {peek[0].line}: {peek[0].fault}; "
            "expected CSV, TSV, JSONL, JSON or Parquet; export the file again"
        )
    return [row.fields for row in peek if row.fault is None] or [row.fields for row in peek]


def source_columns(
    source: str,
    samples: Sequence[dict[str, Any]],
    preset: str | None,
    maps: Sequence[str],
    keep: Sequence[str] | None,
    log: ReadLog,
) -> tuple[ColumnMap, ConversationColumns]:
    """Return the columns of the parts and of the messages, by header, options and the values of the first rows."""
    header = list(dict.fromkeys(column for fields in samples for column in fields))
    conversations, maps = _conversations(header, samples, maps)
    columns = _find_columns(source, header, samples, preset, maps, keep, conversations.text_column(header), log.inside)
    if conversations.holds(columns.reply):
        columns = replace(columns, reply=None)
    columns = drop_status_reply(columns, samples, log, bool(conversations))
    if columns.reply and "reply" in columns.asked:
        conversations = ConversationColumns()  # the reply asked for is a column of its own
    tag_cells = [as_text(fields.get(columns.tags[0])) for fields in samples] if len(columns.tags) == 1 else []
    columns = replace(columns, tags_by_spaces=columns.preset in _SPACED_TAGS and separated_by_spaces(tag_cells))
    if keep is None and (offered := label_candidates(columns, conversations.holds, samples)):
        log.note(f"Could be labels too: {offered}; --map NAME=COLUMN makes one of them a label.")
    texts = unused_texts(columns, conversations.holds, samples)
    if not columns.body:
        log.note("No column holds the text of the tickets: their headings are all of it; --map body=COLUMN names one.")
    if texts:
        log.note(
            f"Texts that are not used: {texts}; --map body=COLUMN, subject=COLUMN or reply=COLUMN uses one of them."
        )
    return columns, conversations


def _conversations(
    header: Sequence[str], samples: Sequence[dict[str, Any]], maps: Sequence[str]
) -> tuple[ConversationColumns, list[str]]:
    """Return the columns of messages, and the maps but for one that asks to trust them: `reply=comments`."""
    conversations, rest = find_conversations(header, samples), []
    for text in maps:
        name, _, column = (part.strip() for part in text.partition("="))
        trusted = conversations.trust(column) if name == "reply" else None
        if trusted:
            conversations = trusted
        else:
            rest.append(text)
    return conversations, rest


def _find_columns(
    source: str,
    header: Sequence[str],
    samples: Sequence[dict[str, Any]],
    preset: str | None,
    maps: Sequence[str],
    keep: Sequence[str] | None,
    message: str | None,
    inside: str,
) -> ColumnMap:
    """Return the column map that the first rows and the options give; `inside` says what the source consists of."""
    filled = frozenset(n for fields in samples for n, value in fields.items() if as_text(value).strip())
    try:
        columns = choose_columns(header, preset, maps, keep, filled, message)
    except InputError as error:
        raise InputError(f"{source}: {error}{f'; inside: {inside}' if inside else ''}") from None
    guessed = "id" not in columns.asked
    if columns.id and guessed and not columns.id.lower().endswith("id"):  # a number or key has to tell tickets apart
        ids = [as_text(fields.get(columns.id)) for fields in samples]
        if len(set(ids)) < 0.9 * len(ids):
            return replace(columns, id=None)
    return columns
