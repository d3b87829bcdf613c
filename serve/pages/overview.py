"""The list of tickets and the page of statistics."""

from collections.abc import Sequence
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException
from sqlalchemy import Select, or_, select
from starlette.requests import Request
from starlette.responses import Response

from serve.context import serving
from serve.pages.session import Person
from serve.pages.view import render
from serve.statistics import DRIFT, read_statistics
from store.incoming import without_nul
from store.outbox import outbox_state
from store.tables import ERASED, STATUSES, predictions, tickets
from tickets.terminal import without_controls

router = APIRouter(include_in_schema=False)
_ROWS = 50
_STATIC = {"style.css": "text/css", "keys.js": "text/javascript", "icon.svg": "image/svg+xml"}


@router.get("/tickets")
def ticket_list(request: Request, who: Person, q: str = "", status: str = "", page: int = 1) -> Response:
    """Show stored tickets, the newest first, by words and status and by label (`label.COLUMN=LABEL`)."""
    server = serving(request)
    given = {c: without_nul(request.query_params.get(f"label.{c}", "")) for c in server.model.columns}
    chosen, q = {c: label for c, label in given.items() if label}, without_controls(without_nul(q))
    page = min(max(1, page), 100_000)
    with server.database.read() as connection:
        rows = connection.execute(_found(q, status, chosen).limit(_ROWS + 1).offset((page - 1) * _ROWS)).all()
    filters = {"q": q, "status": status, **{f"label.{c}": v for c, v in chosen.items()}}

    def address(number: int) -> str:
        return "/tickets?" + urlencode({key: value for key, value in {**filters, "page": number}.items() if value})

    return render(
        request,
        "list.html",
        who,
        rows=[row._mapping for row in rows[:_ROWS]],
        q=q,
        status=status,
        statuses=[name for name in STATUSES if name != ERASED],
        chosen=chosen,
        earlier=address(page - 1) if page > 1 else None,
        later=address(page + 1) if len(rows) > _ROWS else None,
    )


@router.get("/stats")
def statistics_page(request: Request, who: Person) -> Response:
    """Show how good the suggestions are."""
    server = serving(request)
    with server.database.read() as connection:
        outbox = outbox_state(connection)
    return render(request, "stats.html", who, stats=read_statistics(server.database), outbox=outbox, drift=DRIFT)


@router.get("/static/{name}")
def static(name: str) -> Response:
    """Give a file of the pages."""
    if name not in _STATIC:
        raise HTTPException(404, "no such file")
    content = (resources.files("serve.pages") / "static" / name).read_bytes()
    return Response(content, media_type=_STATIC[name], headers={"Cache-Control": "max-age=300"})


def _found(q: str, status: str, chosen: dict[str, str]) -> Select[Any]:
    shown: Sequence[Any] = (
        tickets.c.id,
        tickets.c.subject,
        tickets.c.body,
        tickets.c.status,
        tickets.c.source,
        tickets.c.received_at,
        predictions.c.labels,
        predictions.c.needs_review,
    )
    found = select(*shown).outerjoin(predictions, predictions.c.id == tickets.c.prediction_id)
    found = found.where(tickets.c.status == status) if status in STATUSES else found.where(tickets.c.status != ERASED)
    for column, label in chosen.items():
        found = found.where(predictions.c.labels[column].as_string() == label)
    for word in q.split()[:10]:
        found = found.where(
            or_(tickets.c.subject.icontains(word, autoescape=True), tickets.c.body.icontains(word, autoescape=True))
        )
    return found.order_by(tickets.c.received_at.desc(), tickets.c.id)
