"""The web application: its routes, limits and errors, and what starts and stops with it."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from serve.api import corrections, health, jobs, openai, predict, review, tickets
from serve.api.responses import add_error_handlers
from serve.context import Serving
from serve.hooks import endpoints
from serve.hooks.writing_back import Sender
from serve.limits import BodyLimit, RequestCount
from serve.pages import card, language, overview, reference, session
from serve.pages.session import SignInFirst, page_problem, sign_in_first
from store.jobs import oldest_age, queue_length
from store.outbox import outbox_state
from store.tables import GIVEN_UP, TO_SEND

_API = ("/v1/", "/hooks/", "/healthz", "/readyz", "/metrics", "/openapi.json")
_BATCH = "/v1/tickets:batch"
_ABOUT = (
    "Labels and reply drafts for helpdesk tickets. `predict` keeps nothing; `tickets` are kept, answered, reviewed by "
    "people, and exported as `corrections` for the next training."
)


def create_app(server: Serving, drain_seconds: float = 10.0) -> FastAPI:
    """Return the application. Its threads start with it, and stop with it within about `drain_seconds`."""
    sender = Sender(server.database, server.helpdesks, server.metrics)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if server.dispatcher:
            server.dispatcher.start()
        sender.start()
        yield
        if server.dispatcher:
            await run_in_threadpool(server.dispatcher.stop, drain_seconds)
        await run_in_threadpool(sender.stop)

    app = FastAPI(title="duet", version="1", description=_ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.serving = server
    for module in (predict, tickets, jobs, review, corrections, openai, health, endpoints):
        app.include_router(module.router)
    for page in (reference, session, language, card, overview):
        app.include_router(page.router)
    add_error_handlers(app, _as_page)
    app.add_exception_handler(SignInFirst, sign_in_first)
    _watch(server)
    limits = server.limits
    app.add_middleware(BodyLimit, limit_of=lambda path: limits.batch_bytes if path == _BATCH else limits.body_bytes)
    app.add_middleware(RequestCount, metrics=server.metrics)
    return app


async def _as_page(request: Request, status: int, detail: str) -> Response | None:
    """Show an error as a page; None where a program asks."""
    if request.url.path.startswith(_API):
        return None
    return await run_in_threadpool(page_problem, request, status, detail)


def _watch(server: Serving) -> None:
    def read(of: Callable[[Any], float]) -> Callable[[], float]:
        def value() -> float:
            with server.database.read() as connection:
                return of(connection)

        return value

    metrics, service, started = server.metrics, server.service, time.time()
    metrics.watch("duet_started_seconds", "When the process started, seconds since 1970.", lambda: started)
    metrics.watch("duet_waiting_jobs", "Jobs that wait or run.", read(queue_length))
    metrics.watch("duet_oldest_job_seconds", "For how long the oldest job has waited.", read(oldest_age))
    if service:
        metrics.watch("duet_engine_waiting", "Tickets in the engines.", lambda: service.waiting)
        metrics.watch("duet_engine_waiting_tokens", "Tokens of them.", lambda: service.waiting_tokens)
    metrics.watch("duet_answers_per_second", "Measured rate of the engines.", read(server.rate))
    metrics.watch("duet_outbox_waiting", "What waits for a helpdesk.", read(lambda c: outbox_state(c)[TO_SEND]))
    metrics.watch("duet_outbox_given_up", "What no helpdesk took.", read(lambda c: outbox_state(c)[GIVEN_UP]))
    metrics.watch(
        "duet_outbox_oldest_seconds", "For how long it has waited.", read(lambda c: outbox_state(c)["oldest_seconds"])
    )
