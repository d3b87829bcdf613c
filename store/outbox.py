"""What is to be written back to helpdesks: kept until it is sent, tried again with growing pauses.

A row says how a ticket should look at the helpdesk. A newer row of a ticket replaces those that have not been sent.
"""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from store.database import Database
from store.ids import new_id
from store.tables import GIVEN_UP, REPLACED, SENT, TO_SEND, outbox, tickets

MAX_ATTEMPTS = 18  # the last one about a day after the first
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 4 * 3600.0
_HELD_SECONDS = 600.0  # by the sender that has taken it: longer than all calls for one ticket take


@dataclass(frozen=True)
class Outgoing:
    """Something to send: to which helpdesk, about which ticket, and what."""

    id: str
    helpdesk: str
    ticket_id: str
    payload: Mapping[str, Any]
    attempts: int


def put(connection: Connection, helpdesk: str, ticket_id: str, payload: Mapping[str, Any]) -> None:
    """Queue something to send, in place of what was queued for the ticket before and not sent."""
    now = time.time()
    replace_unsent(connection, ticket_id)
    row = {"id": new_id(), "helpdesk": helpdesk, "ticket_id": ticket_id, "payload": dict(payload)}
    connection.execute(insert(outbox).values(**row, state=TO_SEND, attempts=0, next_at=now, created_at=now))


def replace_unsent(connection: Connection, ticket_id: str) -> None:
    """Do not send what waits for a ticket, or was given up: something newer holds."""
    unsent = (outbox.c.ticket_id == ticket_id) & outbox.c.state.in_((TO_SEND, GIVEN_UP))
    connection.execute(update(outbox).where(unsent).values(state=REPLACED))


def withdraw_review(connection: Connection, ticket_id: str) -> None:
    """Do not send a review that was taken back; the answer that it replaced waits again, unless something was sent."""
    rows = connection.execute(select(outbox).where(outbox.c.ticket_id == ticket_id).order_by(outbox.c.id)).all()
    replace_unsent(connection, ticket_id)
    answers = [row for row in rows if not row.payload.get("reviewed")]
    if answers and not any(row.state == SENT for row in rows):
        values = {"state": TO_SEND, "next_at": time.time()}
        connection.execute(update(outbox).where(outbox.c.id == answers[-1].id).values(**values))


def last_written(connection: Connection, helpdesk: str, external_id: str) -> Mapping[str, Any]:
    """Return what was written about a helpdesk's ticket last: `labels` by column, and `reply`; empty before the first.

    Labels of earlier writings count where later ones left a column out.
    """
    sent = (
        select(outbox.c.payload)
        .join(tickets, tickets.c.id == outbox.c.ticket_id)
        .where(outbox.c.helpdesk == helpdesk, tickets.c.external_id == external_id, outbox.c.state == SENT)
        .order_by(outbox.c.id)
    )
    labels: dict[str, str] = {}
    reply = None
    for payload in connection.execute(sent).scalars():
        written = payload.get("written") or {}
        labels |= written.get("labels") or {}
        reply = written.get("reply") or reply
    return {"labels": labels, "reply": reply}


def take(database: Database) -> Outgoing | None:
    """Take the oldest entry that is due; where the sender dies, it is due again after some minutes."""
    now = time.time()
    due = (
        select(outbox)
        .where(outbox.c.state == TO_SEND, outbox.c.next_at <= now)
        .order_by(outbox.c.created_at, outbox.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    with database.write() as connection:
        row = connection.execute(due).first()
        if row is None:
            return None
        values = {"next_at": now + _HELD_SECONDS, "attempts": row.attempts + 1}
        connection.execute(update(outbox).where(outbox.c.id == row.id).values(**values))
    return Outgoing(row.id, row.helpdesk, row.ticket_id, row.payload, row.attempts + 1)


def mark_sent(database: Database, item: Outgoing, written: Mapping[str, Any], note: str | None = None) -> None:
    """Note that it arrived: `written` holds its `labels` and `reply`; `note` says what was left out and why."""
    values = {"state": SENT, "error": note, "payload": {**item.payload, "written": dict(written)}}
    with database.write() as connection:
        connection.execute(update(outbox).where(outbox.c.id == item.id).values(**values))


def mark_failed(database: Database, item: Outgoing, error: str, final: bool = False, after: float = 0.0) -> None:
    """Note that it did not arrive: try again after so many seconds at the earliest, or give up where that is final."""
    pause = min(_FIRST_PAUSE * 2 ** (item.attempts - 1), _LONGEST_PAUSE) * random.uniform(0.75, 1.25)
    given_up = final or item.attempts >= MAX_ATTEMPTS
    values = {"state": GIVEN_UP if given_up else TO_SEND, "next_at": time.time() + max(pause, after), "error": error}
    waiting = (outbox.c.id == item.id) & (outbox.c.state == TO_SEND)  # or something newer has replaced it
    with database.write() as connection:
        connection.execute(update(outbox).where(waiting).values(**values))


def retry_given_up(database: Database) -> int:
    """Try again what was given up; return how many."""
    with database.write() as connection:
        values = {"state": TO_SEND, "attempts": 0, "next_at": time.time()}
        return connection.execute(update(outbox).where(outbox.c.state == GIVEN_UP).values(**values)).rowcount


def outbox_state(connection: Connection) -> dict[str, float]:
    """Return how much waits, was sent and was given up, and for how many seconds the oldest waits."""
    counts = connection.execute(select(outbox.c.state, func.count()).group_by(outbox.c.state))
    found = {str(state): float(count) for state, count in counts}
    oldest = connection.execute(select(func.min(outbox.c.created_at)).where(outbox.c.state == TO_SEND)).scalar()
    age = max(0.0, time.time() - oldest) if oldest else 0.0
    return {state: found.get(state, 0.0) for state in (TO_SEND, SENT, GIVEN_UP)} | {"oldest_seconds": age}


def notes_of(connection: Connection, ticket_id: str) -> list[dict[str, Any]]:
    """Return what was sent about a ticket, with errors, the oldest first."""
    shown = select(outbox.c.helpdesk, outbox.c.state, outbox.c.error, outbox.c.attempts, outbox.c.created_at)
    rows = connection.execute(shown.where(outbox.c.ticket_id == ticket_id).order_by(outbox.c.created_at))
    return [dict(row._mapping) for row in rows]
