"""The thread between the store and the engines: it leases jobs, has them answered, and stores the answers."""

import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, SQLAlchemyError

from engines.protocols import TicketRefused
from pipeline.service import QueueFull, Service, ServiceClosed
from serve.events import EventHub
from serve.metrics import Metrics, band
from serve.model_facts import ModelFacts
from store.database import Database
from store.jobs import LEASE_SECONDS, MAX_ATTEMPTS, Job, claim, extend_leases, fail, finish, give_back
from tickets.plain_reason import plain_reason
from tickets.schema import Answer, Prediction

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0  # seconds; doubles with every failure in a row
_POLL_SECONDS = 1.0  # poll interval of the store when nothing wakes the thread
OnStored = Callable[[Connection, Job, Answer], None]


@dataclass(frozen=True)
class _Answered:
    job: Job
    result: Future[Answer]
    started: float


@dataclass(frozen=True)
class _Rejected:
    """An answer that the database does not take."""

    job: Job
    error: DataError


_WAKE, _END = object(), object()


class Dispatcher:
    """Keeps the engines busy with the jobs of the store.

    A failed job is retried after growing pauses, then marked as failed. A job interrupted by shutdown is requeued.
    """

    def __init__(
        self,
        database: Database,
        service: Service,
        model: ModelFacts,
        hub: EventHub,
        metrics: Metrics,
        at_once: int = 32,
        on_stored: OnStored | None = None,
    ) -> None:
        """Take at most `at_once` jobs; `on_stored` is called in the transaction that stores an answer."""
        self._database, self._service, self._model = database, service, model
        self._hub, self._metrics, self._on_stored = hub, metrics, on_stored
        self._at_once = at_once
        self._held: dict[str, Job] = {}
        self._events: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._extended = time.monotonic()
        self._not_before = 0.0  # claim no job before this time; set when the service is full or closed, or a job fails
        self._failed_in_row = 0
        self._thread = threading.Thread(target=self._run, name="dispatcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Look for new jobs at once."""
        self._events.put(_WAKE)

    def stop(self, drain_seconds: float) -> None:
        """Take no more jobs, let the engines finish for so many seconds, and queue the rest again."""
        self._stopping.set()
        self._service.close(drain_seconds)
        self._events.put(_END)
        self._thread.join()
        give_back(self._database, list(self._held.values()))

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        news: object = _WAKE
        while news is not _END:
            try:
                self._step(news)
            except DataError as error:  # the database rejects this value; a retry cannot succeed
                if isinstance(news, _Answered):
                    self._events.put(_Rejected(news.job, error))
            except SQLAlchemyError as error:  # the database may be down: keep the answer and store it later
                print(f"the store cannot be reached: {type(error).__name__}; trying again", file=sys.stderr)
                time.sleep(_POLL_SECONDS)
                if isinstance(news, (_Answered, _Rejected)):
                    self._events.put(news)
            try:
                news = self._events.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                news = _WAKE

    def _step(self, news: object) -> None:
        if isinstance(news, _Answered):
            self._settle(news.job, news.result, news.started)
        elif isinstance(news, _Rejected):
            self._fail(news.job, news.error, final=True)
        if self._held and time.monotonic() - self._extended > LEASE_SECONDS / 3:
            extend_leases(self._database, list(self._held.values()))
            self._extended = time.monotonic()
        if self._stopping.is_set() or time.monotonic() < self._not_before:
            return
        room = self._at_once - len(self._held)
        for job in claim(self._database, room, idle=not self._held) if room > 0 else ():
            self._submit(job)

    def _submit(self, job: Job) -> None:
        started = time.monotonic()
        self._hub.begin(job.id)

        def on_labels(prediction: Prediction) -> None:
            self._metrics.label_seconds.observe(time.monotonic() - started)
            confidence = {column: round(value, 4) for column, value in prediction.confidence.items()}
            self._hub.publish(job.id, "labels", labels=dict(prediction.labels), confidence=confidence)

        def on_token(text: str) -> None:
            self._hub.publish(job.id, "token", text=text)

        self._held[job.id] = job
        try:
            pending = self._service.submit(
                job.ticket, labels_only=job.labels_only, on_labels=on_labels, on_token=on_token
            )
        except (QueueFull, ServiceClosed) as error:
            del self._held[job.id]
            give_back(self._database, [job])
            self._not_before = time.monotonic() + (error.retry_after if isinstance(error, QueueFull) else _POLL_SECONDS)
            return
        except Exception as error:
            self._fail(job, error)
            return
        pending.add_done_callback(lambda done: self._events.put(_Answered(job, done, started)))

    def _settle(self, job: Job, done: Future[Answer], started: float) -> None:
        try:
            answer = done.result()
        except CancelledError:
            if self._held.pop(job.id, None):
                give_back(self._database, [job])
            return
        except Exception as error:
            self._fail(job, error)
            return
        on_stored = self._on_stored
        also = (lambda connection: on_stored(connection, job, answer)) if on_stored else None
        finish(self._database, job, answer, self._model.fingerprint, self._model.thresholds, also)
        self._held.pop(job.id, None)
        self._failed_in_row = 0
        self._metrics.answer_seconds.observe(time.monotonic() - started)
        for column, confidence in answer.prediction.confidence.items():
            self._metrics.predictions.labels(column, band(confidence)).inc()
        payload = {"reply": answer.reply, "reply_cut": answer.reply_cut, "needs_review": answer.needs_review}
        self._hub.publish(job.id, "done", **payload)

    def _fail(self, job: Job, error: Exception, final: bool = False) -> None:
        """Retry the job after a pause; mark it failed if `final`, refused by the engine, or out of attempts."""
        reason = plain_reason(error)[:500]
        if not final and not isinstance(error, TicketRefused) and job.attempts < MAX_ATTEMPTS:
            give_back(self._database, [job], counted=True)
            self._held.pop(job.id, None)
            self._failed_in_row += 1
            self._not_before = time.monotonic() + min(_FIRST_PAUSE * 2 ** (self._failed_in_row - 1), _LONGEST_PAUSE)
            print(f"a ticket was not answered and is tried again: {reason}", file=sys.stderr)
            return
        fail(self._database, job, reason)
        self._held.pop(job.id, None)
        self._metrics.failures.inc()
        self._hub.publish(job.id, "error", error=reason)
