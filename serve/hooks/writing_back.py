"""What goes back to helpdesks: queued with the answer or the review, sent by a thread, tried again until it arrives."""

import sys
import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import SQLAlchemyError

from serve.hooks.helpdesk import Helpdesk, Refusal
from serve.metrics import Metrics
from store.database import Database
from store.incoming import get_ticket
from store.jobs import Job
from store.outbox import Outgoing, last_written, mark_failed, mark_sent, outbox_state, put, replace_unsent, take
from store.reviews import Review
from store.tables import REJECT
from tickets.schema import Answer

_LOOK_SECONDS, _STOP_SECONDS = 2.0, 10.0
STALLED_SECONDS = 900.0  # what waits longer than that is told


def queue_answer(connection: Connection, helpdesks: Mapping[str, Helpdesk], job: Job, answer: Answer) -> None:
    """Queue a new answer for the helpdesk that its ticket came from: the labels that need no person, and the draft."""
    labels = dict(answer.prediction.labels)
    sure = {column: label for column, label in labels.items() if answer.apply.get(column)}
    row, helpdesk = _destination(connection, helpdesks, job.ticket.id)
    if row is not None and helpdesk is not None:
        shown = labels if helpdesk.settings.doubtful else sure
        draft = {"reply": answer.reply, "reply_cut": answer.reply_cut}
        put(connection, row.source, row.id, {"labels": shown, **draft, "external_id": row.external_id})


def queue_review(
    connection: Connection, helpdesks: Mapping[str, Helpdesk], ticket_id: str, action: str, review: Review
) -> None:
    """Queue what a person decided for the helpdesk that the ticket came from; of a rejected answer nothing is sent."""
    row, helpdesk = _destination(connection, helpdesks, ticket_id)
    if row is None or helpdesk is None:
        return
    if action == REJECT:
        replace_unsent(connection, ticket_id)
        return
    payload = {"labels": dict(review.labels), "reply": review.reply, "reviewed": True, "external_id": row.external_id}
    put(connection, row.source, ticket_id, payload)


def _destination(
    connection: Connection, helpdesks: Mapping[str, Helpdesk], ticket_id: str
) -> tuple[Row[Any] | None, Helpdesk | None]:
    """Return the ticket's row, and the helpdesk that it came from where answers go back there."""
    row = get_ticket(connection, ticket_id)
    helpdesk = helpdesks.get(row.source) if row is not None else None
    return row, helpdesk if helpdesk is not None and helpdesk.writes_back else None


class Sender:
    """The thread that empties the outbox."""

    def __init__(self, database: Database, helpdesks: Mapping[str, Helpdesk], metrics: Metrics) -> None:
        self._database, self._helpdesks, self._metrics = database, helpdesks, metrics
        self._stopping = threading.Event()
        self._stalled = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after what is being sent now, which is waited for at most ten seconds; the rest stays in the store."""
        self._stopping.set()
        self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                item = take(self._database)
                if item:
                    self.send(item)
                self._alert_when_stalled()
            except SQLAlchemyError as error:
                print(f"the outbox cannot be read: {type(error).__name__}; trying again", file=sys.stderr)
                item = None
            if not item:
                self._stopping.wait(_LOOK_SECONDS)

    def send(self, item: Outgoing) -> bool:
        """Send one thing; whether it arrived."""
        helpdesk = self._helpdesks.get(item.helpdesk)
        try:
            if helpdesk is None:
                raise Refusal(f"{item.helpdesk}: not configured any more", final=True)
            payload = self._add_helpdesk_state(item)
            written = helpdesk.write_back(str(item.payload["external_id"]), payload)
        except Refusal as error:
            mark_failed(self._database, item, str(error), error.final, error.after)
        except Exception as error:  # an answer in a form that its documentation does not have
            reason = f"{item.helpdesk}: its answer was not understood ({type(error).__name__})"
            mark_failed(self._database, item, reason)
        else:
            # a draft that was cut says so there: the same text, once a person approves it, is written again
            is_whole = payload["new_reply"] and not payload.get("reply_cut")
            told = {"labels": written.labels, "reply": payload["reply"] if is_whole else None}
            mark_sent(self._database, item, told, "; ".join(written.notes) or None)
            return True
        self._metrics.outbox_failures.labels(item.helpdesk).inc()
        return False

    def _add_helpdesk_state(self, item: Outgoing) -> dict[str, Any]:
        """Add what the helpdesk should hold by now: the fields at arrival, and what was written last."""
        with self._database.read() as connection:
            row = get_ticket(connection, item.ticket_id)
            last = last_written(connection, item.helpdesk, str(item.payload["external_id"]))
        reply = item.payload["reply"]
        more = {"new_reply": bool(reply) and reply != last["reply"], "before": last["labels"]}
        return {**item.payload, **more, "arrived": row.fields if row is not None else None}

    def _alert_when_stalled(self) -> None:
        with self._database.read() as connection:
            age = outbox_state(connection)["oldest_seconds"]
        stalled = age > STALLED_SECONDS
        if stalled and not self._stalled:
            print(
                f"ALERT: nothing has reached the helpdesk for {age / 60:.0f} minutes; see `duet serve outbox`",
                file=sys.stderr,
            )
        self._stalled = stalled
