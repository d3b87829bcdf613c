"""What every request can reach: the store, the engines, the model, and who is asking."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from starlette.requests import HTTPConnection

from pipeline.resolved import ResolvedTickets
from pipeline.service import Service
from serve.dispatch import Dispatcher
from serve.events import EventHub
from serve.hooks.helpdesk import Helpdesk
from serve.metrics import Metrics
from serve.model_facts import ModelFacts
from store.database import Database
from store.jobs import recent_rate
from tickets.schema import Ticket

_SIMILAR = 3


@dataclass(frozen=True)
class RequestLimits:
    """How much the server takes.

    Attributes:
        body_bytes: of a request.
        batch_bytes: of a batch of tickets.
        jobs: that may wait in the store.
    """

    body_bytes: int = 1 << 20
    batch_bytes: int = 16 << 20
    jobs: int = 10_000


@dataclass(frozen=True)
class Serving:
    """The parts of a running server.

    Attributes:
        service, dispatcher: engines, and what gives them jobs of the store; None where other processes answer.
        single_keys: the review page takes keys without a modifier.
        resolved: the bundle's resolved tickets, where it has any.
    """

    database: Database
    service: Service | None
    model: ModelFacts
    dispatcher: Dispatcher | None
    hub: EventHub
    metrics: Metrics
    helpdesks: Mapping[str, Helpdesk] = field(default_factory=dict)
    limits: RequestLimits = field(default_factory=RequestLimits)
    single_keys: bool = True
    resolved: ResolvedTickets | None = None

    def wake(self) -> None:
        """Let the engines look for new jobs at once; those of other processes look every second."""
        if self.dispatcher:
            self.dispatcher.wake()

    def rate(self, connection: Connection) -> float:
        """Return how many tickets are answered per second, about; 0 where that is not known."""
        return self.service.rate if self.service else recent_rate(connection)

    def similar(self, subject: str, body: str) -> list[dict[str, Any]]:
        """Return the resolved tickets most similar to a ticket, best first, in their JSON form."""
        if self.resolved is None:
            return []
        return self.resolved.similar_as_dicts(Ticket("", subject, body), _SIMILAR)


def serving(connection: HTTPConnection) -> Serving:
    """Return the server's parts."""
    found = connection.app.state.serving
    assert isinstance(found, Serving)
    return found
