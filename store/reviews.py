"""What people say of the answers: the next card to look at, and reviews, which are only ever added."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, Select, case, delete, exists, func, insert, select, update

from store import audit
from store.database import Database
from store.edit_distance import edit_distance
from store.ids import new_id
from store.incoming import current_prediction, get_ticket, without_nul
from store.jobs import BLIND, SAMPLE
from store.outbox import withdraw_review
from store.tables import ACCEPT, CORRECT, OPEN, REJECT, REVIEWED, UNDO, cards, predictions, reviews, skipped, tickets
from store.upsert import insert_or_update

CLAIM_SECONDS = 600.0
Order = Literal["uncertainty", "oldest", "random"]
Action = Literal["accept", "correct", "reject"]


@dataclass(frozen=True)
class Review:
    """What a person decided: labels by column, tags, and the reply as it is to be sent.

    `version` is that of the last review the person had seen, 0 for none; `seconds` were spent on the card.
    """

    reviewer: str
    version: int
    labels: Mapping[str, str]
    tags: Sequence[str]
    reply: str | None
    rejected: bool = False
    reason: str = ""
    seconds: float | None = None


class Conflict(Exception):
    """Somebody else reviewed the ticket first; `latest` is the row of that review."""

    def __init__(self, latest: Mapping[str, Any]) -> None:
        super().__init__(f"reviewed by {latest.get('reviewer')}")
        self.latest = latest


class NotReviewable(Exception):
    """The ticket does not exist, has no answer yet, or was erased."""


def is_blind(ticket: Row[Any]) -> bool:
    """Return whether a ticket is shown without suggestions: chance drew it, and no review has shown them yet."""
    return bool(ticket.draw == BLIND and ticket.review_version == 0)


def next_card(database: Database, reviewer: str, order: Order = "uncertainty") -> str | None:
    """Claim the next ticket for a person and return its id; None where nothing is left.

    A card that the person holds already comes first. Cards drawn by chance come before those in order of doubt, so that
    all of them are seen.
    """
    now = time.time()
    with database.write() as connection:
        ticket_id = connection.execute(_held(reviewer, now)).scalar()
        if ticket_id is None:
            ticket_id = connection.execute(_queue(reviewer, order, now)).scalar()
        if ticket_id is not None:
            _claim(connection, str(ticket_id), reviewer, now)
    return str(ticket_id) if ticket_id is not None else None


def claim_card(database: Database, ticket_id: str, reviewer: str) -> None:
    """Claim a ticket that a person opened by hand; who held it before has the conflict told at saving.

    One without an answer, or erased, has no card to claim.
    """
    with database.write() as connection:
        ticket = _locked(connection, ticket_id)
        if ticket is not None and ticket.status in (OPEN, REVIEWED):
            _claim(connection, ticket_id, reviewer, time.time())


def save_review(
    database: Database, ticket_id: str, review: Review, in_transaction: Callable[[Connection, str], None] | None = None
) -> str:
    """Store a review and return its action.

    Args:
        in_transaction: what belongs into the same transaction; it is given the action.

    Raises:
        NotReviewable: no such ticket, no answer yet, or erased.
        Conflict: the ticket was reviewed since the version that the person saw.
    """
    with database.read() as connection:
        known = get_ticket(connection, ticket_id)
        shown = current_prediction(connection, known) if known is not None else None
    # before the transaction, which keeps all others from writing
    seen = None if shown is None or shown.reply is None or review.reply is None else shown
    edited = 0.0 if seen is None else edit_distance(seen.reply, review.reply or "")
    with database.write() as connection:
        ticket, prediction = _reviewable(connection, ticket_id)
        if ticket.review_version != review.version:
            raise Conflict(latest_review(connection, ticket_id) or {})
        blind = is_blind(ticket)
        distance = edited if seen is not None and seen.id == prediction.id and not blind else None
        same = dict(review.labels) == dict(prediction.labels)
        if not blind:  # where neither tags nor draft were shown, the labels alone can agree
            same = same and set(review.tags) == set(prediction.tags)
        action = REJECT if review.rejected else ACCEPT if same and not distance else CORRECT
        row = {
            "prediction_id": prediction.id,
            "reviewer": review.reviewer,
            "action": action,
            "shown": {} if blind else dict(prediction.labels),
            "final": dict(review.labels),
            "tags": list(review.tags),
            "reply": review.reply,
            "reply_distance": distance,
            "reason": review.reason,
            "seconds": review.seconds,
            "blind": blind,
            "draw": ticket.draw,
            "draw_probability": ticket.draw_probability,
        }
        _add(connection, ticket, row, REVIEWED)
        if in_transaction:
            in_transaction(connection, action)
    return action


def undo_last(database: Database, reviewer: str) -> str | None:
    """Take back the person's last review and claim its card again; return the ticket's id, None where there is none."""
    with database.write() as connection:
        mine = (reviews.c.reviewer == reviewer) & (reviews.c.version == tickets.c.review_version)
        last = connection.execute(
            select(reviews)
            .join(tickets, tickets.c.id == reviews.c.ticket_id)
            .where(mine, tickets.c.status == REVIEWED, reviews.c.action != UNDO)
            .order_by(reviews.c.created_at.desc(), reviews.c.id.desc())
            .limit(1)
            .with_for_update(of=tickets)
        ).first()
        if last is None:
            return None
        ticket = get_ticket(connection, last.ticket_id)
        assert ticket is not None  # it was joined
        kept = ("prediction_id", "reviewer", "shown", "final", "tags", "reply", "blind", "draw", "draw_probability")
        row = {name: last._mapping[name] for name in kept}
        _add(connection, ticket, {**row, "action": UNDO, "reason": ""}, OPEN)
        withdraw_review(connection, ticket.id)
        _claim(connection, ticket.id, reviewer, time.time())
    return str(ticket.id)


def skip_card(database: Database, ticket_id: str, reviewer: str) -> None:
    """Put a card at the end of the person's queue."""
    with database.write() as connection:
        if _locked(connection, ticket_id) is not None:
            connection.execute(delete(cards).where(cards.c.ticket_id == ticket_id, cards.c.reviewer == reviewer))
            insert_or_update(connection, skipped, {"ticket_id": ticket_id, "reviewer": reviewer}, {})


def latest_review(connection: Connection, ticket_id: str) -> dict[str, Any] | None:
    """Return the row of a ticket's last review; None where it has none."""
    found = select(reviews).where(reviews.c.ticket_id == ticket_id).order_by(reviews.c.version.desc()).limit(1)
    row = connection.execute(found).first()
    return dict(row._mapping) if row else None


def all_reviews(connection: Connection, ticket_id: str) -> list[dict[str, Any]]:
    """Return the rows of a ticket's reviews, the oldest first."""
    rows = connection.execute(select(reviews).where(reviews.c.ticket_id == ticket_id).order_by(reviews.c.version))
    return [dict(row._mapping) for row in rows]


def open_cards(connection: Connection) -> int:
    """Return how many answered tickets no person has reviewed."""
    return int(connection.execute(select(func.count()).where(tickets.c.status == OPEN)).scalar_one())


def valid_reviews() -> Select[Any]:
    """Return the query of the review that holds for each ticket, with its ticket and prediction, the oldest first."""
    holds = (reviews.c.version == tickets.c.review_version) & (reviews.c.action != UNDO)
    return (
        select(
            reviews,
            tickets.c.subject,
            tickets.c.body,
            tickets.c.language,
            predictions.c.model,
            predictions.c.labels,
            predictions.c.probabilities,
            predictions.c.thresholds,
            predictions.c.reply.label("draft"),
        )
        .join(tickets, tickets.c.id == reviews.c.ticket_id)
        .join(predictions, predictions.c.id == reviews.c.prediction_id)
        .where(holds, tickets.c.status == REVIEWED)
        .order_by(reviews.c.created_at, reviews.c.id)
    )


def _held(reviewer: str, now: float) -> Select[Any]:
    """Return the query of the open ticket that a person looks at; one that was reviewed is looked at by hand alone."""
    found = select(cards.c.ticket_id).join(tickets, tickets.c.id == cards.c.ticket_id)
    found = found.where(cards.c.reviewer == reviewer, cards.c.claimed_until >= now, tickets.c.status == OPEN)
    return found.order_by(cards.c.shown_at).limit(1).with_for_update(of=tickets)


def _queue(reviewer: str, order: Order, now: float) -> Select[Any]:
    """Return the query of the open tickets that nobody else looks at, best first."""
    taken = exists().where(cards.c.ticket_id == tickets.c.id, cards.c.claimed_until >= now)
    was_skipped = exists().where(skipped.c.ticket_id == tickets.c.id, skipped.c.reviewer == reviewer)
    orders: Mapping[Order, list[ColumnElement[Any]]] = {
        "uncertainty": [case((tickets.c.draw.in_(SAMPLE), 0), else_=1), tickets.c.doubt.desc()],
        "oldest": [],
        "random": [func.random()],
    }
    last = case((was_skipped, 1), else_=0)
    found = select(tickets.c.id).where(tickets.c.status == OPEN, ~taken)
    return (
        found.order_by(last, *orders[order], tickets.c.received_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=tickets)
    )


def _claim(connection: Connection, ticket_id: str, reviewer: str, now: float) -> None:
    """Give the card to a person; at its first sight or a change of hands the clock starts."""
    row = {"ticket_id": ticket_id, "reviewer": reviewer, "claimed_until": now + CLAIM_SECONDS, "shown_at": now}
    shown_at = case((cards.c.reviewer == reviewer, cards.c.shown_at), else_=now)
    insert_or_update(connection, cards, row, {**row, "shown_at": shown_at})


def _locked(connection: Connection, ticket_id: str) -> Row[Any] | None:
    """Return the row of a ticket that no other transaction changes now; it is locked before the cards of it are."""
    return connection.execute(select(tickets).where(tickets.c.id == ticket_id).with_for_update()).first()


def _reviewable(connection: Connection, ticket_id: str) -> tuple[Row[Any], Row[Any]]:
    ticket = _locked(connection, ticket_id)
    prediction = current_prediction(connection, ticket) if ticket is not None else None
    if ticket is None or prediction is None or ticket.status not in (OPEN, REVIEWED):
        raise NotReviewable(ticket_id)
    return ticket, prediction


def _add(connection: Connection, ticket: Row[Any], row: Mapping[str, Any], status: str) -> None:
    version = ticket.review_version + 1
    row = {**row, "reply": without_nul(row["reply"]) if row["reply"] else row["reply"]}
    row["reason"] = without_nul(row["reason"])
    ids = {"id": new_id(), "ticket_id": ticket.id, "version": version, "created_at": time.time()}
    connection.execute(insert(reviews).values(**ids, **row))
    connection.execute(update(tickets).where(tickets.c.id == ticket.id).values(review_version=version, status=status))
    connection.execute(delete(cards).where(cards.c.ticket_id == ticket.id))
    audit.record(connection, row["reviewer"], f"review {row['action']}", f"{ticket.id}/{version}")
