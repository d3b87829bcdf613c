"""Statuses that several endpoints share, and how errors become them."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from sqlalchemy import Connection
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.service import PendingAnswer, QueueFull, Service, ServiceClosed
from serve.context import Serving
from serve.schemas import Problem
from store.jobs import queue_length
from tickets.errors import DuetError
from tickets.schema import Answer

_DISCONNECT_SECONDS = 0.5  # how often it is looked whether the client is still there
_LATER_SECONDS = 10
_UNKNOWN_RATE_SECONDS = 60
_FAULTS_TOLD = 5
_NOTHING_HERE = "There is nothing at this address."
CLIENT_GONE = 499


def problems(*statuses: int, beside_json: bool = True) -> dict[int | str, dict[str, Any]]:
    """Return the declaration of these statuses beside 400, 401, 403, 413 and 422, which can always occur.

    Args:
        beside_json: what the endpoint answers otherwise is JSON too; FastAPI gives problems the same type.
    """
    texts = {
        400: "Not readable, or not supported.",
        401: "No valid token.",
        403: "The token's role does not allow it.",
        404: "No such thing.",
        409: "Somebody else was faster.",
        413: "The body is too large.",
        422: "Not what the schema asks for.",
        428: "The If-Match header is missing.",
        501: "This process has no model: it was started with --role web.",
        503: "Full or stopping; the Retry-After header says when to come back, in seconds.",
    }
    schema = {"$ref": f"#/components/schemas/{Problem.__name__}"}
    form = {"model": Problem} if beside_json else {"content": {"application/json": {"schema": schema}}}
    return {status: {**form, "description": texts[status]} for status in (400, 401, 403, 413, 422, *statuses)}


def busy(seconds: float, detail: str) -> HTTPException:
    """Return the refusal that asks to come back after so many seconds."""
    return HTTPException(503, detail, {"Retry-After": str(max(1, round(seconds)))})


def refuse_when_full(server: Serving, connection: Connection) -> None:
    """Raise HTTPException 503 where as many jobs wait in the store as may."""
    if queue_length(connection) >= server.limits.jobs:
        rate = server.rate(connection)
        seconds = server.limits.jobs / 20 / rate if rate else _UNKNOWN_RATE_SECONDS
        raise busy(seconds, "too many tickets are waiting")


def engines(server: Serving) -> Service:
    """Return the engines of this process.

    Raises:
        HTTPException: 501 where it has none.
    """
    if server.service is None:
        raise HTTPException(
            501, "this process has no model (--role web); send the ticket to /v1/tickets, whose workers do"
        )
    return server.service


async def wait_for_answer(request: Request, pending: PendingAnswer) -> Answer:
    """Wait for an answer; where the client goes away, its ticket is ended.

    Raises:
        HTTPException: 503 where the engines failed or stop.
    """
    waiting = asyncio.wrap_future(pending)
    try:
        while not waiting.done():
            await asyncio.wait({waiting}, timeout=_DISCONNECT_SECONDS)
            if not waiting.done() and await request.is_disconnected():
                raise HTTPException(CLIENT_GONE, "the client went away")
        return waiting.result()
    except (asyncio.CancelledError, CancelledError):
        raise busy(_LATER_SECONDS, "the server is stopping") from None
    except DuetError as error:
        raise busy(_LATER_SECONDS, str(error)) from None
    finally:
        pending.cancel()


def add_error_handlers(app: FastAPI, as_page: Callable[[Request, int, str], Awaitable[Response | None]]) -> None:
    """Turn our errors into statuses; `as_page` shows an error of a page, and gives None for other requests."""

    @app.exception_handler(QueueFull)
    async def full(_request: Request, error: QueueFull) -> JSONResponse:
        return _problem(busy(error.retry_after, str(error)))

    @app.exception_handler(ServiceClosed)
    async def closed(_request: Request, error: ServiceClosed) -> JSONResponse:
        return _problem(busy(_LATER_SECONDS, str(error)))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        """Answer with one line, without the input itself: it can hold what JSON cannot, and personal data."""
        page = await as_page(request, 404, _NOTHING_HERE)
        if page is not None:
            return page
        faults = error.errors()
        if any(fault["type"] == "missing" and fault["loc"] == ("header", "if-match") for fault in faults):
            return _problem(HTTPException(428, "expected the header If-Match with the ticket's version"))
        told = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in faults[:_FAULTS_TOLD]]
        more = f"; and {len(faults) - _FAULTS_TOLD} more" if len(faults) > _FAULTS_TOLD else ""
        return _problem(HTTPException(422, "; ".join(told).encode("utf-8", "replace").decode() + more))

    @app.exception_handler(StarletteHTTPException)
    async def problem(request: Request, error: StarletteHTTPException) -> Response:
        if error.status_code == 405:  # of several routes with one path, Starlette names the methods of the first
            error.headers = {**(error.headers or {}), **_allow(request)}
        detail = _NOTHING_HERE if error.detail == HTTPStatus.NOT_FOUND.phrase else str(error.detail)
        page = await as_page(request, error.status_code, detail)
        return page if page is not None else await http_exception_handler(request, error)


def _problem(error: HTTPException) -> JSONResponse:
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


def _allow(request: Request) -> dict[str, str]:
    """Name every method of the endpoint in a header, as far as the schema has it."""
    path = getattr(request.scope.get("route"), "path", "")
    methods = request.app.openapi()["paths"].get(path, {})
    return {"Allow": ", ".join(sorted(name.upper() for name in methods))} if methods else {}
