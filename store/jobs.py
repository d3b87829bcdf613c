"""The queue of tickets to answer. A job is leased; a worker whose lease has expired cannot finish the job."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, insert, or_, select, update

from store.database import Database
from store.ids import new_id
from store.incoming import Incoming, add_ticket, to_ticket, without_nul
from store.tables import DONE, FAILED, JOB_STATES, OPEN, QUEUED, RUNNING, jobs, predictions, tickets
from tickets.schema import Answer, Ticket

LEASE_SECONDS = 60.0
MAX_ATTEMPTS = 5
_RATE_SECONDS = 300.0
SUSPECT = 2  # after this many attempts a job runs alone: it may have crashed its worker
BLIND_SHARE = 0.02  # share of all tickets shown without suggestions
RANDOM_SHARE = 0.05  # share of tickets needing no review, and not drawn blind, that are shown anyway
BLIND, RANDOM, DOUBT = DRAWS = ("blind", "random", "doubt")
SAMPLE = (BLIND, RANDOM)  # drawn by chance alone, so that rates measured on them hold for all tickets


@dataclass(frozen=True)
class Job:
    """A job in the hands of a worker."""

    id: str
    lease_token: str
    labels_only: bool
    attempts: int
    ticket: Ticket


def enqueue(connection: Connection, ticket_id: str, labels_only: bool = False) -> str:
    """Queue a ticket for an answer; return the job's id."""
    job_id = new_id()
    row = {"id": job_id, "ticket_id": ticket_id, "labels_only": labels_only, "state": QUEUED}
    connection.execute(insert(jobs).values(**row, attempts=0, created_at=time.time()))
    return job_id


@dataclass(frozen=True)
class Accepted:
    """A ticket that came in: its id, the job that was queued for it now, if any, and whether it is new."""

    ticket: str
    job: str | None
    new: bool


def add_and_enqueue(connection: Connection, incoming: Incoming, labels_only: bool = False) -> Accepted:
    """Store and queue a ticket. A known ticket is queued only if its last job failed."""
    ticket_id, new = add_ticket(connection, incoming)
    last = None if new else latest_job(connection, ticket_id)
    wanted = new or (last is not None and last["state"] == FAILED)
    return Accepted(ticket_id, enqueue(connection, ticket_id, labels_only) if wanted else None, new)


def retry_failed(database: Database) -> int:
    """Queue every ticket again whose last job failed; return how many."""
    later = jobs.alias()
    newest = ~exists().where(later.c.ticket_id == jobs.c.ticket_id, later.c.id > jobs.c.id)
    with database.write() as connection:
        failed = select(jobs.c.ticket_id, jobs.c.labels_only).where(jobs.c.state == FAILED, newest)
        rows = connection.execute(failed).all()
        for row in rows:
            enqueue(connection, row.ticket_id, row.labels_only)
    return len(rows)


def claim(database: Database, limit: int, idle: bool = True) -> list[Job]:
    """Lease up to `limit` jobs, the oldest first: queued ones, and those whose lease has expired.

    A job tried twice is leased alone, when no other job waits and the worker is `idle`.
    """
    fresh = _claim(database, limit, jobs.c.attempts < SUSPECT)
    return fresh or (_claim(database, 1, jobs.c.attempts >= SUSPECT) if idle else [])


def _claim(database: Database, limit: int, which: ColumnElement[bool]) -> list[Job]:
    now = time.time()
    free = or_(jobs.c.state == QUEUED, (jobs.c.state == RUNNING) & (jobs.c.lease_until < now))
    wanted = (
        select(jobs, tickets.c.subject, tickets.c.body, tickets.c.language)
        .join(tickets, tickets.c.id == jobs.c.ticket_id)
        .where(free, which)
        .order_by(jobs.c.created_at, jobs.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=jobs)
    )
    claimed: list[Job] = []
    with database.write() as connection:
        for row in connection.execute(wanted).all():
            if row.attempts >= MAX_ATTEMPTS:
                _set_failed(connection, row.id, f"given up after {row.attempts} attempts: the worker died each time")
                continue
            lease = new_id()
            values = {"lease_token": lease, "lease_until": now + LEASE_SECONDS, "attempts": row.attempts + 1}
            connection.execute(update(jobs).where(jobs.c.id == row.id).values(state=RUNNING, **values))
            ticket = to_ticket({**row._mapping, "id": row.ticket_id})
            claimed.append(Job(row.id, lease, row.labels_only, row.attempts + 1, ticket))
    return claimed


def extend_leases(database: Database, held: Sequence[Job]) -> None:
    """Extend the leases of jobs."""
    with database.write() as connection:
        mine = jobs.c.lease_token.in_([job.lease_token for job in held])
        connection.execute(update(jobs).where(mine).values(lease_until=time.time() + LEASE_SECONDS))


def give_back(database: Database, held: Sequence[Job], counted: bool = False) -> None:
    """Return jobs to the queue, as at shutdown. With `counted`, the attempt still counts."""
    with database.write() as connection:
        for job in held:
            attempts = job.attempts if counted else job.attempts - 1
            mine = jobs.c.lease_token == job.lease_token
            connection.execute(
                update(jobs).where(mine).values(state=QUEUED, lease_token=None, lease_until=None, attempts=attempts)
            )


def requeue_running(database: Database) -> int:
    """Requeue all running jobs. Call only if no other process uses the database."""
    with database.write() as connection:
        values = {"state": QUEUED, "lease_token": None, "lease_until": None}
        return connection.execute(update(jobs).where(jobs.c.state == RUNNING).values(**values)).rowcount


def finish(
    database: Database,
    job: Job,
    answer: Answer,
    model: str,
    thresholds: Mapping[str, float | None],
    in_transaction: Callable[[Connection], None] | None = None,
) -> str | None:
    """Store an answer as the ticket's current prediction and return its id.

    None where the job is no longer this worker's, or the ticket was erased: then nothing is stored.

    Args:
        in_transaction: called inside the same transaction.
    """
    prediction_id, now = new_id(), time.time()
    with database.write() as connection:
        # lock the ticket before its job, as erasing does, to avoid deadlocks
        connection.execute(select(tickets.c.id).where(tickets.c.id == job.ticket.id).with_for_update())
        done = {"state": DONE, "finished_at": now, "lease_token": None, "lease_until": None, "error": None}
        mine = (jobs.c.id == job.id) & (jobs.c.lease_token == job.lease_token)
        if connection.execute(update(jobs).where(mine).values(**done)).rowcount == 0:
            return None
        connection.execute(insert(predictions).values(**_prediction(prediction_id, job, answer, model, thresholds)))
        doubt = 1.0 - min(answer.prediction.confidence.values(), default=0.0)
        draw, probability = _draw(answer.needs_review)
        first = {"draw": draw, "draw_probability": probability, "status": OPEN}
        row = tickets.c.id == job.ticket.id
        connection.execute(update(tickets).where(row).values(prediction_id=prediction_id, doubt=doubt))
        connection.execute(update(tickets).where(row, tickets.c.draw.is_(None)).values(**first))
        if in_transaction:
            in_transaction(connection)
    return prediction_id


def fail(database: Database, job: Job, error: str) -> None:
    """Give up a job whose ticket cannot be answered."""
    with database.write() as connection:
        mine = (jobs.c.id == job.id) & (jobs.c.lease_token == job.lease_token)
        if connection.execute(select(jobs.c.id).where(mine)).first():
            _set_failed(connection, job.id, error)


def queue_length(connection: Connection) -> int:
    """Return how many jobs wait or run."""
    waiting = select(func.count()).select_from(jobs).where(jobs.c.state.in_((QUEUED, RUNNING)))
    return int(connection.execute(waiting).scalar_one())


def count_by_state(connection: Connection) -> dict[str, int]:
    """Return how many jobs are in each state."""
    counts = connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
    found = {str(state): int(count) for state, count in counts}
    return {state: found.get(state, 0) for state in JOB_STATES}


def oldest_age(connection: Connection) -> float:
    """Return for how many seconds the oldest waiting job has waited; 0 where none waits."""
    oldest = connection.execute(select(func.min(jobs.c.created_at)).where(jobs.c.state == QUEUED)).scalar()
    return max(0.0, time.time() - oldest) if oldest else 0.0


def recent_rate(connection: Connection) -> float:
    """Return how many jobs per second all workers have done in the last minutes."""
    done = select(func.count()).select_from(jobs).where(jobs.c.finished_at > time.time() - _RATE_SECONDS)
    return int(connection.execute(done).scalar_one()) / _RATE_SECONDS


def get_job(connection: Connection, job_id: str) -> dict[str, Any] | None:
    """Return a job's row; None where there is none."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
    return dict(row._mapping) if row else None


def latest_job(connection: Connection, ticket_id: str) -> dict[str, Any] | None:
    """Return the row of a ticket's last job; None where it has none."""
    found = select(jobs).where(jobs.c.ticket_id == ticket_id).order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
    row = connection.execute(found.limit(1)).first()
    return dict(row._mapping) if row else None


def _set_failed(connection: Connection, job_id: str, error: str) -> None:
    values = {"state": FAILED, "error": error, "finished_at": time.time(), "lease_token": None, "lease_until": None}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def _prediction(
    prediction_id: str, job: Job, answer: Answer, model: str, thresholds: Mapping[str, float | None]
) -> dict[str, Any]:
    said = answer.prediction
    return {
        "id": prediction_id,
        "ticket_id": job.ticket.id,
        "model": model,
        "labels": dict(said.labels),
        "probabilities": {
            column: {label: round(float(p), 5) for label, p in classes.items()}
            for column, classes in said.probabilities.items()
        },
        "thresholds": dict(thresholds),
        "tags": {tag: round(float(p), 5) for tag, p in said.tags.items()},
        "reply": None if answer.reply is None else without_nul(answer.reply),
        "masked": list(answer.masked),
        "needs_review": answer.needs_review,
        "truncated": answer.truncated,
        "reply_cut": answer.reply_cut,
        "seconds": {name: round(value, 4) for name, value in answer.timings.items()},
        "created_at": time.time(),
    }


def _draw(needs_review: bool) -> tuple[str, float]:
    """Draw why a ticket is shown; also return its probability of being in the random sample."""
    probability = BLIND_SHARE if needs_review else BLIND_SHARE + (1 - BLIND_SHARE) * RANDOM_SHARE
    chance = random.random()
    if chance < BLIND_SHARE:
        return BLIND, probability
    return (RANDOM if chance < probability else DOUBT), probability
