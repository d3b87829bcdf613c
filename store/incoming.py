"""Tickets as they arrive: each is stored once, and can be erased."""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from store import audit
from store.database import Database
from store.ids import new_id
from store.tables import ERASED, WAITING, cards, deliveries, jobs, outbox, predictions, reviews, skipped, tickets
from tickets.schema import Ticket


@dataclass(frozen=True)
class Incoming:
    """A ticket with where it came from.

    Attributes:
        external_id: its name there.
        fields: what its fields held when it came, by the helpdesk's name of the field; None where that is unknown.
    """

    source: str
    external_id: str
    ticket: Ticket
    fields: Mapping[str, Any] | None = None

    @property
    def content_sha(self) -> str:
        """SHA-256 of what the ticket says: a changed ticket is a new one."""
        text = f"{self.ticket.subject}\x00{self.ticket.body}"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def without_nul(text: str) -> str:
    """Return the text without NUL characters, which PostgreSQL cannot store, and without lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def add_ticket(connection: Connection, incoming: Incoming) -> tuple[str, bool]:
    """Store a ticket; return its id and whether it is new.

    A ticket without an `external_id` gets its own id as that.
    """
    ticket_id = new_id()
    ticket = incoming.ticket
    row = {
        "id": ticket_id,
        "source": incoming.source,
        "external_id": incoming.external_id or ticket_id,
        "content_sha": incoming.content_sha,
        "subject": ticket.subject,
        "body": ticket.body,
        "language": ticket.language,
        "received_at": time.time(),
        "review_version": 0,
        "status": WAITING,
        "fields": dict(incoming.fields) if incoming.fields is not None else None,
    }
    if _insert_new(connection, tickets, row):
        return ticket_id, True
    same = (
        (tickets.c.source == row["source"])
        & (tickets.c.external_id == row["external_id"])
        & (tickets.c.content_sha == row["content_sha"])
    )
    return str(connection.execute(select(tickets.c.id).where(same)).scalar_one()), False


def add_delivery(connection: Connection, hook: str, delivery_id: str) -> bool:
    """Remember a webhook's delivery; False where it came before."""
    row = {"hook": hook, "delivery_id": delivery_id, "received_at": time.time()}
    return _insert_new(connection, deliveries, row)


def get_ticket(connection: Connection, ticket_id: str) -> Row[Any] | None:
    """Return the row of a ticket; None where there is none."""
    return connection.execute(select(tickets).where(tickets.c.id == ticket_id)).first()


def current_prediction(connection: Connection, ticket: Row[Any]) -> Row[Any] | None:
    """Return the current prediction of a ticket's row; None until it is answered."""
    return connection.execute(select(predictions).where(predictions.c.id == ticket.prediction_id)).first()


def to_ticket(row: Row[Any] | Mapping[str, Any]) -> Ticket:
    """Return the ticket of a stored row."""
    columns = row if isinstance(row, Mapping) else row._mapping
    return Ticket(str(columns["id"]), str(columns["subject"]), str(columns["body"]), str(columns["language"]))


def count_by_status(connection: Connection) -> dict[str, int]:
    """Return how many tickets have each status."""
    rows = connection.execute(select(tickets.c.status, func.count()).group_by(tickets.c.status))
    return {str(status): int(count) for status, count in rows}


def erase_ticket(database: Database, ticket_id: str, actor: str) -> bool:
    """Empty everything that holds text of a ticket; its counts stay. False where there is no such ticket."""
    with database.write() as connection:
        row = get_ticket(connection, ticket_id)
        if row is None:
            return False
        if row.status != ERASED:
            gone = {"subject": "", "body": "", "fields": None, "external_id": ticket_id}
            gone["content_sha"] = f"erased {ticket_id}"
            connection.execute(
                update(tickets).where(tickets.c.id == ticket_id).values(**gone, status=ERASED, erased_at=time.time())
            )
            connection.execute(update(predictions).where(predictions.c.ticket_id == ticket_id).values(reply=None))
            connection.execute(update(reviews).where(reviews.c.ticket_id == ticket_id).values(reply=None, reason=""))
            for table in (outbox, cards, skipped, jobs):
                connection.execute(table.delete().where(table.c.ticket_id == ticket_id))
            audit.record(connection, actor, "erase", ticket_id)
    database.empty_log()
    return True


def _insert_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row where no other has its unique columns; whether it was inserted."""
    first = next(iter(table.primary_key.columns))
    if connection.dialect.name == "postgresql":
        statement: Any = postgresql.insert(table).values(**row).on_conflict_do_nothing().returning(first)
    else:
        statement = sqlite.insert(table).values(**row).on_conflict_do_nothing().returning(first)
    return connection.execute(statement).first() is not None
