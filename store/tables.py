"""The tables of the store. Times are seconds since 1970, UTC.

A ticket points to its current prediction, so there is never more than one. Predictions never change and reviews are
only added; erasing a ticket is the one exception: it empties what holds text.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from store.ids import ID_LENGTH

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_ID = String(ID_LENGTH)
_NAME = String(200)
_SHA = String(64)

tickets = Table(
    "tickets",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("source", _NAME, nullable=False),  # which helpdesk or program sent it
    Column("external_id", _NAME, nullable=False),  # its name there
    Column("content_sha", _SHA, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("language", String(16), nullable=False),
    Column("received_at", Float, nullable=False),
    Column("prediction_id", _ID),  # the current one; null until it is answered
    Column("review_version", Integer, nullable=False, default=0),  # of the last review
    Column("status", String(16), nullable=False),  # see STATUSES
    Column("doubt", Float),  # one minus the least confidence; null until it is answered
    Column("draw", String(16)),  # how it came to be reviewed: see DRAWS in store/jobs.py
    Column("draw_probability", Float),
    Column("erased_at", Float),
    Column("fields", JSON),  # {field: value} of the helpdesk when the ticket came, where the webhook says so
    UniqueConstraint("source", "external_id", "content_sha"),
    Index(None, "status", "doubt"),
    Index(None, "received_at"),
)

WAITING, OPEN, REVIEWED, ERASED = STATUSES = ("waiting", "open", "reviewed", "erased")

predictions = Table(
    "predictions",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("ticket_id", _ID, ForeignKey("tickets.id"), nullable=False, index=True),
    Column("model", _NAME, nullable=False),  # fingerprint of the model that answered
    Column("labels", JSON, nullable=False),  # {column: label}
    Column("probabilities", JSON, nullable=False),  # {column: {label: probability}}
    Column("thresholds", JSON, nullable=False),  # {column: confidence from which no person is needed; null for never}
    Column("tags", JSON, nullable=False),  # {tag: probability}
    Column("reply", Text),
    Column("masked", JSON, nullable=False),  # kinds of contacts that a placeholder stands for in the reply
    Column("needs_review", Boolean, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("reply_cut", Boolean, nullable=False, server_default=false()),  # the reply stops before its own end
    Column("seconds", JSON, nullable=False),
    Column("created_at", Float, nullable=False, index=True),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("ticket_id", _ID, ForeignKey("tickets.id"), nullable=False, index=True),
    Column("labels_only", Boolean, nullable=False),
    Column("state", String(16), nullable=False),  # see JOB_STATES
    Column("attempts", Integer, nullable=False),
    Column("lease_until", Float),
    Column("lease_token", _ID),  # a worker whose lease has run out cannot finish the job any more
    Column("error", Text),
    Column("created_at", Float, nullable=False),
    Column("finished_at", Float),
    Index(None, "state", "created_at"),
)

QUEUED, RUNNING, DONE, FAILED = JOB_STATES = ("queued", "running", "done", "failed")

reviews = Table(
    "reviews",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("ticket_id", _ID, ForeignKey("tickets.id"), nullable=False),
    Column("prediction_id", _ID, ForeignKey("predictions.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("reviewer", _NAME, nullable=False),
    Column("action", String(16), nullable=False),  # see ACTIONS
    Column("shown", JSON, nullable=False),  # {column: label}; empty where the card was blind
    Column("final", JSON, nullable=False),  # {column: label}
    Column("tags", JSON, nullable=False),
    Column("reply", Text),
    Column("reply_distance", Float),  # normalised edit distance between draft and reply, 0 to 1
    Column("reason", Text, nullable=False),
    Column("seconds", Float),  # spent on the card
    Column("blind", Boolean, nullable=False),
    Column("draw", String(16), nullable=False),
    Column("draw_probability", Float, nullable=False),
    Column("created_at", Float, nullable=False, index=True),
    UniqueConstraint("ticket_id", "version"),
)

ACCEPT, CORRECT, REJECT, SKIP, UNDO = ACTIONS = ("accept", "correct", "reject", "skip", "undo")

cards = Table(  # who looks at which ticket now
    "cards",
    metadata,
    Column("ticket_id", _ID, ForeignKey("tickets.id"), primary_key=True),
    Column("reviewer", _NAME, nullable=False, index=True),
    Column("claimed_until", Float, nullable=False),
    Column("shown_at", Float, nullable=False),
)

skipped = Table(  # a card that somebody skipped comes back to that person last
    "skipped",
    metadata,
    Column("ticket_id", _ID, ForeignKey("tickets.id"), primary_key=True),
    Column("reviewer", _NAME, primary_key=True),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("hook", _NAME, primary_key=True),
    Column("delivery_id", _NAME, primary_key=True),
    Column("received_at", Float, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("helpdesk", _NAME, nullable=False),
    Column("ticket_id", _ID, ForeignKey("tickets.id"), nullable=False, index=True),
    Column("payload", JSON, nullable=False),
    Column("state", String(16), nullable=False),  # see OUTBOX_STATES
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("error", Text),
    Column("created_at", Float, nullable=False),
    Index(None, "state", "next_at"),
)

TO_SEND, SENT, GIVEN_UP, REPLACED = OUTBOX_STATES = ("waiting", "sent", "failed", "replaced")

tokens = Table(
    "tokens",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", _NAME, nullable=False, unique=True),
    Column("sha256", _SHA, nullable=False, unique=True),
    Column("role", String(16), nullable=False),  # see ROLES
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("last_used_at", Float),
)

INGEST, REVIEW, ADMIN = ROLES = ("ingest", "review", "admin")

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("actor", _NAME, nullable=False),
    Column("action", _NAME, nullable=False),
    Column("object", _NAME, nullable=False),
    Column("previous", _SHA, nullable=False),
    Column("sha256", _SHA, nullable=False),
)
