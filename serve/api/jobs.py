"""/v1/jobs: how far an answer is, once or as a stream of events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from serve.api.responses import problems
from serve.auth import Ingest
from serve.context import Serving, serving
from serve.events import LAST
from serve.schemas import JobOut, TicketId, moment, to_answered
from store.incoming import current_prediction, get_ticket
from store.jobs import get_job

router = APIRouter(prefix="/v1", tags=["tickets"])
_POLL_SECONDS = 0.5
_QUIET_SECONDS = 2.0  # without an event, after which the store is asked whether the job has ended


@router.get("/jobs/{job_id}", responses=problems(404))
def show_job(request: Request, job_id: TicketId, _caller: Ingest) -> JobOut:
    """Show how far a job is."""
    return _job(serving(request), job_id)


def _known_job(request: Request, job_id: TicketId) -> JobOut:
    return _job(serving(request), job_id)


KnownJob = Annotated[JobOut, Depends(_known_job)]  # found before the stream begins: then there is no other status


@router.get("/jobs/{job_id}/events", response_class=EventSourceResponse, responses=problems(404, beside_json=False))
async def watch_job(request: Request, _caller: Ingest, job: KnownJob) -> AsyncIterator[ServerSentEvent]:
    """Stream `labels`, a `token` for every piece of the reply, and at last `done` or `error`."""
    server, job_id = serving(request), job.id
    while True:
        async for name, data in server.hub.watch(job_id, _QUIET_SECONDS):
            yield ServerSentEvent(event=name, data=data)
            if name in LAST:
                return
        job = await run_in_threadpool(_job, server, job_id)
        if job.state in ("done", "failed"):
            yield await run_in_threadpool(_last_event, server, job)
            return
        yield ServerSentEvent(comment="waiting")
        if await request.is_disconnected():
            return
        await asyncio.sleep(_POLL_SECONDS)  # nothing comes of a job that waits, or runs in another process


def _job(server: Serving, job_id: str) -> JobOut:
    with server.database.read() as connection:
        row = get_job(connection, job_id)
    if row is None:
        raise HTTPException(404, "no such job")
    finished = moment(row["finished_at"]) if row["finished_at"] else None
    kept = {name: row[name] for name in ("id", "state", "attempts", "error")}
    return JobOut(**kept, ticket=row["ticket_id"], created_at=moment(row["created_at"]), finished_at=finished)


def _last_event(server: Serving, job: JobOut) -> ServerSentEvent:
    """Return the end of a job that nobody watched."""
    if job.state == "failed":
        return ServerSentEvent(event="error", data={"error": job.error})
    with server.database.read() as connection:
        row = get_ticket(connection, job.ticket)
        prediction = current_prediction(connection, row) if row is not None else None
    answer = to_answered(prediction) if prediction is not None else None
    data = answer.model_dump(include={"reply", "reply_cut", "needs_review"}) if answer else {}
    return ServerSentEvent(event="done", data=data)
