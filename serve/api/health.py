"""Whether the server lives, whether it can work, and its metrics."""

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from serve.api.responses import busy, problems, refuse_when_full
from serve.auth import Ingest, Reviewer
from serve.context import serving
from serve.statistics import Statistics, read_statistics
from tickets.errors import WorkError

router = APIRouter()


class State(BaseModel):
    """One word."""

    status: str


@router.get("/healthz", tags=["operation"])
def healthz() -> State:
    """Say that the process lives."""
    return State(status="alive")


@router.get("/readyz", tags=["operation"], responses=problems(503))
def readyz(request: Request) -> State:
    """Say whether model, store and queue are ready for tickets."""
    server = serving(request)
    try:
        server.database.check()
    except WorkError as error:
        raise busy(10, str(error)) from None
    if server.dispatcher and not server.dispatcher.alive:
        raise busy(10, "the server is stopping")
    with server.database.read() as connection:
        refuse_when_full(server, connection)
    return State(status="ready")


@router.get("/metrics", tags=["operation"], response_class=Response, responses=problems())
def metrics(request: Request, _caller: Ingest) -> Response:
    """Give the metrics as Prometheus reads them."""
    return Response(serving(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/stats", tags=["review"], responses=problems())
def stats(request: Request, _caller: Reviewer) -> Statistics:
    """Say how often people accept what the model suggests, and how well its confidence fits."""
    return read_statistics(serving(request).database)
