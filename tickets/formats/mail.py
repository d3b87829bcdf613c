"""Mails as files: `.eml` and `.mbox`, read with the standard library.

Mails break rules: undeclared or wrong charsets, headers that no parser likes, bodies that end early. What can be read
is read; a mail without any text becomes a row with a fault.
"""

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from tickets.formats.automatic_mails import automatic_kind
from tickets.formats.mail_headers import header_text
from tickets.formats.mail_parts import mail_text
from tickets.raw import RAW, RAW_LENGTH, RawRow

MAIL, MAILBOX = ".eml", ".mbox"
SUBJECT, BODY, SENDER, ATTACHMENTS = "Subject", "Body", "From", "Attachments"

_HEADER = re.compile(rb"([A-Za-z][A-Za-z0-9-]{1,60}):[ \t\r\n]")
_MACHINE_MADE = frozenset((b"message-id", b"received", b"mime-version", b"return-path"))  # a pasted header has none
_SENDER_AND = rb"From (?:\S+|\"[^\"\n]{0,200}\"\S*) "
_SEPARATOR = re.compile(  # as the C library writes dates, with or without a time zone
    _SENDER_AND
    + rb" ?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? [A-Z][a-z]{2} [ \d]?\d"
    + rb"(?: \d\d:\d\d(?::\d\d)?(?: [\w+:-]{1,9}){0,2})? \d{4}"
)
_LIKE_SEPARATOR = re.compile(_SENDER_AND + rb".{0,40}\d\d:\d\d.{0,40}\d{4}")  # with another date, or a sentence
_LONGEST = 1 << 26  # bytes of a mail; no server takes more
_ESCAPED = re.compile(rb"^>(>*From )", re.M)


def is_mail(start: bytes) -> bool:
    """Return whether a file begins with the header of a mail."""
    names = set()
    for line in start.split(b"\n")[:60]:
        if not line.strip():
            break
        match = _HEADER.match(line + b"\n")
        if match:
            names.add(match[1].lower())
        elif not line.startswith((b" ", b"\t")):
            return False
    return b"from" in names and not _MACHINE_MADE.isdisjoint(names)


def is_mailbox(start: bytes) -> bool:
    """Return whether a file begins with the line that separates the mails of an mbox."""
    first, _, rest = start.partition(b"\n")
    return _separates(first, rest.partition(b"\n")[0] + b"\n", blank=True)


def _separates(line: bytes, following: bytes, blank: bool) -> bool:
    """Return whether a line separates mails: by its date, by an empty line above it and by the header of a mail below.

    Two of the three are enough, because programs leave each of them out; `From tomorrow at 10:00` has but one.
    """
    signs = _SEPARATOR.match(line) is not None, blank, _HEADER.match(following) is not None
    return sum(signs) >= 2 and (signs[0] or _LIKE_SEPARATOR.match(line) is not None)


def read_mail_file(path: Path) -> Iterator[RawRow]:
    """Yield the row of one mail."""
    with path.open("rb") as file:
        yield mail_row(file.read(_LONGEST + 1), 1)


def read_mailbox(path: Path) -> Iterator[RawRow]:
    """Yield a row for every mail of an mbox file."""
    with path.open("rb") as lines:
        collected: list[bytes] = []
        first, size, blank = 1, 0, True
        pieces = iter(partial(lines.readline, _LONGEST), b"")
        for number, (line, following) in enumerate(pairwise(chain(pieces, [b""])), start=1):
            if line.startswith(b"From ") and _separates(line, following, blank):
                if collected:
                    yield _boxed_row(collected, first)
                collected, first, size = [], number, 0
            elif size <= _LONGEST:  # what is longer is set aside
                collected.append(line)
                size += len(line)
            blank = not line.strip()
        if collected or first > 1:
            yield _boxed_row(collected, first)


def _boxed_row(lines: list[bytes], first: int) -> RawRow:
    return mail_row(_ESCAPED.sub(rb"\1", b"".join(lines)), first)


def mail_row(content: bytes, line: int) -> RawRow:
    """Return the row of a mail: id, subject, body, sender, date, and labels where a mail service wrote some."""
    raw = {RAW: content[:RAW_LENGTH].decode("utf-8", "replace")}
    if len(content) > _LONGEST:
        return RawRow(line, raw, f"mail too long: over {_LONGEST >> 20} MB")
    try:
        message = message_from_bytes(content.lstrip(b"\r\n"), policy=policy.default)
        fields = _fields(message)
    except Exception as error:  # the library raises whatever its parsers of headers raise
        return RawRow(line, raw, f"not a mail that can be read: {type(error).__name__}")
    if not fields[SUBJECT] and not fields[SENDER] and not fields["Date"]:
        return RawRow(line, raw, "not a mail: found no header with From, Subject or Date")
    if not fields[BODY].strip() and not fields[SUBJECT].strip():
        return RawRow(line, raw, "no text")
    return RawRow(line, fields, automatic_kind(message, fields[SUBJECT], fields[BODY]) or None)


def _fields(message: EmailMessage) -> dict[str, Any]:
    text, left_out = mail_text(message)
    fields = {
        "id": header_text(message, "Message-ID").strip("<> "),
        SUBJECT: header_text(message, "Subject"),
        BODY: text,
        SENDER: header_text(message, "From"),
        "Date": header_text(message, "Date"),
    }
    if labels := header_text(message, "X-Gmail-Labels"):
        fields["tags"] = labels
    if left_out:
        fields[ATTACHMENTS] = ", ".join(left_out)
    return fields
