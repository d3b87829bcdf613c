"""/v1/tickets: tickets that are kept, answered and reviewed."""

import asyncio
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Query, Response
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from serve.api.predict import EMPTY
from serve.api.responses import problems, refuse_when_full
from serve.auth import Admin, Ingest
from serve.context import Serving, serving
from serve.events import LAST
from serve.schemas import (
    Batch,
    BatchOut,
    Row,
    Stored,
    TicketId,
    TicketOut,
    TicketToStore,
    moment,
    to_answered,
    to_review,
)
from store.incoming import Incoming, current_prediction, erase_ticket, get_ticket
from store.jobs import add_and_enqueue, get_job, latest_job
from store.outbox import notes_of
from store.reviews import all_reviews, is_blind
from store.tables import REVIEW, tickets

router = APIRouter(prefix="/v1", tags=["tickets"])
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 0.5  # seconds between two looks into the store
_KEY = "key:"  # before an Idempotency-Key that stands for the external id
_NO_TICKET = HTTPException(404, "no such ticket")


@router.post("/tickets", responses={202: {"model": Stored, "description": "Accepted."}, **problems(409, 503)})
async def store_ticket(
    request: Request,
    response: Response,
    ticket: TicketToStore,
    _caller: Ingest,
    wait: Annotated[int, Query(ge=0, le=60, description="Seconds to wait for the answer.")] = 0,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=190, pattern=r"^[\x20-\x7e]+$")] = None,
) -> Stored:
    """Keep a ticket and have it answered. The same ticket again is found, not doubled."""
    server = serving(request)
    if idempotency_key and not ticket.external_id:
        ticket = ticket.model_copy(update={"external_id": _KEY + idempotency_key})
    stored = await run_in_threadpool(_store, server, ticket)
    if stored is None:
        raise HTTPException(422, EMPTY)
    if wait and stored.job and stored.state in ("queued", "running"):
        stored = await _wait(server, stored, wait)
    response.status_code = 200 if stored.answer else 202
    return stored


@router.post("/tickets:batch", responses=problems(503))
def store_batch(request: Request, batch: Batch, _caller: Ingest) -> BatchOut:
    """Keep up to a thousand tickets. A row that cannot be kept says why, and the others are kept."""
    server = serving(request)
    rows: list[Row] = []
    for ticket in batch.tickets:
        try:
            stored = _store(server, ticket)
            rows.append(Row(ticket=stored.ticket, job=stored.job, new=stored.new) if stored else Row(error=EMPTY))
        except HTTPException as error:
            rows.append(Row(error=str(error.detail)))
    accepted = sum(row.error is None for row in rows)
    return BatchOut(accepted=accepted, refused=len(rows) - accepted, rows=rows)


@router.get("/tickets/{ticket_id}", responses=problems(404))
def show_ticket(request: Request, ticket_id: TicketId, caller: Ingest) -> TicketOut:
    """Show a ticket with its answer, its reviews, and what was written back to the helpdesk.

    A reviewer gets no suggestions for a ticket that is to be reviewed without them.
    """
    shown, is_shown_blind = read_ticket(serving(request), ticket_id)
    return without_suggestions(shown) if is_shown_blind and caller.role == REVIEW else shown


def read_ticket(server: Serving, ticket_id: str) -> tuple[TicketOut, bool]:
    """Return a ticket with all that is known of it, and whether people review it without suggestions.

    Raises:
        HTTPException: 404, there is none.
    """
    with server.database.read() as connection:
        row = get_ticket(connection, ticket_id)
        if row is None:
            raise _NO_TICKET
        prediction = current_prediction(connection, row)
        kept = ("id", "source", "external_id", "subject", "body", "language", "status")
        shown = TicketOut(
            **{name: row._mapping[name] for name in kept},
            received_at=moment(row.received_at),
            version=row.review_version,
            answer=to_answered(prediction) if prediction else None,
            reviews=[to_review(review) for review in all_reviews(connection, ticket_id)],
            helpdesk=notes_of(connection, ticket_id),
            similar=[],
        )
    similar = server.similar(row.subject or "", row.body or "")  # takes a while: not inside the transaction
    return shown.model_copy(update={"similar": similar}), is_blind(row)


def without_suggestions(shown: TicketOut) -> TicketOut:
    """Return a ticket as it is shown to somebody who decides alone."""
    return shown.model_copy(update={"answer": None, "similar": []})


@router.delete("/tickets/{ticket_id}", status_code=204, responses=problems(404))
def delete_ticket(request: Request, ticket_id: TicketId, caller: Admin) -> None:
    """Erase the text of a ticket everywhere; its counts stay."""
    if not erase_ticket(serving(request).database, ticket_id, caller.name):
        raise _NO_TICKET


def _store(server: Serving, ticket: TicketToStore) -> Stored | None:
    """Store and queue a ticket; None where it is empty."""
    if ticket.source in server.helpdesks:
        raise HTTPException(422, f"source: {ticket.source!r} is a helpdesk, whose tickets come by its webhook alone")
    found = ticket.to_ticket()
    if found is None:
        return None
    with server.database.write() as connection:
        refuse_when_full(server, connection)
        incoming = Incoming(ticket.source, ticket.external_id, found)
        if ticket.external_id.startswith(_KEY):
            same = (tickets.c.source == ticket.source) & (tickets.c.external_id == ticket.external_id)
            sha = connection.execute(select(tickets.c.content_sha).where(same)).scalar()
            if sha is not None and sha != incoming.content_sha:
                raise HTTPException(409, "this Idempotency-Key came with another ticket before; use a new key")
        accepted = add_and_enqueue(connection, incoming, ticket.labels_only)
        stored = Stored(ticket=accepted.ticket, job=accepted.job, new=accepted.new, state="queued")
        if accepted.job is None:
            job = latest_job(connection, accepted.ticket)
            earlier = {"job": job["id"], "state": job["state"]} if job else {"state": "done"}
            stored = stored.model_copy(update=earlier)
    if accepted.job is not None:
        server.wake()
        return stored
    return _with_answer(server, stored)


async def _wait(server: Serving, stored: Stored, seconds: int) -> Stored:
    """Wait until the job has ended, at most so many seconds."""
    assert stored.job is not None
    pause = _FIRST_PAUSE
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                found = await run_in_threadpool(_with_answer, server, stored)
                if found.state not in ("queued", "running"):
                    return found
                async for name, _data in server.hub.watch(stored.job, seconds):
                    if name in LAST:
                        break
                await asyncio.sleep(pause)  # longer where another process answers, which nobody here hears of
                pause = min(2 * pause, _LONGEST_PAUSE)
    return await run_in_threadpool(_with_answer, server, stored)


def _with_answer(server: Serving, stored: Stored) -> Stored:
    with server.database.read() as connection:
        row = get_ticket(connection, stored.ticket)
        job = get_job(connection, stored.job) if stored.job else None
        prediction = current_prediction(connection, row) if row is not None else None
    answer = to_answered(prediction) if prediction is not None else None
    return stored.model_copy(update={"state": job["state"] if job else stored.state, "answer": answer})
