"""What Prometheus reads. No metric holds an id or a text of a ticket."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
BANDS = ((0.5, "below 0.5"), (0.7, "0.5 to 0.7"), (0.9, "0.7 to 0.9"), (1.01, "0.9 and above"))


def band(confidence: float) -> str:
    """Return the name of the band of a confidence."""
    return next(name for end, name in BANDS if confidence < end or end > 1)


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("duet_requests", "Requests by path and status.", ["path", "status"], registry=registry)
        self.label_seconds = Histogram(
            "duet_label_seconds", "From the start of a job to its labels.", buckets=_SECONDS, registry=registry
        )
        self.answer_seconds = Histogram(
            "duet_answer_seconds", "From the start of a job to its answer.", buckets=_SECONDS, registry=registry
        )
        self.failures = Counter("duet_failed_jobs", "Jobs that ended in an error.", registry=registry)
        self.predictions = Counter(
            "duet_predictions", "Labels by column and confidence.", ["column", "band"], registry=registry
        )
        self.reviews = Counter("duet_reviews", "Reviews by action.", ["action"], registry=registry)
        self.outbox_failures = Counter(
            "duet_outbox_failures", "Attempts to reach a helpdesk that failed.", ["helpdesk"], registry=registry
        )

    def watch(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when Prometheus asks."""
        Gauge(name, help_text, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return bytes(generate_latest(self.registry))
