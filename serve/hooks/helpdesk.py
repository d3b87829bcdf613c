"""A helpdesk as the server knows it: how its webhooks are verified and read, and how answers are written back.

To add one, write a class with `verify`, `read` and `write_back`, and add it to KINDS. See docs/helpdesks.md.
"""

import hmac
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from engines.http_limits import asked_pause
from serve.schemas import TicketIn
from store.incoming import Incoming, without_nul
from tickets.numbers import whole_number

_CONNECT_SECONDS, _SECONDS = 5.0, 30.0
_LARGEST_ID = 2**63 - 1  # of a ticket that has a number


class NotVerified(Exception):
    """A delivery that does not prove where it comes from."""


class NotUnderstood(Exception):
    """A delivery without what a ticket needs."""


class Refusal(Exception):
    """The helpdesk did not take it. `final`: it never will; `after`: seconds before it may be asked again."""

    def __init__(self, reason: str, final: bool = False, after: float = 0.0) -> None:
        super().__init__(reason)
        self.final, self.after = final, after


@dataclass(frozen=True)
class Delivery:
    """A verified delivery: its id for those that come twice, and its ticket; None for an event to be ignored."""

    id: str
    incoming: Incoming | None


@dataclass(frozen=True)
class Settings:
    """What the configuration says of a helpdesk.

    Attributes:
        name: of the helpdesk, in the address of its hook.
        url: of its API, the only host that is ever called.
        secret: shared with it, by which deliveries are verified.
        token: for its API.
        user: whose token it is; its own events are ignored.
        fields: field of the helpdesk by label column; other columns are not written back.
        values: by column, the helpdesk's name of a label where it is another one.
        draft: whether replies are written back as drafts.
        doubtful: whether labels that a person should look at are written back before somebody did.
    """

    name: str
    url: str = ""
    secret: str = ""
    token: str = ""
    user: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    draft: bool = True
    doubtful: bool = False


@dataclass(frozen=True)
class Written:
    """What a helpdesk took: labels by column, also those that it had; `notes` say what was left out and why."""

    labels: Mapping[str, str]
    notes: Sequence[str] = ()


class Helpdesk(ABC):
    """One helpdesk."""

    def __init__(self, settings: Settings, transport: httpx2.BaseTransport | None = None) -> None:
        """Take the settings; `transport` replaces the network."""
        self.settings = settings
        self._transport = transport

    @property
    def writes_back(self) -> bool:
        """Whether answers go back to it."""
        return bool(self.settings.url)

    @abstractmethod
    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raise NotVerified where the raw body was not signed with the shared secret."""

    @abstractmethod
    def read(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        """Return what a verified delivery says.

        Raises:
            NotUnderstood: it holds no ticket.
        """

    @abstractmethod
    def write_back(self, external_id: str, payload: Mapping[str, Any]) -> Written:
        """Write labels and a draft.

        Args:
            payload: `labels` by column, `reply` or None, whether it is a `new_reply`, whether the draft was cut
                (`reply_cut`), whether a person `reviewed` it, `before`: the labels written last, by column, and
                `arrived`: the fields when the ticket came, or None.

        Raises:
            Refusal: it was not taken.
        """

    def value_of(self, column: str, label: str) -> str:
        """Return the helpdesk's name of a label."""
        return self.settings.values.get(column, {}).get(label, label)

    def objection(
        self, column: str, field: str, payload: Mapping[str, Any], current: object, allowed: Collection[str]
    ) -> str | None:
        """Return why a label must not be written: it is not in the field's list, or a person has set another value.

        Args:
            payload: of `write_back`.
            current: the field's value now.
            allowed: the values that it can have now.
        """
        value = self.value_of(column, payload["labels"][column])
        if value not in allowed:
            return f"{field}: {value!r} is not in the helpdesk's list"
        before, arrived = payload.get("before") or {}, payload.get("arrived") or {}
        if column in before:
            expected = self.value_of(column, before[column])
        elif field in arrived:
            expected = arrived[field]
        else:
            return None  # what was there is not known
        if _plain(current) in (None, _plain(value), _plain(expected)):
            return None
        return f"{field}: a person has set {current!r}"

    def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """Call the API of the configured host.

        Redirects are not followed: they could lead to another host.

        Raises:
            Refusal: not reached, or another status than 2xx and 404.
        """
        try:
            with httpx2.Client(
                base_url=self.settings.url,
                headers=self.authorisation(),
                timeout=httpx2.Timeout(_SECONDS, connect=_CONNECT_SECONDS),
                transport=self._transport,
            ) as client:
                response = client.request(method, path, **options)
        except httpx2.HTTPError as error:
            raise Refusal(f"{self.settings.name}: {type(error).__name__} at {method} {path}") from None
        if response.is_success or response.status_code == 404:
            return response
        code = response.status_code
        passing = code in (408, 409, 423, 425, 429) or code >= 500
        reason = f"{self.settings.name}: status {code} at {method} {path}"
        raise Refusal(reason, final=not passing, after=asked_pause(response.headers) or 0.0)

    def authorisation(self) -> dict[str, str]:
        """Return the headers that give access to the API."""
        return {"Authorization": f"Bearer {self.settings.token}"} if self.settings.token else {}


def _plain(value: object) -> str | None:
    """Return a field's value for comparing: webhooks write it in other cases than the API does."""
    return str(value).casefold() if value not in (None, "") else None


def is_number(external_id: str) -> bool:
    """Return whether an id can be the number of a ticket."""
    return whole_number(external_id, _LARGEST_ID) is not None


def check_number(name: str, external_id: str) -> None:
    """Refuse an id that is none of the helpdesk's: it becomes part of an address.

    Raises:
        Refusal: not a number.
    """
    if not is_number(external_id):
        raise Refusal(f"{name}: {external_id!r} is no number of a ticket", final=True)


def same_signature(expected: str, given: str) -> bool:
    """Compare two signatures in constant time."""
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        NotUnderstood: not JSON, or no object.
    """
    try:
        record = json.loads(body, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise NotUnderstood("not JSON; expected an object with the ticket") from None
    if not isinstance(record, dict):
        raise NotUnderstood("expected a JSON object with the ticket")
    return record


def _refuse_constant(name: str) -> None:
    """Refuse what Python reads and JSON does not have."""
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    """Return a number that a database takes; 1e999 is infinite in Python."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number


def incoming(
    source: str, external_id: object, subject: object, body: object, fields: Mapping[str, Any] | None = None
) -> Incoming:
    """Return a ticket of a helpdesk, cleaned as every other; `fields` are those of `Incoming`.

    Raises:
        NotUnderstood: no text.
    """
    try:
        ticket = TicketIn(subject=str(subject or "")[:2_000], body=str(body or "")[:500_000]).to_ticket()
    except ValueError:
        ticket = None
    if ticket is None:
        raise NotUnderstood("the ticket is empty; expected its title or the text of its first message")
    return Incoming(source, without_nul(str(external_id))[:200], ticket, fields)
