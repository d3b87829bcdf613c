"""Small servers that behave as Zammad and Zendesk document theirs."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2


@dataclass
class FakeZammad:
    """Tickets, lists and shared drafts of a Zammad; `statuses` are given instead of an answer, one after another."""

    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    drafts: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: list[dict[str, Any]] = field(default_factory=list)
    kinds: dict[str, str] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    calls: list[tuple[str, str]] = field(default_factory=list)
    token: str = "zt"

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.calls.append((request.method, request.url.path))
        assert request.url.host == "zammad.example"
        if request.headers.get("authorization") != f"Token token={self.token}":
            return httpx2.Response(401)
        if self.statuses:
            return httpx2.Response(self.statuses.pop(0), headers={"Retry-After": "60"})
        parts = request.url.path.removeprefix("/api/v1/").split("/")
        if parts[0] == "groups":
            return httpx2.Response(200, json=self.groups)
        if parts[0] == "object_manager_attributes":
            kind = {"name": "kind", "object": "Ticket", "active": True, "data_option": {"options": self.kinds}}
            return httpx2.Response(200, json=[kind])
        number = parts[1]
        if number not in self.tickets:
            return httpx2.Response(404)
        if len(parts) == 3:
            return self._draft(number, request)
        if request.method == "PUT":
            self.tickets[number].update(json.loads(request.content))
        return httpx2.Response(200, json=self.tickets[number])

    def _draft(self, number: str, request: httpx2.Request) -> httpx2.Response:
        if request.method == "PUT":
            self.drafts[number] = json.loads(request.content)
            return httpx2.Response(200, json={"shared_draft_id": 9, "assets": {}})
        if number not in self.drafts:
            return httpx2.Response(200, json={"shared_draft_id": None, "assets": {}})
        assets = {"TicketSharedDraftZoom": {"9": self.drafts[number]}}
        return httpx2.Response(200, json={"shared_draft_id": 9, "assets": assets})


@dataclass
class FakeZendesk:
    """Tickets and ticket fields of a Zendesk; an update with an old stamp is refused as documented."""

    tickets: dict[str, dict[str, Any]] = field(default_factory=dict)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    comments: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    between: Callable[[], None] = lambda: None  # what a person does between reading and writing

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.host == "desk.example" and request.headers["authorization"].startswith("Basic ")
        if self.statuses:
            return httpx2.Response(self.statuses.pop(0))
        what, _, number = request.url.path.removeprefix("/api/v2/").removesuffix(".json").partition("/")
        rows = self.fields if what == "ticket_fields" else self.tickets
        if number not in rows:
            return httpx2.Response(404)
        if request.method == "PUT":
            return self._update(self.tickets[number], json.loads(request.content)["ticket"])
        found = json.loads(json.dumps(rows[number]))
        if what == "tickets":
            self.between()
        return httpx2.Response(200, json={what.removesuffix("s"): found})

    def _update(self, ticket: dict[str, Any], change: dict[str, Any]) -> httpx2.Response:
        if change.pop("safe_update", False) and change.pop("updated_stamp") != ticket["updated_at"]:
            return httpx2.Response(409, json={"error": "UpdateConflict"})
        if comment := change.pop("comment", None):
            self.comments.append(comment)
        for entry in change.pop("custom_fields", []):
            next(f for f in ticket["custom_fields"] if f["id"] == entry["id"])["value"] = entry["value"]
        ticket.update(change)
        ticket["updated_at"] += "x"
        return httpx2.Response(200, json={"ticket": ticket})
