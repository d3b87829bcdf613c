"""Zendesk: a webhook of a trigger comes in, labels go back as fields and tags, the draft as an internal note.

Its documentation: webhook signatures (base64 of the HMAC-SHA256 of timestamp and body), PUT /api/v2/tickets/ID.json
with `safe_update`, GET /api/v2/ticket_fields/ID.json. The body is the trigger's own JSON, see docs/helpdesks.md.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from serve.hooks.helpdesk import (
    Delivery,
    Helpdesk,
    NotUnderstood,
    NotVerified,
    Refusal,
    Written,
    check_number,
    incoming,
    is_number,
    read_object,
    same_signature,
)

_LATE_SECONDS = 300.0
_SYSTEM = {"priority": {"low", "normal", "high", "urgent"}, "type": {"problem", "incident", "question", "task"}}
_DRAFT = "Draft by duet, to be read before it is sent:"
_CUT = "Draft by duet that stops before its end, to be finished before it is sent:"
_REVIEWED = "Draft, reviewed by a person:"


class Zendesk(Helpdesk):
    """A Zendesk account."""

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raise NotVerified for a wrong signature, or one older than five minutes."""
        stamp = headers.get("x-zendesk-webhook-signature-timestamp", "")
        signed = stamp.encode("utf-8", "replace") + body
        digest = hmac.new(self.settings.secret.encode(), signed, hashlib.sha256).digest()
        if not same_signature(base64.b64encode(digest).decode(), headers.get("x-zendesk-webhook-signature", "")):
            raise NotVerified("X-Zendesk-Webhook-Signature does not fit; expected the one of the webhook's secret")
        try:
            sent = datetime.fromisoformat(stamp).timestamp()
        except ValueError:
            raise NotVerified("the signature's timestamp is no time; expected ISO 8601") from None
        if abs(time.time() - sent) > _LATE_SECONDS:
            raise NotVerified("the signature is older than five minutes; check both clocks")

    def read(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        """Return the ticket; events of our own user are ignored."""
        record = read_object(body)
        external_id = str(record.get("id") or "")
        if not is_number(external_id):
            raise NotUnderstood(
                "expected `id`, `subject` and `description`, as docs/helpdesks.md has the trigger's JSON"
            )
        delivery_id = headers.get("x-zendesk-webhook-invocation-id", "")[:200]
        if self.settings.user and record.get("updated_by") == self.settings.user:
            return Delivery(delivery_id, None)
        fields = record.get("fields")
        seen = {str(name): value for name, value in fields.items()} if isinstance(fields, dict) else None
        found = incoming(self.settings.name, external_id, record.get("subject"), record.get("description"), seen)
        return Delivery(delivery_id, found)

    def write_back(self, external_id: str, payload: Mapping[str, Any]) -> Written:
        """Set fields and tags in one update, which is refused where somebody changed the ticket meanwhile."""
        check_number(self.settings.name, external_id)
        answer = self.call("GET", f"/api/v2/tickets/{external_id}.json")
        if answer.status_code == 404:
            raise Refusal(f"{self.settings.name}: ticket {external_id} is gone", final=True)
        ticket = answer.json()["ticket"]
        update: dict[str, Any] = {"safe_update": True, "updated_stamp": ticket["updated_at"]}
        custom, tags, notes = [], list(ticket.get("tags") or []), list[str]()
        labels: dict[str, str] = {}
        for column, label in payload["labels"].items():
            field = self.settings.fields.get(column)
            if field is None:
                continue
            value = self.value_of(column, label)
            objection = self.objection(column, field, payload, _current(ticket, field), self._allowed(field))
            if objection:
                notes.append(objection)
                continue
            labels[column] = label
            if field in _SYSTEM:
                update[field] = value
            else:
                custom.append({"id": int(field), "value": value})
            tags = [tag for tag in tags if not tag.startswith(f"duet_{column}__")]
            tags.append(f"duet_{column}__{'_'.join(value.lower().split())}")
        if custom:
            update["custom_fields"] = custom
        if tags != list(ticket.get("tags") or []):
            update["tags"] = tags
        if payload.get("new_reply") and self.settings.draft:
            heading = _REVIEWED if payload.get("reviewed") else _CUT if payload.get("reply_cut") else _DRAFT
            update["comment"] = {"body": f"{heading}\n\n{payload['reply']}", "public": False}
        if len(update) > 2:
            self.call("PUT", f"/api/v2/tickets/{external_id}.json", json={"ticket": update})
        return Written(labels, notes)

    def authorisation(self) -> dict[str, str]:
        """Return the header of an API token."""
        pair = f"{self.settings.user}/token:{self.settings.token}".encode()
        return {"Authorization": "Basic " + base64.b64encode(pair).decode()}

    def _allowed(self, field: str) -> set[str]:
        if field in _SYSTEM:
            return _SYSTEM[field]
        answer = self.call("GET", f"/api/v2/ticket_fields/{field}.json")
        if answer.status_code == 404:
            return set()
        found = answer.json()["ticket_field"]
        return {option["value"] for option in found.get("custom_field_options") or ()} if found.get("active") else set()


def _current(ticket: Mapping[str, Any], field: str) -> Any:
    if field in _SYSTEM:
        return ticket.get(field)
    return next((f["value"] for f in ticket.get("custom_fields") or () if str(f["id"]) == field), None)
