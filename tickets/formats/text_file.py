"""A ticket from a plain text file or a mail, as `predict` reads it."""

import codecs
import os
import re
import select
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from tickets.cleaning.steps import USUAL, CleaningSteps
from tickets.encodings.charsets import decode_content
from tickets.encodings.utf16 import unmarked_utf16
from tickets.errors import InputError
from tickets.formats.mail import BODY, MAIL, MAILBOX, SUBJECT, is_mail, mail_row
from tickets.raw import ROW_ENDINGS
from tickets.schema import Ticket

_SUBJECT = re.compile(r"\A\s*(?:subject|betreff)[ \t]*:[ \t]*(.*)(?:\r?\n|\Z)", re.IGNORECASE)
STDIN = Path("-")
_BLANK = "found only white space, expected the text of a ticket; write one into it"
_PATIENCE = 1000  # milliseconds
_LONGEST = 1 << 24  # bytes of one ticket; a device has no end


@dataclass(frozen=True)
class TicketText:
    """A ticket as it stands in a file; `name` is its id and names it in errors.

    `doubt` says what is unsure about its encoding.
    """

    name: str
    subject: str
    body: str
    doubt: str = ""

    def ticket(self, cleaning: CleaningSteps = USUAL) -> Ticket:
        """Return the ticket, cleaned as `prepare` does.

        Raises:
            InputError: nothing is left.
        """
        cleaner = cleaning.cleaner()
        cleaner.decide_escapes((self.body,))
        subject = " ".join(cleaner.clean(self.subject, thread=False).split())
        body = cleaner.clean(self.body, subject=self.subject)
        if not subject and not body:
            raise InputError(f"{self.name}: {_BLANK}")
        return Ticket(id=self.name, subject=subject, body=body)


def read_ticket(path: Path, cleaning: CleaningSteps = USUAL) -> Ticket:
    """Return the cleaned ticket in a file, or on stdin for `-`; see `read_text`."""
    return read_text(path).ticket(cleaning)


def read_text(path: Path) -> TicketText:
    """Return the text of a mail or a text file, or of stdin for `-`.

    The subject of a text file is a leading `Subject:` or `Betreff:` line.

    Raises:
        InputError: missing, a table, not text, or blank.
    """
    name = "stdin" if path == STDIN else str(path)
    if path.suffix.lower() in (*ROW_ENDINGS, MAILBOX):
        raise InputError(
            f"{name}: found a file of several tickets by its ending, expected the text of one; answer all of them with "
            f"`duet predict-batch {name} --out answers.jsonl`"
        )
    try:
        content = _content(path)
        if len(content) > _LONGEST:
            raise InputError(f"{name}: over {_LONGEST >> 20} MB, expected a text file with one ticket")
    except OSError as error:
        raise InputError(f"{name}: {error.strerror}; expected a text file with one ticket, or - for stdin") from None
    text = _of_mail(content, name) if path.suffix.lower() == MAIL or is_mail(content) else None
    if text is None:
        decoded, doubt = decode_text(content, name)
        text = replace(split_subject(decoded, name), doubt=doubt)
    if not text.subject.strip() and not text.body.strip():
        raise InputError(f"{name}: {_BLANK}")
    return text


def _of_mail(content: bytes, name: str) -> TicketText:
    row = mail_row(content, 1)
    if row.fault and BODY in row.fields:
        raise InputError(f"{name}: {row.fault}; expected a mail of a person; if it is a ticket, give its text as .txt")
    if row.fault:
        raise InputError(f"{name}: {row.fault}; expected a mail with a subject or a text; save it again as .eml")
    return TicketText(name, row.fields[SUBJECT], row.fields[BODY])


def _content(path: Path) -> bytes:
    """Return the bytes of a file or of stdin, read once; no more than show that they are too many."""
    if path != STDIN:
        if path.is_fifo():
            return _piped(path)
        with path.open("rb") as file:
            return file.read(_LONGEST + 1)
    if sys.stdin is None:
        raise InputError("stdin is closed; expected the text of a ticket there; give a file, or write to stdin")
    return sys.stdin.buffer.read(_LONGEST + 1)


def _piped(path: Path) -> bytes:
    """Return what is written into a pipe, such as that of `<(COMMAND)`; say so where nobody writes for a while."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening would wait for a writer without a word
    with os.fdopen(descriptor, "rb") as file:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        if not waiting.poll(_PATIENCE):
            print(f"{path}: a pipe; waiting until a program writes into it (Ctrl-C ends this)", file=sys.stderr)
            waiting.poll()
        os.set_blocking(descriptor, True)
        return file.read(_LONGEST + 1)


def split_subject(text: str, name: str) -> TicketText:
    """Return a text with its leading `Subject:` or `Betreff:` line apart."""
    match = _SUBJECT.match(text)
    return TicketText(name, match[1], text[match.end() :]) if match else TicketText(name, "", text)


def decode_text(content: bytes, name: str) -> tuple[str, str]:
    """Return the text of UTF-8, UTF-16 or what the letters fit, and what is unsure about that.

    Raises:
        InputError: binary data.
    """
    wide = "utf-32" if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) else unmarked_utf16(content)
    text, doubt = decode_content(content) if wide is None else (content.decode(wide, "replace"), "")
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise InputError(f"{name}: found binary data, expected plain text (UTF-8); save the ticket as a text file")
    return text, doubt and f"{doubt}; save it as UTF-8 if that is wrong"
