"""Reviews: the next card, a person's decision, and undoing it."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Response
from starlette.requests import Request

from serve.api.responses import problems
from serve.api.tickets import read_ticket, without_suggestions
from serve.auth import Reviewer
from serve.context import Serving, serving
from serve.saving import Refused, save
from serve.schemas import ReviewIn, ReviewOut, TicketId, TicketOut, to_review
from store.reviews import Conflict, NotReviewable, Order, latest_review, next_card, skip_card, undo_last

router = APIRouter(prefix="/v1", tags=["review"])
_VERSION = re.compile(r'^(?:W/)?"?([0-9]{1,9})"?$')


@router.get("/review", responses={204: {"description": "Nothing is left to review."}, **problems()})
def next_review(request: Request, caller: Reviewer, order: Order = "uncertainty") -> TicketOut:
    """Claim the next ticket for ten minutes and show it.

    It comes without its answer where it is to be reviewed without suggestions.
    """
    database = serving(request).database
    ticket_id = next_card(database, caller.name, order)
    if ticket_id is None:
        return Response(status_code=204)  # type: ignore[return-value]  # declared above
    shown, is_shown_blind = read_ticket(serving(request), ticket_id)
    return without_suggestions(shown) if is_shown_blind else shown


@router.post("/tickets/{ticket_id}/reviews", status_code=201, responses=problems(404, 409, 428))
def review_ticket(
    request: Request,
    ticket_id: TicketId,
    review: ReviewIn,
    caller: Reviewer,
    if_match: Annotated[str, Header(pattern=_VERSION.pattern, description="The ticket's version.")],
) -> ReviewOut:
    """Store a decision. It is refused where the ticket was reviewed since the version that If-Match names."""
    server = serving(request)
    try:
        save(server, ticket_id, caller.name, int(_VERSION.sub(r"\1", if_match)), review)
    except NotReviewable:
        raise HTTPException(404, "no such ticket, or it has no answer yet") from None
    except Refused as error:
        raise HTTPException(422, str(error)) from None
    except Conflict as conflict:
        latest = conflict.latest
        who = f"{latest['reviewer']} chose {latest['final']}" if latest else "it is new"
        raise HTTPException(409, f"reviewed since: {who}; its version is now {latest.get('version', 0)}") from None
    return _latest(server, ticket_id)


@router.post("/review/undo", responses=problems(404))
def undo_review(request: Request, caller: Reviewer) -> ReviewOut:
    """Take back the caller's last review; its ticket is open again."""
    server = serving(request)
    ticket_id = undo_last(server.database, caller.name)
    if ticket_id is None:
        raise HTTPException(404, "there is no review of yours to undo")
    return _latest(server, ticket_id)


@router.post("/tickets/{ticket_id}/skip", status_code=204, responses=problems())
def skip_ticket(request: Request, ticket_id: TicketId, caller: Reviewer) -> None:
    """Put a ticket at the end of the caller's queue."""
    skip_card(serving(request).database, ticket_id, caller.name)


def _latest(server: Serving, ticket_id: str) -> ReviewOut:
    with server.database.read() as connection:
        row = latest_review(connection, ticket_id)
    assert row is not None  # it was just stored
    return to_review(row)
