"""A ticket from a plain text file, as `predict` reads it."""

import re
import sys
from pathlib import Path

from tickets.cleaning import Cleaner
from tickets.errors import InputError
from tickets.schema import Ticket

_SUBJECT = re.compile(r"\A\s*(?:subject|betreff)[ \t]*:[ \t]*(.*)(?:\r?\n|\Z)", re.IGNORECASE)
STDIN = Path("-")


def read_ticket(path: Path) -> Ticket:
    """The ticket in a UTF-8 text file, or on stdin for `-`; the subject is a leading `Subject:` or `Betreff:` line.

    Raises:
        InputError: missing, not text, or blank.
    """
    name = "stdin" if path == STDIN else str(path)
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}; expected a text file with one ticket, or - for stdin") from None
    return parse_ticket(decode_text(content, name), name)


def parse_ticket(text: str, name: str) -> Ticket:
    """Return the ticket in `text`, cleaned as `prepare` does; `name` is its id and names it in errors."""
    match = _SUBJECT.match(text)
    subject, body = (match[1], text[match.end() :]) if match else ("", text)
    cleaner = Cleaner(escapes=None)
    cleaner.decide_escapes((body,))
    subject, body = " ".join(cleaner.clean(subject, thread=False).split()), cleaner.clean(body)
    if not subject and not body:
        raise InputError(f"{name}: found only white space, expected the text of a ticket; write one into it")
    return Ticket(id=name, subject=subject, body=body)


def decode_text(content: bytes, name: str) -> str:
    """Text of UTF-8, UTF-16 with a byte-order mark, or Windows-1252 bytes.

    Raises:
        InputError: binary data.
    """
    encodings = ["utf-16"] if content.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise InputError(f"{name}: found binary data, expected plain text (UTF-8); save the ticket as a text file")
