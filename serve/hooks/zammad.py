"""Zammad: a webhook of a trigger comes in, labels and a shared draft go back.

Its documentation: webhook payload and signature (X-Hub-Signature, HMAC-SHA1 of the body), PUT /api/v1/tickets/ID,
GET /api/v1/object_manager_attributes, GET and PUT /api/v1/tickets/ID/shared_draft.
"""

import hashlib
import hmac
from collections.abc import Mapping
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
    read_object,
    same_signature,
)

_LISTS = {
    "group": "groups",
    "priority": "ticket_priorities",
    "state": "ticket_states",
}  # fields with lists of their own
_CUT = "\n\n[duet's draft stops here, before its end; finish it before it is sent]"
_MARK = "duet"  # in the draft's subject, by which its own drafts are known


class Zammad(Helpdesk):
    """A Zammad instance."""

    def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Raise NotVerified where X-Hub-Signature is not the HMAC-SHA1 of the body."""
        expected = "sha1=" + hmac.new(self.settings.secret.encode(), body, hashlib.sha1).hexdigest()
        if not same_signature(expected, headers.get("x-hub-signature", "")):
            raise NotVerified("X-Hub-Signature does not fit; expected the HMAC-SHA1 of the body with the shared secret")

    def read(self, headers: Mapping[str, str], body: bytes) -> Delivery:
        """Return the ticket with its first article; events of our own user are ignored."""
        record = read_object(body)
        ticket, article = record.get("ticket"), record.get("article")
        if not isinstance(ticket, dict) or not isinstance(ticket.get("id"), int):
            raise NotUnderstood("expected `ticket` with an id, as Zammad's default payload has it")
        article = article if isinstance(article, dict) else {}
        author = article.get("created_by")
        author = author if isinstance(author, dict) else {}
        user = self.settings.user
        delivery_id = headers.get("x-zammad-delivery", "")[:200]
        is_ours = bool(user) and user in (author.get("email"), author.get("login"))
        if is_ours or article.get("internal") or article.get("sender") not in (None, "Customer"):
            return Delivery(delivery_id, None)
        fields = {name: _name(ticket[name]) for name in self.settings.fields.values() if name in ticket}
        found = incoming(self.settings.name, ticket["id"], ticket.get("title"), article.get("body"), fields)
        return Delivery(delivery_id, found)

    def write_back(self, external_id: str, payload: Mapping[str, Any]) -> Written:
        """Set the fields that still have the value seen before, and the draft where no person has one."""
        check_number(self.settings.name, external_id)
        answer = self.call("GET", f"/api/v1/tickets/{external_id}", params={"expand": "true"})
        if answer.status_code == 404:
            raise Refusal(f"{self.settings.name}: ticket {external_id} is gone", final=True)
        ticket = answer.json()
        changes, labels, notes = self._changes(ticket, payload)
        if changes:
            self.call("PUT", f"/api/v1/tickets/{external_id}", json=changes)
        if payload.get("new_reply") and self.settings.draft:
            end = _CUT if payload.get("reply_cut") else ""
            notes += self._draft(external_id, f"{payload['reply']}{end}")
        return Written(labels, notes)

    def authorisation(self) -> dict[str, str]:
        """Return the header of an access token."""
        return {"Authorization": f"Token token={self.settings.token}"}

    def _changes(
        self, ticket: Mapping[str, Any], payload: Mapping[str, Any]
    ) -> tuple[dict[str, str], dict[str, str], list[str]]:
        """Return fields to set, the labels that the ticket then has, and why others are left out."""
        changes: dict[str, str] = {}
        labels: dict[str, str] = {}
        notes: list[str] = []
        for column, label in payload["labels"].items():
            field = self.settings.fields.get(column)
            if field is None:
                continue
            value, current = self.value_of(column, label), ticket.get(field)
            objection = self.objection(column, field, payload, current, self._allowed(field))
            if objection:
                notes.append(objection)
                continue
            labels[column] = label
            if current != value:
                changes[field] = value
        return changes, labels, notes

    def _allowed(self, field: str) -> set[str]:
        """Return the names that a field can have now, without those that are switched off."""
        if field in _LISTS:
            rows = self.call("GET", f"/api/v1/{_LISTS[field]}").json()
            return {row["name"] for row in rows if row.get("active", True)}
        rows = self.call("GET", "/api/v1/object_manager_attributes").json()
        found = next((r for r in rows if r.get("name") == field and r.get("object") == "Ticket"), None)
        if found is None or not found.get("active", True):
            return set()
        options = found.get("data_option", {}).get("options", {})
        if isinstance(options, dict):
            return set(options)
        return {str(option.get("value")) for option in options if isinstance(option, dict)}

    def _draft(self, external_id: str, reply: str) -> list[str]:
        path = f"/api/v1/tickets/{external_id}/shared_draft"
        answer = self.call("GET", path)
        draft = answer.json().get("assets") if answer.status_code != 404 else None
        found = answer.json() if draft is not None else {}
        if found.get("shared_draft_id") and not self._is_ours(found):
            return ["draft: a person has one"]
        article = {"body": reply, "type": "email", "internal": False, "subject": _MARK}
        self.call("PUT", path, json={"new_article": article, "ticket_attributes": {}})
        return []

    def _is_ours(self, found: Mapping[str, Any]) -> bool:
        drafts = (found.get("assets") or {}).get("TicketSharedDraftZoom") or {}
        draft = drafts.get(str(found["shared_draft_id"])) or {}
        return bool((draft.get("new_article") or {}).get("subject") == _MARK)


def _name(value: object) -> object:
    """Return a field's value in a webhook: the name of a group or priority, which stands in an object there."""
    return value.get("name") if isinstance(value, dict) else value
