"""What requests and responses hold."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from store.ids import ID_PATTERN
from store.incoming import without_nul
from tickets.cleaning.clean import Cleaner
from tickets.schema import Ticket

TicketId = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
WithoutNul = AfterValidator(without_nul)
Label = Annotated[str, WithoutNul, StringConstraints(min_length=1, max_length=200)]


class Strict(BaseModel):
    """Refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _is_text(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"pattern": r"\S"}}}


class TicketIn(Strict):
    """The text of a ticket, as the requester wrote it: a subject, a body, or both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [_is_text("subject"), _is_text("body")]})

    subject: str = Field("", max_length=2_000)
    body: str = Field("", max_length=500_000)
    language: Annotated[str, StringConstraints(max_length=16, pattern=r"^[A-Za-z_-]*$")] = ""

    def to_ticket(self, name: str = "request") -> Ticket | None:
        """Return the ticket, cleaned as `duet prepare` does; None where nothing but white space is left."""
        cleaner = Cleaner(escapes=None)
        cleaner.decide_escapes((self.body,))
        subject = " ".join(cleaner.clean(without_nul(self.subject), thread=False).split())
        body = cleaner.clean(without_nul(self.body), subject=self.subject)
        return Ticket(name, subject, body, self.language) if subject or body else None


class PredictIn(TicketIn):
    """A ticket to answer without keeping it."""

    labels_only: bool = False


class TicketToStore(TicketIn):
    """A ticket to keep and answer. The same source, external_id and text are the same ticket."""

    source: Name = "api"
    external_id: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    labels_only: bool = False


class TicketOfBatch(TicketToStore):
    """A ticket of a batch, which is stored without those that cannot be: an empty one is no fault of the request."""

    model_config = ConfigDict(json_schema_extra=None)


class Batch(Strict):
    """Up to a thousand tickets."""

    tickets: list[TicketOfBatch] = Field(min_length=1, max_length=1_000)


class Answered(BaseModel):
    """Labels, confidences (probabilities) and reply.

    `apply` says by column whether the label can be applied without a person; `masked` which kinds of contacts a
    placeholder stands for in the reply; `reply_cut` whether the reply stops before its own end.
    """

    labels: dict[str, str]
    confidence: dict[str, float]
    tags: list[str]
    reply: str | None
    apply: dict[str, bool]
    masked: list[str]
    needs_review: bool
    truncated: bool
    reply_cut: bool
    model: str


class Stored(BaseModel):
    """A stored ticket: `job` is what answers it, `new` whether it was not known before."""

    ticket: str
    job: str | None
    new: bool
    state: str
    answer: Answered | None = None


class Row(BaseModel):
    """What became of one ticket of a batch."""

    ticket: str | None = None
    job: str | None = None
    new: bool | None = None
    error: str | None = None


class BatchOut(BaseModel):
    """What became of a batch, in its order."""

    accepted: int
    refused: int
    rows: list[Row]


class JobOut(BaseModel):
    """How far a job is."""

    id: str
    ticket: str
    state: Literal["queued", "running", "done", "failed"]
    attempts: int
    error: str | None
    created_at: str
    finished_at: str | None


class ReviewIn(Strict):
    """A person's decision. Columns that are left out keep the suggested label."""

    action: Literal["save", "reject"] = "save"
    labels: dict[str, Label] = Field(default_factory=dict, max_length=50)
    tags: list[Label] | None = Field(None, max_length=200)
    reply: Annotated[str, WithoutNul] | None = Field(None, max_length=100_000)
    reason: Annotated[str, WithoutNul] = Field("", max_length=2_000)
    seconds: float | None = Field(None, ge=0, le=86_400, allow_inf_nan=False)


class ReviewOut(BaseModel):
    """A stored review."""

    ticket: str
    version: int
    action: Literal["accept", "correct", "reject", "undo"]
    reviewer: str
    shown: dict[str, str]
    final: dict[str, str]
    tags: list[str]
    reply: str | None
    reason: str
    created_at: str


class SimilarOut(BaseModel):
    """A resolved ticket, its cosine similarity, and whether it is the same matter, so that its reply fits as it is."""

    id: str
    similarity: float
    subject: str
    labels: dict[str, str]
    tags: list[str]
    reply: str
    repeat: bool


class TicketOut(BaseModel):
    """A ticket with its current answer and all its reviews."""

    id: str
    source: str
    external_id: str
    subject: str
    body: str
    language: str
    status: Literal["waiting", "open", "reviewed", "erased"]
    received_at: str
    version: int
    answer: Answered | None
    reviews: list[ReviewOut]
    helpdesk: list[dict[str, Any]]
    similar: list[SimilarOut]


class Problem(BaseModel):
    """What was wrong with a request."""

    detail: str


def to_answered(prediction: Any) -> Answered:
    """Return a stored prediction as the API shows it."""
    confidence = {column: prediction.probabilities[column][label] for column, label in prediction.labels.items()}
    thresholds = {column: prediction.thresholds.get(column) for column in confidence}
    return Answered(
        labels=prediction.labels,
        confidence=confidence,
        apply={column: t is not None and confidence[column] >= t for column, t in thresholds.items()},
        masked=prediction.masked,
        tags=list(prediction.tags),
        reply=prediction.reply,
        needs_review=prediction.needs_review,
        truncated=prediction.truncated,
        reply_cut=prediction.reply_cut,
        model=prediction.model,
    )


def to_review(row: dict[str, Any]) -> ReviewOut:
    """Return a stored review as the API shows it."""
    kept = {name: row[name] for name in ("version", "action", "reviewer", "shown", "final", "tags", "reply", "reason")}
    return ReviewOut(ticket=row["ticket_id"], created_at=moment(row["created_at"]), **kept)


def moment(seconds: float) -> str:
    """Return a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
