"""A server with a scripted model, for tests of everything around the model."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from pipeline.resolved import ResolvedTickets
from pipeline.service import PendingAnswer, QueueFull, ServiceClosed
from serve.app import create_app
from serve.context import RequestLimits, Serving
from serve.dispatch import Dispatcher
from serve.events import EventHub
from serve.hooks.helpdesk import Helpdesk
from serve.hooks.writing_back import queue_answer
from serve.metrics import Metrics
from serve.model_facts import ModelFacts
from store.database import Database, open_database
from store.tables import ROLES
from store.tokens import add_token
from tickets.schema import Answer, Prediction, Ticket

COLUMNS = {"type": ("Incident", "Request", "Problem", "Change"), "queue": ("Billing", "IT")}
FACTS = ModelFacts("scripted-000000000001", COLUMNS, ("printer", "network"), {"type": 0.8, "queue": None}, True)


def scripted_answer(ticket: Ticket, labels_only: bool = False) -> Answer:
    """The first label of each column, sure of it where the ticket says so."""
    p = 0.9 if "sure" in ticket.body else 0.6
    probabilities = {
        "type": {"Incident": p, "Request": (1 - p) / 2, "Problem": (1 - p) / 4, "Change": (1 - p) / 4},
        "queue": {"Billing": p, "IT": 1 - p},
    }
    prediction = Prediction({"type": "Incident", "queue": "Billing"}, probabilities, {"printer": 0.7})
    reply = None if labels_only else f"Dear customer, we look into: {ticket.subject}"
    apply = {"type": p >= 0.8, "queue": False}
    return Answer(ticket.id, prediction, reply, p < 0.8, False, {"labels": 0.01}, apply)


class ScriptedService:
    """Answers at once in a thread of its own; `go` stops it, `full` and `error` make it refuse or fail.

    `change` is what becomes of every answer.
    """

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.full = self.closed = False
        self.error: Callable[[Ticket], Exception | None] = lambda _ticket: None
        self.change: Callable[[Answer], Answer] = lambda answer: answer
        self.rate = 2.0
        self.cancelled: list[str] = []
        self._open: set[Future[Answer]] = set()

    @property
    def waiting(self) -> int:
        return len(self._open)

    @property
    def waiting_tokens(self) -> int:
        return 10 * len(self._open)

    def submit(
        self, ticket: Ticket, *, labels_only: bool = False, on_labels: Any = None, on_token: Any = None
    ) -> PendingAnswer:
        if self.closed:
            raise ServiceClosed
        if self.full:
            raise QueueFull(7.0)
        pending = PendingAnswer(ticket, 10)
        self._open.add(pending)
        pending.add_done_callback(self._open.discard)
        threading.Thread(target=self._answer, args=(pending, labels_only, on_labels, on_token), daemon=True).start()
        return pending

    def _answer(self, pending: PendingAnswer, labels_only: bool, on_labels: Any, on_token: Any) -> None:
        while not self.go.wait(0.01):
            if pending.cancelled():
                self.cancelled.append(pending.ticket.id)
                return
        error = self.error(pending.ticket)
        if not pending.set_running_or_notify_cancel():
            return
        if error:
            pending.set_exception(error)
            return
        answer = self.change(scripted_answer(pending.ticket, labels_only))
        if on_labels:
            on_labels(answer.prediction)
        for word in (answer.reply or "").split(" ") if on_token else ():
            on_token(word + " ")
        pending.set_result(answer)

    def close(self, drain_seconds: float) -> list[Ticket]:
        self.closed = True
        end = time.monotonic() + drain_seconds
        while self._open and time.monotonic() < end and self.go.is_set():
            time.sleep(0.01)
        left = list(self._open)
        for pending in left:
            pending.cancel()
        return [pending.ticket for pending in left]  # type: ignore[attr-defined]


@dataclass
class Running:
    """A running server, clients by role, and its parts."""

    client: TestClient
    database: Database
    service: ScriptedService
    server: Serving
    tokens: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, role: str = "admin", **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[role]}", **options.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **options)

    def add(self, subject: str = "Printer", body: str = "It does not print.", **more: Any) -> dict[str, Any]:
        """Store a ticket and wait for its answer."""
        response = self.ask("POST", "/v1/tickets?wait=20", json={"subject": subject, "body": body, **more})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def sign_in(self, role: str = "review") -> None:
        response = self.client.post("/login", data={"token": self.tokens[role]}, follow_redirects=False)
        assert response.status_code == 303


@contextmanager
def running(
    url: str,
    helpdesks: dict[str, Helpdesk] | None = None,
    limits: RequestLimits | None = None,
    drain: float = 1.0,
    resolved: ResolvedTickets | None = None,
    with_engines: bool = True,
) -> Iterator[Running]:
    """Run a server on a database until the block ends; without engines, other processes answer its tickets."""
    database = open_database(url)
    service, hub, metrics, desks = ScriptedService(), EventHub(), Metrics(), helpdesks or {}
    dispatcher = Dispatcher(
        database, service, FACTS, hub, metrics,  # type: ignore[arg-type]
        on_stored=lambda connection, job, answer: queue_answer(connection, desks, job, answer),
    )  # fmt: skip
    engines: Any = (service, FACTS, dispatcher) if with_engines else (None, FACTS, None)
    server = Serving(
        database, *engines, hub, metrics, desks, limits or RequestLimits(), resolved=resolved  # type: ignore[arg-type]
    )  # fmt: skip
    names = {role: f"{role}-person-{time.monotonic_ns()}" for role in ROLES}
    tokens = {role: add_token(database, name, role) for role, name in names.items()}
    with TestClient(create_app(server, drain), raise_server_exceptions=True) as client:
        yield Running(client, database, service, server, tokens)
    database.close()


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'duet.db'}"
