"""What a ticket is, what is predicted of it and what is answered: the data that moves between packages."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from tickets.errors import InputError
from tickets.own_json import decode_own, own_lines
from tickets.plain_reason import kind_of, plain_reason
from tickets.terminal import json_text

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Ticket:
    """One helpdesk ticket, with the agent's `reply` and the date of creation as the source writes it, where known.

    `labels` are strings by column name; a column without a label for this ticket is not among them. A `synthetic`
    ticket was written by a model after the ticket whose id is `parent`; it has its labels, and no reply.
    """

    id: str
    subject: str
    body: str
    language: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    reply: str = ""
    created: str = ""
    synthetic: bool = False
    parent: str = ""

    @property
    def text(self) -> str:
        """Subject and body as one string, as near-duplicates and TF-IDF see them."""
        return f"{self.subject}\n{self.body}" if self.subject else self.body


@dataclass(frozen=True)
class Prediction:
    """Labels by column, calibrated probability of every class by column, and tags with their probability.

    `joint_probability` is that of all labels at once; None where columns were decoded independently.
    """

    labels: Mapping[str, str]
    probabilities: Mapping[str, Mapping[str, float]]
    tags: Mapping[str, float]
    joint_probability: float | None = None

    @property
    def confidence(self) -> dict[str, float]:
        """Probability of the predicted class, by column."""
        return {column: self.probabilities[column][label] for column, label in self.labels.items()}

    @property
    def confidence_all(self) -> float:
        """Probability that all labels are right: of the combination, or the product of independent ones."""
        return prod(self.confidence.values()) if self.joint_probability is None else self.joint_probability


@dataclass(frozen=True)
class Answer:
    """What the system says to one ticket.

    Attributes:
        reply: None where none was asked for.
        needs_review: a person has to look before anything is done.
        truncated: the ticket was longer than the model reads.
        timings: seconds, by stage.
        apply: by column, whether the label can be applied without a person.
        masked: kinds of contacts that a placeholder stands for in the reply; they call for a review.
        reply_cut: the reply stops before its own end.
    """

    ticket_id: str
    prediction: Prediction
    reply: str | None
    needs_review: bool
    truncated: bool
    timings: Mapping[str, float]
    apply: Mapping[str, bool] = field(default_factory=dict)
    masked: tuple[str, ...] = ()
    reply_cut: bool = False

    @property
    def reply_is_whole(self) -> bool:
        """Whether the reply says something and ends by itself; also where none was asked for."""
        return self.reply is None or (bool(self.reply) and not self.reply_cut)


def ticket_to_json(ticket: Ticket) -> str:
    """Return one line of JSON, the format of train / validation / test files."""
    record = {**vars(ticket), "labels": dict(ticket.labels)}  # asdict copies deeply, four times as slow
    for name in ("created", "synthetic", "parent"):  # most tickets have none of them
        if not record[name]:
            del record[name]
    return json_text(record)


def ticket_from_record(record: Mapping[str, Any], where: str) -> Ticket:
    """Build a ticket from one decoded JSON line; `where` names it in the error."""
    try:
        labels = _mapping(record.get("labels"))
        synthetic, parent = record.get("synthetic", False), _scalar(record.get("parent") or "")
        if not isinstance(synthetic, bool) or synthetic != bool(parent):
            raise ValueError("synthetic and parent go together: true, and the id of a ticket")
        return Ticket(
            id=_scalar(record["id"]),
            subject=_text(record["subject"]),
            body=_text(record["body"]),
            language=_text(record.get("language")),
            labels={column: _scalar(label) for column, label in labels.items() if label not in (None, "")},
            tags=tuple(map(_scalar, _list(record.get("tags")))),
            reply=_text(record.get("reply")),
            created=_scalar(record.get("created") or ""),
            synthetic=synthetic,
            parent=parent,
        )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{where}: not a prepared ticket ({plain_reason(error)}); expected an object with id, subject, "
            "body, labels, tags and reply; run `duet prepare` on the source first"
        ) from None


def _text(value: object) -> str:
    if not isinstance(value, str | None):
        raise TypeError(f"found {kind_of(value)}, not a text")
    return value or ""


def _scalar(value: object) -> str:
    """Return a text, or the number that somebody wrote in place of one."""
    if not isinstance(value, str | int | float):
        raise TypeError(f"found {kind_of(value)}, not a text or number")
    return str(value)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping | None):
        raise TypeError(f"found {kind_of(value)}, not an object")
    return value or {}


def _list(value: object) -> list[object]:
    if not isinstance(value, list | None):
        raise TypeError(f"found {kind_of(value)}, not a list")
    return value or []


def ticket_from_line(line: str | bytes, where: str) -> Ticket:
    """Build a ticket from a line of a prepared file; `where` names it in the error.

    Raises:
        InputError: no ticket of ours.
    """
    try:
        record = decode_own(line)
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8 text; expected prepared tickets; run `duet prepare` first") from None
    except ValueError as error:
        reason = getattr(error, "msg", error)
        raise InputError(f"{where}: not JSON ({reason}); expected one ticket per line; run `duet prepare`") from None
    if not isinstance(record, dict):
        raise InputError(f"{where}: found {type(record).__name__}, expected an object; run `duet prepare`")
    return ticket_from_record(record, where)


def read_tickets(path: Path) -> list[Ticket]:
    """Read a prepared JSONL file, the inverse of `write_tickets`."""
    return list(iter_tickets(path))


def iter_tickets(path: Path) -> Iterator[Ticket]:
    """Stream a prepared JSONL file, one ticket at a time."""
    try:
        for number, line in own_lines(path):
            yield ticket_from_line(line, f"{path}:{number}")
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(
            f"{path}: no such file; expected prepared tickets, which `duet prepare SOURCE --out {path.parent}` writes"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not readable ({plain_reason(error)}); expected prepared tickets; run `duet prepare`"
        ) from None


def write_tickets(path: Path, tickets: Iterable[Ticket]) -> None:
    """Write tickets as JSONL, one per line, UTF-8."""
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as out:
        for ticket in tickets:
            out.write(ticket_to_json(ticket) + "\n")
