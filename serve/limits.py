"""What every request passes: a limit on its body, and the count of it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from fastapi import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.metrics import Metrics
from tickets.numbers import whole_number

_READ_ON_BYTES, _READ_ON_SECONDS = 1 << 25, 5  # of a body that is too large


class BodyLimit:
    """ASGI middleware: 413 for a body that is longer than `limit_of(path)` bytes.

    It counts what arrives: the declared length can be left out, or wrong.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[str], int]) -> None:
        self._app, self._limit_of = app, limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and count its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope["path"])
        declared = dict(scope["headers"]).get(b"content-length", b"0").decode("latin-1")
        detail = f"the body is too large; expected at most {limit:,} bytes"
        if whole_number(declared, limit) is None:
            await _read_on(receive)
            refusal = JSONResponse({"detail": detail}, status_code=413, headers={"Connection": "close"})
            await refusal(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                if message.get("more_body"):
                    await _read_on(receive)
                raise HTTPException(413, detail, {"Connection": "close"})
            return message

        await self._app(scope, counted, send)


async def _read_on(receive: Receive) -> None:
    """Read the rest of a body, within limits: a client that still sends never sees the refusal."""
    seen = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(_READ_ON_SECONDS):
            while seen < _READ_ON_BYTES:
                message = await receive()
                seen += len(message.get("body", b""))
                if not message.get("more_body"):
                    return


class RequestCount:
    """ASGI middleware: counts requests by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and note its status."""

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "unknown")  # with names of parameters, not their values
                self._metrics.requests.labels(path, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, noted if scope["type"] == "http" else send)
