"""Webhooks in, labels and drafts back: signatures, repetitions, people's own changes, and what goes wrong."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

import httpx2
from sqlalchemy import select, update
from sqlalchemy.exc import DataError, OperationalError

from serve.hooks.configuration import load_helpdesks
from serve.hooks.generic import Generic
from serve.hooks.helpdesk import Refusal, Settings
from serve.hooks.zammad import Zammad
from serve.hooks.zendesk import Zendesk
from store.jobs import fail
from store.outbox import retry_given_up
from store.reviews import undo_last
from store.tables import outbox, tokens
from tests.helpdesks import FakeZammad, FakeZendesk
from tests.serving import COLUMNS, Running, running, sqlite_url
from tickets.errors import InputError

SECRET = "s3cret"


@pytest.fixture
def zammad() -> FakeZammad:
    return FakeZammad(
        tickets={"5": {"id": 5, "group": "Users", "kind": ""}},
        groups=[
            {"name": "Users", "active": True},
            {"name": "Billing", "active": True},
            {"name": "Old", "active": False},
        ],
        kinds={"Incident": "Incident", "Request": "Request"},
    )


@pytest.fixture
def zendesk() -> FakeZendesk:
    ticket = {"id": 5, "updated_at": "t", "tags": ["vip"], "type": None, "custom_fields": [{"id": 77, "value": None}]}
    options = [{"value": "Billing"}, {"value": "IT"}]
    return FakeZendesk({"5": ticket}, {"77": {"id": 77, "active": True, "custom_field_options": options}})


@pytest.fixture
def server(
    tmp_path: Path, zammad: FakeZammad, zendesk: FakeZendesk, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    monkeypatch.setattr("serve.hooks.writing_back._LOOK_SECONDS", 0.02)
    fields = {"queue": "group", "type": "kind"}
    common = {"secret": SECRET, "token": "zt", "user": "duet@example.com", "doubtful": True}
    desks = {
        "zammad": Zammad(
            Settings("zammad", "https://zammad.example", fields=fields, **common), httpx2.MockTransport(zammad)
        ),
        "zendesk": Zendesk(
            Settings(
                "zendesk",
                "https://desk.example",
                fields={"queue": "77", "type": "type"},
                values={"type": {"Incident": "incident"}},
                **common,
            ),
            httpx2.MockTransport(zendesk),
        ),
        "generic": Generic(Settings("generic", secret=SECRET)),
    }
    with running(sqlite_url(tmp_path), desks) as found:
        yield found


def eventually(check: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def states(server: Running) -> list[tuple[str, str | None]]:
    with server.database.read() as connection:
        return [(row.state, row.error) for row in connection.execute(select(outbox).order_by(outbox.c.id))]


def names(server: Running) -> dict[str, str]:
    """Names of the tokens' owners by role."""
    with server.database.read() as connection:
        return {row.role: row.name for row in connection.execute(select(tokens))}


def zammad_hook(
    server: Running, delivery: str = "d1", secret: str = SECRET, fields: dict[str, Any] | None = None, **article: Any
) -> Any:
    content = {"body": "no paper", "sender": "Customer", "internal": False, "created_by": {"email": "a@b.c"}, **article}
    body = json.dumps({"ticket": {"id": 5, "title": "Printer", **(fields or {})}, "article": content}).encode()
    signature = "sha1=" + hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    headers = {"X-Hub-Signature": signature, "X-Zammad-Delivery": delivery}
    return server.client.post("/hooks/zammad", content=body, headers=headers)


def zendesk_hook(server: Running, delivery: str = "d1", late: float = 0.0, **more: Any) -> Any:
    body = json.dumps({"id": "5", "subject": "Printer", "description": "no paper", **more}).encode()
    stamp = (datetime.now(UTC) - timedelta(seconds=late)).isoformat()
    digest = hmac.new(SECRET.encode(), stamp.encode() + body, hashlib.sha256).digest()
    headers = {
        "X-Zendesk-Webhook-Signature": base64.b64encode(digest).decode(),
        "X-Zendesk-Webhook-Signature-Timestamp": stamp,
        "X-Zendesk-Webhook-Invocation-Id": delivery,
    }
    return server.client.post("/hooks/zendesk", content=body, headers=headers)


def test_zammad_gets_labels_and_a_draft(server: Running, zammad: FakeZammad) -> None:
    assert zammad_hook(server).json()["state"] == "queued"
    eventually(lambda: "5" in zammad.drafts)
    assert zammad.tickets["5"] == {"id": 5, "group": "Billing", "kind": "Incident"}
    assert zammad.drafts["5"]["new_article"]["body"] == "Dear customer, we look into: Printer"
    assert zammad.drafts["5"]["new_article"]["internal"] is False


def test_doubtful_labels_wait_for_a_person(server: Running, zammad: FakeZammad) -> None:
    settings = replace(server.server.helpdesks["zammad"].settings, doubtful=False)
    server.server.helpdesks["zammad"].settings = settings
    ticket = zammad_hook(server, body="surely no paper").json()["ticket"]
    eventually(lambda: "5" in zammad.drafts)
    assert zammad.tickets["5"] == {"id": 5, "group": "Users", "kind": "Incident"}
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json={}, headers={"If-Match": "0"})
    eventually(lambda: zammad.tickets["5"]["group"] == "Billing")


def test_a_delivery_or_content_that_comes_twice_is_one_ticket(server: Running) -> None:
    first, again, same = zammad_hook(server), zammad_hook(server), zammad_hook(server, "d2")
    assert [r.status_code for r in (first, again, same)] == [202, 202, 202]
    assert [r.json()["state"] for r in (first, again, same)] == ["queued", "known delivery", "known ticket"]
    assert first.json()["ticket"] == same.json()["ticket"]


@pytest.mark.parametrize(
    "article", [{"internal": True}, {"sender": "Agent"}, {"created_by": {"email": "duet@example.com"}}]
)
def test_own_and_internal_articles_are_ignored(server: Running, article: dict[str, Any]) -> None:
    assert zammad_hook(server, **article).json()["state"] == "ignored"


def test_wrong_signatures_are_refused(server: Running) -> None:
    assert zammad_hook(server, secret="other").status_code == 401
    assert server.client.post("/hooks/zammad", content=b"{}").status_code == 401
    assert zendesk_hook(server, late=301).status_code == 401
    assert zendesk_hook(server, late=-301).status_code == 401
    assert zendesk_hook(server, late=200).status_code == 202
    assert server.client.post("/hooks/nobody", content=b"{}").status_code == 404


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"id": [1]}', b'{"id": 1, "subject": " "}', b"[" * 100_000])
def test_signed_nonsense_is_422(server: Running, body: bytes) -> None:
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert (
        server.client.post("/hooks/generic", content=body, headers={"X-Duet-Signature": signature}).status_code == 422
    )


def test_labels_that_left_the_list_are_not_written(server: Running, zammad: FakeZammad) -> None:
    zammad.groups = [{"name": "Users", "active": True}, {"name": "Billing", "active": False}]
    zammad_hook(server)
    eventually(lambda: [s for s, _ in states(server)] == ["sent"])
    assert states(server)[0][1] == "group: 'Billing' is not in the helpdesk's list"
    assert zammad.tickets["5"]["group"] == "Users" and zammad.tickets["5"]["kind"] == "Incident"


def test_a_persons_draft_and_label_stay(server: Running, zammad: FakeZammad) -> None:
    zammad.drafts["5"] = {"new_article": {"body": "mine", "subject": ""}}
    ticket = zammad_hook(server).json()["ticket"]
    eventually(lambda: [s for s, _ in states(server)] == ["sent"])
    assert states(server)[0][1] == "draft: a person has one" and zammad.drafts["5"]["new_article"]["body"] == "mine"
    zammad.tickets["5"]["kind"] = "Request"  # a person in the helpdesk
    review = {"labels": {"queue": "Billing", "type": "Incident"}, "reply": "A better text"}
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json=review, headers={"If-Match": "0"})
    eventually(lambda: [s for s, _ in states(server)] == ["sent", "sent"])
    assert "kind: a person has set 'Request'" in str(states(server)[1][1])
    assert zammad.tickets["5"]["kind"] == "Request"


def test_a_review_replaces_our_own_draft_and_label(server: Running, zammad: FakeZammad) -> None:
    ticket = zammad_hook(server).json()["ticket"]
    eventually(lambda: "5" in zammad.drafts)
    review = {"labels": {"type": "Request"}, "reply": "A better text"}
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json=review, headers={"If-Match": "0"})
    eventually(lambda: zammad.drafts["5"]["new_article"]["body"] == "A better text")
    assert zammad.tickets["5"]["kind"] == "Request"


def test_a_person_who_was_faster_than_the_first_answer_is_left_alone(server: Running, zammad: FakeZammad) -> None:
    zammad.tickets["5"] |= {"group": "Old", "kind": "Request"}  # set while the ticket waited for its answer
    zammad_hook(server, fields={"group": {"id": 1, "name": "Users"}, "kind": ""})
    eventually(lambda: [s for s, _ in states(server)] == ["sent"])
    assert zammad.tickets["5"] == {"id": 5, "group": "Old", "kind": "Request"}
    assert states(server)[0][1] == "kind: a person has set 'Request'; group: a person has set 'Old'"


def test_a_label_that_could_not_be_written_does_not_bar_its_correction(server: Running, zammad: FakeZammad) -> None:
    zammad.groups = [{"name": "Users", "active": True}, {"name": "IT", "active": True}]
    ticket = zammad_hook(server, fields={"group": {"name": "Users"}}).json()["ticket"]
    eventually(lambda: [s for s, _ in states(server)] == ["sent"])
    assert zammad.tickets["5"]["group"] == "Users"  # Billing is not in the list
    review = {"labels": {"queue": "IT"}}
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json=review, headers={"If-Match": "0"})
    eventually(lambda: zammad.tickets["5"]["group"] == "IT")


def test_what_a_person_decided_is_never_overwritten_by_an_older_answer(server: Running, zammad: FakeZammad) -> None:
    zammad.statuses = [503]
    ticket = zammad_hook(server).json()["ticket"]
    eventually(lambda: bool(states(server)) and states(server)[0][1] is not None)
    review = {"labels": {"type": "Request"}, "reply": "By a person"}
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json=review, headers={"If-Match": "0"})
    eventually(lambda: [s for s, _ in states(server)] == ["replaced", "sent"])
    with server.database.write() as connection:
        connection.execute(update(outbox).values(next_at=0.0))
    assert retry_given_up(server.database) == 0
    time.sleep(0.2)
    assert zammad.tickets["5"]["kind"] == "Request"
    assert zammad.drafts["5"]["new_article"]["body"] == "By a person"


def test_an_undone_review_is_not_sent_and_the_answer_is(server: Running, zammad: FakeZammad) -> None:
    zammad.statuses = [503]
    ticket = zammad_hook(server).json()["ticket"]
    eventually(lambda: bool(states(server)) and states(server)[0][1] is not None)
    zammad.statuses = [503] * 1000  # until the review is taken back
    review = {"labels": {"type": "Request"}, "reply": "oops"}
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json=review, headers={"If-Match": "0"})
    assert undo_last(server.database, next(n for r, n in names(server).items() if r == "admin")) == ticket
    assert [s for s, _ in states(server)] == ["waiting", "replaced"]
    zammad.statuses = []

    def arrived() -> bool:
        with server.database.write() as connection:  # an attempt that was under way sets its pause after we did
            connection.execute(update(outbox).values(next_at=0.0))
        return "5" in zammad.drafts

    eventually(arrived)
    assert zammad.drafts["5"]["new_article"]["body"] == "Dear customer, we look into: Printer"
    assert zammad.tickets["5"]["kind"] == "Incident"


def test_of_a_rejected_answer_nothing_more_is_sent(server: Running, zammad: FakeZammad) -> None:
    zammad.statuses = [503]
    ticket = zammad_hook(server).json()["ticket"]
    eventually(lambda: bool(states(server)) and states(server)[0][1] is not None)
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json={"action": "reject"}, headers={"If-Match": "0"})
    assert [s for s, _ in states(server)] == ["replaced"]


def test_a_card_without_a_draft_does_not_empty_the_helpdesk_s(
    server: Running, zammad: FakeZammad, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.jobs.random.random", lambda: 0.0)  # every card is blind
    ticket = zammad_hook(server).json()["ticket"]
    eventually(lambda: [s for s, _ in states(server)] == ["sent"])
    review = {"labels": {"type": "Request", "queue": "Billing"}, "reply": ""}
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json=review, headers={"If-Match": "0"})
    eventually(lambda: [s for s, _ in states(server)] == ["sent", "sent"])
    assert zammad.drafts["5"]["new_article"]["body"] == "Dear customer, we look into: Printer"
    assert zammad.tickets["5"]["kind"] == "Request"


def test_an_answer_and_its_outbox_entry_are_stored_together(server: Running, zammad: FakeZammad) -> None:
    dispatcher = server.server.dispatcher
    assert dispatcher is not None
    stored, failures = dispatcher._on_stored, iter([OperationalError("x", {}, Exception("locked"))])

    def locked_once(*arguments: Any) -> None:
        error = next(failures, None)
        if error:
            raise error
        assert stored is not None
        stored(*arguments)

    dispatcher._on_stored = locked_once
    zammad_hook(server)
    eventually(lambda: "5" in zammad.drafts)


def test_an_answer_that_the_store_rejects_fails_and_others_go_on(
    server: Running, zammad: FakeZammad, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the failure cannot be stored at first."""
    monkeypatch.setattr("serve.dispatch._POLL_SECONDS", 0.02)
    dispatcher, stored, failed, locked = server.server.dispatcher, [DataError], fail, [OperationalError]

    assert dispatcher is not None

    def rejected_once(*_arguments: Any) -> None:
        if stored:
            raise stored.pop()("x", {}, Exception("a value of another kind"))

    def locked_once(*arguments: Any) -> None:
        if locked:
            raise locked.pop()("x", {}, Exception("locked"))
        failed(*arguments)

    dispatcher._on_stored = rejected_once
    monkeypatch.setattr("serve.dispatch.fail", locked_once)
    job = server.ask("POST", "/v1/tickets", json={"body": "no paper"}).json()["job"]
    eventually(lambda: server.ask("GET", f"/v1/jobs/{job}").json()["state"] == "failed")
    assert not stored and not locked and dispatcher.alive
    assert server.add("another")["state"] == "done"


@pytest.mark.parametrize("external_id", ["../users/3?x=", "5", "7/../5", "٥"])
def test_only_a_webhook_makes_tickets_of_a_helpdesk(server: Running, zammad: FakeZammad, external_id: str) -> None:
    ticket = {"subject": "x", "body": "y", "source": "zammad", "external_id": external_id}
    answer = server.ask("POST", "/v1/tickets", "ingest", json=ticket)
    assert answer.status_code == 422 and "webhook alone" in answer.text
    if external_id != "5":
        with pytest.raises(Refusal, match="no number of a ticket"):
            server.server.helpdesks["zammad"].write_back(external_id, {"labels": {}})
        with pytest.raises(Refusal, match="no number of a ticket"):
            server.server.helpdesks["zendesk"].write_back(external_id, {"labels": {}})
    assert zammad.calls == []


@pytest.mark.parametrize(("status", "ends"), [(500, "waiting"), (429, "waiting"), (409, "waiting"), (422, "failed")])
def test_what_was_refused_is_tried_again_or_given_up(
    server: Running, zammad: FakeZammad, status: int, ends: str
) -> None:
    zammad.statuses = [status]
    zammad_hook(server)
    eventually(lambda: bool(states(server)) and states(server)[0][1] is not None)
    assert states(server)[0] == (ends, f"zammad: status {status} at GET /api/v1/tickets/5")
    with server.database.write() as connection:
        row = connection.execute(select(outbox)).one()
        if ends == "waiting":
            assert row.next_at > time.time() + 50  # as Retry-After asks
        connection.execute(update(outbox).values(next_at=0.0))
    if ends == "waiting":
        eventually(lambda: "5" in zammad.drafts)


def test_an_answer_of_another_form_is_tried_again(server: Running, zammad: FakeZammad) -> None:
    zammad.groups = [{"no": "name"}]
    zammad_hook(server)
    eventually(lambda: bool(states(server)) and states(server)[0][1] is not None)
    assert states(server)[0] == ("waiting", "zammad: its answer was not understood (KeyError)")


def test_zendesk_gets_fields_tags_and_an_internal_note(server: Running, zendesk: FakeZendesk) -> None:
    assert zendesk_hook(server).json()["state"] == "queued"
    eventually(lambda: bool(zendesk.comments))
    ticket = zendesk.tickets["5"]
    assert ticket["type"] == "incident" and ticket["custom_fields"] == [{"id": 77, "value": "Billing"}]
    assert sorted(ticket["tags"]) == ["duet_queue__billing", "duet_type__incident", "vip"]
    assert zendesk.comments[0]["public"] is False and "we look into: Printer" in zendesk.comments[0]["body"]
    assert zendesk_hook(server, "d2", updated_by="duet@example.com", description="x").json()["state"] == "ignored"


def test_zendesk_is_read_again_where_a_person_was_between(server: Running, zendesk: FakeZendesk) -> None:
    def change_once() -> None:
        zendesk.tickets["5"]["updated_at"] += "p"
        zendesk.between = lambda: None

    zendesk.between = change_once
    zendesk_hook(server)
    eventually(lambda: bool(states(server)) and states(server)[0][1] is not None)
    assert states(server)[0] == ("waiting", "zendesk: status 409 at PUT /api/v2/tickets/5.json")
    assert zendesk.tickets["5"]["type"] is None
    with server.database.write() as connection:
        connection.execute(update(outbox).values(next_at=0.0))
    eventually(lambda: zendesk.tickets["5"]["type"] == "incident")


@pytest.mark.parametrize("url", ["https://a.example/answers", "https://a.example/b/", "https://a.example/c?key=1"])
def test_another_program_is_called_at_exactly_its_address(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "desks.yaml"
    path.write_text(f"helpdesks:\n  shop: {{kind: generic, url: '{url}', secret_variable: SHOP_SECRET}}\n")
    monkeypatch.setenv("SHOP_SECRET", SECRET)
    statuses, asked = [200, 500], list[str]()

    def program(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url))
        return httpx2.Response(statuses.pop(0))

    desk = Generic(load_helpdesks(path, COLUMNS)["shop"].settings, httpx2.MockTransport(program))
    desk.write_back("7", {"labels": {}, "reply": "Hello"})
    with pytest.raises(Refusal) as refusal:
        desk.write_back("7", {"labels": {}, "reply": "Hello"})
    assert asked == [url, url]
    assert str(refusal.value) == "shop: status 500 at POST its address" and not refusal.value.final


def test_the_file_of_helpdesks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "desks.yaml"
    entry = "kind: zammad, url: https://z.example, secret_variable: Z_SECRET, token_variable: Z_TOKEN"
    path.write_text(f"helpdesks:\n  zammad: {{{entry}, fields: {{queue: group}}}}\n")
    with pytest.raises(InputError, match="Z_SECRET is empty or not set"):
        load_helpdesks(path, COLUMNS)
    monkeypatch.setenv("Z_SECRET", "a")
    monkeypatch.setenv("Z_TOKEN", "b")
    assert load_helpdesks(path, COLUMNS)["zammad"].settings.fields == {"queue": "group"}
    for variable, value in {"Z_SECRET": "a\udcff", "Z_TOKEN": "b\nX: y"}.items():
        with monkeypatch.context() as other, pytest.raises(InputError, match=f"{variable} holds characters"):
            other.setenv(variable, value)
            load_helpdesks(path, COLUMNS)
    for wrong, told in {
        entry.replace("https://", "http://"): "url",
        entry.replace("https://", "https://me:pw@"): "url",
        entry + ", fields: {mood: group}": "no column 'mood'",
        entry + ", colour: red": "colour",
        entry.replace(", token_variable: Z_TOKEN", ""): "token_variable",
    }.items():
        path.write_text(f"helpdesks:\n  zammad: {{{wrong}}}\n")
        with pytest.raises(InputError, match=told) as found:
            load_helpdesks(path, COLUMNS)
        assert "\n" not in str(found.value) and "pw" not in str(found.value).replace("--help", "")


@pytest.mark.parametrize(
    "url", ["https://[::1", "https://x.example:99999", "https://:443/a", "https://x.example:0/?a=b"]
)
def test_the_address_of_a_helpdesk_is_checked_at_the_start(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("Z_SECRET", "a secret")
    path = tmp_path / "h.yaml"
    path.write_text(f"helpdesks:\n  z: {{kind: generic, url: '{url}', secret_variable: Z_SECRET}}\n")
    with pytest.raises(InputError, match=r"helpdesks\.z: url: expected the address"):
        load_helpdesks(path, COLUMNS)
