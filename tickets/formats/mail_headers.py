"""Headers of mails as text: raw bytes and encoded words in whatever charset they name, or fit."""

import binascii
import re
from email.message import EmailMessage

from tickets.encodings.charsets import decode_content

_WORD = re.compile(r"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,20})?\?([bq])\?([^?]{0,4000})\?=", re.I)


def header_text(message: EmailMessage, name: str) -> str:
    """Return a header on one line; empty where the mail has none. It is decoded here because parsers refuse a lot."""
    raw = next((str(value) for key, value in message.raw_items() if key.lower() == name.lower()), "")
    text, _ = decode_content(raw.encode("utf-8", "surrogateescape"))
    return " ".join((_decoded_words(text) if "=?" in text else text).split())


def _decoded_words(text: str) -> str:
    """Decode encoded words; neighbours in one charset are joined first, because programs cut characters in two."""
    pieces: list[str] = []
    charset, waiting, at = "", b"", 0
    for match in _WORD.finditer(text):
        content = _bytes_of(match[2], match[3])
        if content is None:
            continue
        gap = text[at : match.start()]
        if waiting and not gap.strip() and match[1].lower() == charset:
            waiting += content
        else:
            pieces.append(decode_content(waiting, charset)[0])
            pieces.append("" if waiting and not gap.strip() else gap)
            charset, waiting = match[1].lower(), content
        at = match.end()
    return "".join([*pieces, decode_content(waiting, charset)[0], text[at:]])


def _bytes_of(kind: str, word: str) -> bytes | None:
    content = word.encode("utf-8")
    if kind.lower() == "q":
        return binascii.a2b_qp(content, header=True)
    try:
        return binascii.a2b_base64(content + b"==")
    except binascii.Error:
        return None
