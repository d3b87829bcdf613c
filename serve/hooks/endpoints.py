"""POST /hooks/NAME: verify, store, and say so within milliseconds; the answer goes back later."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from serve.api.responses import problems, refuse_when_full
from serve.context import Serving, serving
from serve.hooks.helpdesk import Delivery, NotUnderstood, NotVerified
from store.incoming import add_delivery
from store.jobs import add_and_enqueue

router = APIRouter(prefix="/hooks", tags=["helpdesks"])


class Received(BaseModel):
    """What became of a delivery."""

    ticket: str | None = None
    state: str


@router.post("/{helpdesk}", status_code=202, responses=problems(404, 503))
async def receive(
    request: Request, helpdesk: Annotated[str, Path(pattern=r"^[a-z0-9-]{1,40}$", description="Its name.")]
) -> Received:
    """Take a webhook's delivery. It proves itself by its signature, not by a token."""
    server = serving(request)
    desk = server.helpdesks.get(helpdesk)
    if desk is None:
        raise HTTPException(404, "no such helpdesk is configured")
    body = await request.body()
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        desk.verify(headers, body)
        delivery = await run_in_threadpool(desk.read, headers, body)
    except NotVerified as error:
        raise HTTPException(401, str(error)) from None
    except NotUnderstood as error:
        raise HTTPException(422, str(error)) from None
    return await run_in_threadpool(_store, server, helpdesk, delivery)


def _store(server: Serving, helpdesk: str, delivery: Delivery) -> Received:
    with server.database.write() as connection:
        if delivery.id and not add_delivery(connection, helpdesk, delivery.id):
            return Received(state="known delivery")
        if delivery.incoming is None:
            return Received(state="ignored")
        refuse_when_full(server, connection)
        accepted = add_and_enqueue(connection, delivery.incoming, labels_only=not server.model.writes)
    if accepted.job is None:
        return Received(ticket=accepted.ticket, state="known ticket")
    server.wake()
    return Received(ticket=accepted.ticket, state="queued")
