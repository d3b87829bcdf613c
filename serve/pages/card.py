"""The review page: one ticket at a time, with suggestions to accept, correct or reject."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from fastapi import APIRouter, HTTPException
from pydantic import ValidationError
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serve.context import Serving, serving
from serve.pages.session import Person, Sender, read_form
from serve.pages.view import render
from serve.saving import Refused, save, unix_lines
from serve.schemas import ReviewIn, TicketId
from store.incoming import current_prediction, get_ticket, without_nul
from store.outbox import notes_of
from store.reviews import (
    Conflict,
    NotReviewable,
    Order,
    all_reviews,
    claim_card,
    is_blind,
    next_card,
    skip_card,
    undo_last,
)
from store.tables import ERASED, UNDO, cards
from tickets.numbers import whole_number

router = APIRouter(include_in_schema=False)
_LIKELIEST = 3
_OTHER = "other"
_LAST_VERSION = 10**9
_SAVED = {"accept": "Accepted.", "correct": "Corrected.", "reject": "Rejected.", "skip": "Skipped."}


@dataclass(frozen=True)
class Choice:
    """One label that can be chosen, its probability, and whether it is."""

    label: str
    probability: float
    chosen: bool


@dataclass(frozen=True)
class ColumnView:
    """A column of the card: the likeliest labels, all the others, and how sure the model is."""

    name: str
    likeliest: list[Choice]
    others: list[Choice]
    sure: bool

    @property
    def other_chosen(self) -> bool:
        """Whether the chosen label is not among the likeliest."""
        return any(choice.chosen for choice in self.others)


@router.get("/")
def home() -> Response:
    """Go to the next card."""
    return RedirectResponse("/review", 303)


@router.get("/review")
def review(request: Request, who: Person, order: str = "uncertainty", done: str = "") -> Response:
    """Show the next card, or that none is left."""
    order = order if order in get_args(Order) else "uncertainty"
    ticket_id = next_card(serving(request).database, who.name, cast(Order, order))
    if ticket_id is None:
        return render(request, "nothing.html", who, message=_SAVED.get(done, ""))
    return _card(request, who.name, ticket_id, order, _SAVED.get(done, ""), who=who)


@router.get("/tickets/{ticket_id}")
def one_card(request: Request, ticket_id: TicketId, who: Person) -> Response:
    """Show the card of a ticket."""
    claim_card(serving(request).database, ticket_id, who.name)
    return _card(request, who.name, ticket_id, "uncertainty", "", who=who)


@router.post("/tickets/{ticket_id}")
async def decide(request: Request, ticket_id: TicketId, who: Sender) -> Response:
    """Save, reject or skip; then the next card."""
    form = await read_form(request)
    return await run_in_threadpool(_decide, request, ticket_id, who, form)


@router.post("/undo")
def undo(request: Request, who: Sender) -> Response:
    """Take back the last decision and show its card again."""
    ticket_id = undo_last(serving(request).database, who.name)
    return RedirectResponse(f"/tickets/{ticket_id}" if ticket_id else "/review", 303)


def _decide(request: Request, ticket_id: str, who: Any, form: FormData) -> Response:
    server, order = serving(request), _text(form, "order")
    suffix = f"&order={order}" if order in get_args(Order) and order != "uncertainty" else ""
    action = _text(form, "action")
    if action == "skip":
        skip_card(server.database, ticket_id, who.name)
        return RedirectResponse(f"/review?done=skip{suffix}", 303)
    version = whole_number(_text(form, "version"), _LAST_VERSION)
    if version is None:
        raise HTTPException(422, "The form's version is no number; reload the page and decide again.")
    decision = _decision(form, server, action, _seconds(server, ticket_id, who.name))
    try:
        done = save(server, ticket_id, who.name, version, decision)
    except NotReviewable:
        raise HTTPException(404, "This ticket does not exist any more, or has no answer yet.") from None
    except Refused as error:
        raise HTTPException(422, str(error)) from None
    except Conflict as conflict:
        return _card(
            request, who.name, ticket_id, order, "", who=who, status=409, mine=decision, theirs=conflict.latest
        )
    return RedirectResponse(f"/review?done={done}{suffix}", 303)


def _decision(form: FormData, server: Serving, action: str, seconds: float | None) -> ReviewIn:
    """Return what a form says.

    Raises:
        HTTPException: 422, a value that no page of ours sends, such as an empty tag.
    """
    tags = [without_nul(str(tag))[:200] for tag in form.getlist("tag")][:200]
    try:
        return ReviewIn(
            action="reject" if action == "reject" else "save",
            labels=_labels(form, server),
            tags=tags if "tags_shown" in form else None,
            reply=unix_lines(_text(form, "reply"))[:100_000] if "reply" in form else None,
            reason=_text(form, "reason")[:2_000],
            seconds=seconds,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise HTTPException(422, f"{first['loc'][0]}: {first['msg']}; reload the page and decide again.") from None


def _card(
    request: Request,
    reviewer: str,
    ticket_id: str,
    order: str,
    message: str,
    *,
    who: Any,
    status: int = 200,
    mine: ReviewIn | None = None,
    theirs: Mapping[str, Any] | None = None,
) -> Response:
    """Return the page of a ticket; after a conflict with both decisions on it."""
    server = serving(request)
    with server.database.read() as connection:
        ticket = get_ticket(connection, ticket_id)
        prediction = current_prediction(connection, ticket) if ticket is not None else None
        history = all_reviews(connection, ticket_id)
        sent = notes_of(connection, ticket_id)
    if ticket is None or prediction is None or ticket.status == ERASED:
        raise HTTPException(404, "This ticket does not exist, has no answer yet, or was erased.")
    blind = is_blind(ticket)
    last = history[-1] if history else None
    holds = last if last and last["action"] != UNDO else None
    labels = mine.labels if mine else holds["final"] if holds else {} if blind else prediction.labels
    tags = mine.tags if mine and mine.tags is not None else holds["tags"] if holds else list(prediction.tags)
    reply = mine.reply if mine and mine.reply is not None else holds["reply"] if holds else prediction.reply
    shown_tags = list(dict.fromkeys([*prediction.tags, *tags]))
    return render(
        request,
        "card.html",
        who,
        status,
        ticket=ticket,
        columns=[_column(server, c, prediction, labels.get(c), blind) for c in prediction.labels],
        tags=[(tag, tag in tags) for tag in shown_tags] if not blind else [],
        reply="" if blind else reply or "",
        writes=prediction.reply is not None,
        blind=blind,
        similar=[] if blind else server.similar(ticket.subject, ticket.body),
        history=history,
        holds=holds,
        sent=sent,
        order=order,
        message=message,
        theirs=theirs,
        truncated=prediction.truncated,
        cut=prediction.reply_cut and not blind,
        empty=prediction.reply == "" and not blind,
        masked=[] if blind else list(dict.fromkeys(prediction.masked)),
        other=_OTHER,
    )


def _column(server: Serving, column: str, prediction: Any, chosen: str | None, blind: bool) -> ColumnView:
    probabilities: Mapping[str, float] = prediction.probabilities[column]
    if blind:  # in the order of the label space, which says nothing
        choices = [Choice(label, 0.0, False) for label in probabilities]
        return ColumnView(column, choices[:_LIKELIEST], choices[_LIKELIEST:], False)
    suggested = prediction.labels[column]  # decoded jointly, it need not be the likeliest of its column
    ordered = sorted(probabilities.items(), key=lambda item: (item[0] != suggested, -item[1]))
    known = [Choice(label, p, label == chosen) for label, p in ordered]
    if chosen is not None and chosen not in probabilities:
        known.append(Choice(chosen, 0.0, True))
    threshold = prediction.thresholds.get(column)
    sure = threshold is not None and probabilities[suggested] >= threshold
    return ColumnView(column, known[:_LIKELIEST], known[_LIKELIEST:], sure)


def _labels(form: FormData, server: Serving) -> dict[str, str]:
    labels: dict[str, str] = {}
    for column in server.model.columns:
        value = _text(form, f"label.{column}")
        value = _text(form, f"other.{column}") if value == _OTHER else value.removeprefix("=")
        if value:
            labels[column] = value[:200]
    return labels


def _seconds(server: Serving, ticket_id: str, reviewer: str) -> float | None:
    """Return the seconds since the person was first shown the card; None where somebody else holds it now."""
    mine = (cards.c.ticket_id == ticket_id) & (cards.c.reviewer == reviewer)
    with server.database.read() as connection:
        shown_at = connection.execute(select(cards.c.shown_at).where(mine)).scalar()
    return round(min(max(time.time() - shown_at, 0.0), 86_400.0), 1) if shown_at is not None else None


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    return without_nul(value) if isinstance(value, str) else ""
