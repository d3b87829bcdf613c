"""Redaction of whole tickets, counted by kind."""

from collections import Counter
from dataclasses import replace

from tickets.redact.known import Known
from tickets.redact.redactor import Redactor
from tickets.schema import Ticket


class TicketRedactor:
    """Counts the private data in tickets, in `counts`, and replaces it where that is wanted."""

    def __init__(self, redactor: Redactor, replaces: bool) -> None:
        """Replace what `redactor` finds, or only count it."""
        self.redactor, self.replaces = redactor, replaces
        self.counts: Counter[str] = Counter()
        self.tickets = 0  # with any private data

    def redact(self, ticket: Ticket, known: Known) -> Ticket:
        """Return the ticket, with placeholders in its subject, body and reply if they are to be replaced."""
        subject, in_subject = self.redactor.redact(ticket.subject, known)
        body, in_body = self.redactor.redact(ticket.body, known)
        reply, in_reply = self.redactor.redact(ticket.reply, known)
        if not (in_subject or in_body or in_reply):
            return ticket
        self.counts += in_subject + in_body + in_reply
        self.tickets += 1
        return replace(ticket, subject=subject, body=body, reply=reply) if self.replaces else ticket
