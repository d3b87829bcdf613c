"""Mails that no person wrote: automatic replies and reports of mail servers, by their headers and subjects.

What a machine sends unasked, such as an alert (`Auto-Submitted: auto-generated`), may be a ticket.
"""

import re
from email.message import EmailMessage

from tickets.conversations.automatic_messages import is_automatic_mail
from tickets.formats.mail_headers import header_text

AUTOMATIC, UNDELIVERED = "automatic reply", "report of a mail server"
_FLAGS = ("X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Autoreply-From", "X-Mail-Autoreply", "X-AutoReply-From")
_NO = frozenset(("", "no", "false", "0", "none"))
_PRECEDENCES = frozenset(("auto_reply", "auto-reply", "autoreply", "bulk", "junk"))
_SERVER = re.compile(r"mailer[-_ ]?daemon|mail delivery (?:sub)?system", re.I)


def automatic_kind(message: EmailMessage, subject: str, text: str) -> str:
    """Return why a mail is no ticket, with the header that says so; empty for one that a person may have written."""
    report = _report(message)
    if report:
        return f"{UNDELIVERED}: {report}"
    header = _reply_header(message)
    if header:
        return f"{AUTOMATIC}: {header}"
    return f"{AUTOMATIC}: Subject: {subject}" if is_automatic_mail(subject, text) else ""


def _report(message: EmailMessage) -> str:
    """Return what shows that a server reports a failed delivery, a receipt or a complaint."""
    if message.get_content_type() == "multipart/report":
        return "multipart/report"
    sender = header_text(message, "From")
    if _SERVER.search(sender):
        return f"From: {sender}"
    return "X-Failed-Recipients" if header_text(message, "X-Failed-Recipients") else ""


def _reply_header(message: EmailMessage) -> str:
    """Return the header by which a mail is an automatic reply; posts of a mailing list are bulk mail of people."""
    submitted = header_text(message, "Auto-Submitted")
    if submitted.lower().startswith("auto-replied"):
        return f"Auto-Submitted: {submitted}"
    for name in _FLAGS:
        value = header_text(message, name)
        if value.lower() not in _NO:
            return f"{name}: {value}"
    for name in ("Precedence", "X-Precedence"):
        value = header_text(message, name)
        if value.lower() in _PRECEDENCES and not (value.lower() == "bulk" and header_text(message, "List-Post")):
            return f"{name}: {value}"
    return "Return-Path: <>" if "".join(header_text(message, "Return-Path").split()) == "<>" else ""
