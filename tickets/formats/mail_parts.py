"""The text of a mail from its parts, and the names of what is attached and not in the text.

Mail programs cut a text in several parts around its pictures, send a plain part that only says that there is an HTML
part, and attach the mail or the text that matters.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import Any

from tickets.cleaning.clean import strip_html
from tickets.cleaning.quotes import strip_quotes
from tickets.cleaning.signatures import cut_signatures
from tickets.encodings.charsets import codec_of, decode_content, html_charset
from tickets.formats.mail_headers import header_text

_SPARSE = 200  # characters of an own text below which what is attached is what matters
_LONGEST_ATTACHED = 10_000  # characters of an attached text; longer ones are logs
_DEEPEST = 5  # mails attached to each other
_STUB_WORDS = 60  # of a plain part that only points to the HTML part, at most
_SAME, _COMPARED = 0.8, 4  # share of words by which two parts are the same text, and parts that are compared
_WORDS = re.compile(r"\w+")
_MAIL, _MAIL_NAME, _TEXT_NAMES = "message/rfc822", ".eml", (".txt", ".log", ".md", ".text")
_TEXTS = ("text/plain", "text/html")
_SEALS = frozenset(("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"))


@dataclass
class _Found:
    """Texts of a mail in their order, with whether each is HTML, and the parts that are attached."""

    texts: list[tuple[str, bool]] = field(default_factory=list)
    attached: list[Any] = field(default_factory=list)


def mail_text(message: Any, depth: int = 0) -> tuple[str, tuple[str, ...]]:
    """Return the text of a mail and the names of attachments that are not in it.

    It is the plain text, or the HTML where there is none. Behind a short one come mails and texts that are attached.
    """
    found = _Found()
    if str(message.get_content_type()) in _TEXTS:  # whatever its header says of a file name
        found.texts.append((_decoded(message), message.get_content_type() == _TEXTS[1]))
    else:
        _collect(message, found)
    text, left_out = _joined(found.texts), []
    sparse = bool(found.attached) and len(cut_signatures(strip_quotes(strip_html(text))).strip()) < _SPARSE
    for part in found.attached:
        name = _file_name(part)
        inside = _attached_text(part, name, depth) if sparse and depth < _DEEPEST else ""
        if inside:
            text += f"\n\n{inside}"
        elif name:
            left_out.append(name)
    return text, tuple(left_out)


def _collect(part: Any, found: _Found) -> None:
    """Put the texts and attachments of a part and of those inside it into `found`."""
    kind = str(part.get_content_type())
    children = part.get_payload() if part.is_multipart() and kind.startswith("multipart/") else []
    if kind == "multipart/alternative" and children:
        _collect_alternative(children, found)
    elif kind in ("multipart/related", "multipart/signed") and children:
        _collect(children[0], found)
        found.attached += [child for child in children[1:] if _is_mail(child)]
    elif children:
        for child in children:
            _collect(child, found)
    elif _is_attached(part) or part.is_multipart():
        if kind not in _SEALS and not kind.startswith("message/delivery"):
            found.attached.append(part)
    elif kind in _TEXTS or kind.startswith("multipart/"):  # one without parts is a text, too
        text = _decoded(part)
        if text.strip():
            found.texts.append((text, kind == "text/html"))
    elif _file_name(part):
        found.attached.append(part)


def _collect_alternative(children: Sequence[Any], found: _Found) -> None:
    """Take the plain one of several versions of a text; the HTML one where the plain one only points to it."""
    versions = []
    for child in children:
        inner = _Found()
        _collect(child, inner)
        found.attached += inner.attached
        versions.append(inner.texts)
    plain = next((texts for texts in versions if texts and not any(is_html for _, is_html in texts)), [])
    html = next((texts for texts in reversed(versions) if any(is_html for _, is_html in texts)), [])
    found.texts += html if html and (not plain or _is_stub(_joined(plain), _joined(html))) else plain


def _is_stub(plain_text: str, html: str) -> bool:
    """Return whether a plain part says little, and nothing of what the HTML part says."""
    said, meant = _WORDS.findall(plain_text.lower()), _WORDS.findall(strip_html(html).lower())
    return len(said) <= _STUB_WORDS and len(meant) > len(said) and _shared(said, frozenset(meant)) < 1 - _SAME


def _shared(words: Sequence[str], known: frozenset[str]) -> float:
    """Return the share of words that are among others."""
    return sum(word in known for word in words) / len(words) if words else 0.0


def _joined(texts: Sequence[tuple[str, bool]]) -> str:
    """Join the texts of a mail; of a plain one and the same as HTML, the first."""
    if len(texts) == 1:
        return texts[0][0]
    kept: list[tuple[str, bool, frozenset[str]]] = []
    for text, is_html in texts:
        words = _WORDS.findall((strip_html(text) if is_html else text).lower())
        same = any(other != is_html and _shared(words, known) >= _SAME for _, other, known in kept[-_COMPARED:])
        if not same:
            kept.append((text, is_html, frozenset(words)))
    return "\n\n".join(text.strip("\r\n") for text, _, _ in kept)


def _is_mail(part: Any) -> bool:
    return str(part.get_content_type()) == _MAIL or _file_name(part).lower().endswith(_MAIL_NAME)


def _is_attached(part: Any) -> bool:
    disposition = ""
    with suppress(Exception):  # the library's parsers of headers raise whatever they raise
        disposition = str(part.get_content_disposition() or "")
    return disposition == "attachment" or (bool(_file_name(part)) and part.get_content_type() != "text/html")


def _file_name(part: Any) -> str:
    """Return the name of an attachment: of its file, or the subject of a mail."""
    name = ""
    with suppress(Exception):  # as above
        name = " ".join(str(part.get_filename() or "").split())
    if not name and str(part.get_content_type()) == _MAIL:
        inner = part.get_payload()
        subject = header_text(inner[0], "Subject") if isinstance(inner, list) and inner else ""
        name = f"{subject or 'mail'}{_MAIL_NAME}"
    return name


def _attached_text(part: Any, name: str, depth: int) -> str:
    """Return an attached mail or short text, as mail programs write one into the text; empty for other files."""
    if _is_mail(part):
        payload = part.get_payload()
        inner = payload[0] if isinstance(payload, list) and payload else _as_message(part)
        head = "".join(f"{header}: {header_text(inner, header)}\n" for header in ("From", "To", "Subject"))
        text, _ = mail_text(inner, depth + 1)
        return f"---------- Forwarded message ---------\n{head}\n{text}"
    if str(part.get_content_type()) != "text/plain" and not name.lower().endswith(_TEXT_NAMES):
        return ""
    text = _decoded(part).strip()
    return f"{name}:\n{text}" if text and len(text) <= _LONGEST_ATTACHED and "\x00" not in text else ""


def _as_message(part: Any) -> Any:
    return message_from_bytes(part.get_payload(decode=True) or b"", policy=policy.default)


def _decoded(part: Any) -> str:
    """Return the text of a part in its charset, in what an HTML page names itself, or in what its bytes fit."""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    label = part.get_content_charset()
    if part.get_content_type() == "text/html" and (label in (None, "us-ascii") or codec_of(label) is None):
        label = html_charset(payload)
        label = None if label and (codec_of(label) or "").startswith("utf-16") else label
    text = decode_content(payload, label)[0]
    if str(part.get_param("format", "")).lower() == "flowed":
        return _unwrapped(text, drops_space=str(part.get_param("delsp", "")).lower() == "yes")
    return text


def _unwrapped(text: str, drops_space: bool) -> str:
    """Return a text without the line breaks that a mail program has put in it: those behind a space (RFC 3676).

    Quoted lines stay as they are, and so does the line above a signature, which ends in a space too.
    """
    lines: list[str] = []
    joins = False
    for line in text.splitlines():
        own = line.removeprefix(" ")
        is_fixed = line.startswith(">") or own == "-- "
        if joins and not is_fixed:
            lines[-1] += own
        else:
            lines.append(own)
        joins = own.endswith(" ") and not is_fixed
        if joins and drops_space:
            lines[-1] = lines[-1][:-1]
    return "\n".join(lines)
