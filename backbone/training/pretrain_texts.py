"""What a small base is trained on: prepared tickets, or the paragraphs of a text file."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from backbone.dataset import data_fingerprint, load_part, resolve_data
from backbone.runs.files import sha256
from tickets.errors import InputError
from tickets.schema import Ticket
from tickets.sources import source_path


@dataclass(frozen=True)
class Texts:
    """Documents of the two parts, and what tells them from others."""

    train: Sequence[Ticket | str]
    validation: Sequence[Ticket | str]
    fingerprint: str


def read_texts(source: str) -> Texts:
    """Read the documents of a source: tickets with replies as chats, or paragraphs of a text file.

    Raises:
        InputError: neither prepared tickets nor plain text, or too little of it.
    """
    path = source_path(source)
    if not path.is_file():
        folder = resolve_data(source)
        return Texts(load_part(folder, "train"), load_part(folder, "validation"), data_fingerprint(folder))
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; expected plain text or a folder of `duet prepare`") from None
    documents = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    held_out = max(1, len(documents) // 20)
    if len(documents) < 10:
        raise InputError(f"{path}: found {len(documents)} documents, expected at least 10 parted by blank lines")
    return Texts(documents[:-held_out], documents[-held_out:], sha256(path))


def plain_texts(texts: Sequence[Ticket | str]) -> Iterator[str]:
    """Yield every text of the documents, of a ticket its parts."""
    for text in texts:
        if isinstance(text, Ticket):
            yield f"Subject: {text.subject}"
            yield text.body
            yield text.reply
        else:
            yield text
