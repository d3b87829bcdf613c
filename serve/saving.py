"""Storing a person's decision, from the page or from a program, and writing it back to the helpdesk."""

import re

from serve.context import Serving
from serve.hooks.writing_back import queue_review
from serve.schemas import ReviewIn
from store.incoming import current_prediction, get_ticket
from store.reviews import NotReviewable, Review, is_blind, save_review

_LINE_ENDS = re.compile(r"\r\n?")


class Refused(ValueError):
    """A decision with a label that the model does not know."""


def unix_lines(text: str) -> str:
    """Return the text with plain line ends; browsers send CR and LF."""
    return _LINE_ENDS.sub("\n", text)


def save(server: Serving, ticket_id: str, reviewer: str, version: int, decision: ReviewIn) -> str:
    """Store a decision and return its action.

    A label may be one that the model does not know yet, but its column may not: new labels are how a label space grows.

    Raises:
        NotReviewable: no such ticket, no answer yet, or erased.
        Refused: an unknown column.
        Conflict: reviewed since that version.
    """
    unknown = sorted(set(decision.labels) - set(server.model.columns))
    if unknown:
        raise Refused(f"unknown label column {unknown[0]!r}; expected {', '.join(server.model.columns)}")
    with server.database.read() as connection:
        ticket = get_ticket(connection, ticket_id)
        prediction = current_prediction(connection, ticket) if ticket is not None else None
    if prediction is None:
        raise NotReviewable(ticket_id)
    blind = ticket is not None and is_blind(ticket)
    unseen = [] if blind else list(prediction.tags)  # what was not shown was not agreed with
    draft = None if blind else prediction.reply
    # the page sends what its empty field holds: where no draft was shown, that is no reply
    reply = None if blind and not decision.reply else decision.reply
    if reply is not None and draft is not None and unix_lines(reply) == unix_lines(draft):
        reply = draft  # browsers have line ends of their own
    review = Review(
        reviewer=reviewer,
        version=version,
        labels={**prediction.labels, **decision.labels},
        tags=unseen if decision.tags is None else decision.tags,
        reply=draft if reply is None else reply,
        rejected=decision.action == "reject",
        reason=decision.reason,
        seconds=decision.seconds,
    )
    action = save_review(
        server.database,
        ticket_id,
        review,
        in_transaction=lambda connection, action: queue_review(connection, server.helpdesks, ticket_id, action, review),
    )
    server.metrics.reviews.labels(action).inc()
    return action
