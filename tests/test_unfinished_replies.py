"""A reply that is cut or empty is told wherever answers are shown, and a person has to look."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

import httpx2

from engines.kv_allocator import ContextSizes
from serve.hooks.generic import Generic
from serve.hooks.helpdesk import Settings
from serve.hooks.zammad import Zammad
from serve.hooks.zendesk import Zendesk
from tests.helpdesks import FakeZammad, FakeZendesk
from tests.scripted import scripted_system
from tests.serving import Running, running, sqlite_url
from tickets.schema import Ticket

CUT, EMPTY = {"reply": "Dear customer, we", "reply_cut": True}, {"reply": ""}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr("store.jobs.random.random", lambda: 0.5)  # no card is drawn by chance
    with running(sqlite_url(tmp_path)) as found:
        yield found


def unfinished(server: Running, values: dict[str, Any]) -> None:
    """Let every reply of the scripted model have these values, as `TwoStage` gives them."""
    server.service.change = lambda answer: replace(answer, **(values if answer.reply else {}), needs_review=True)


@pytest.mark.parametrize(("limit", "is_cut"), [(1, True), (300, False)])
def test_a_reply_that_was_cut_needs_review(limit: int, is_cut: bool) -> None:
    system, _, _ = scripted_system(ContextSizes(2, 2_000), limit=limit)
    answer = system.answer([Ticket("1", "", "8")])[0]
    assert answer.reply_cut == answer.needs_review == is_cut
    assert not system.answer([Ticket("1", "", "8")], labels_only=True)[0].needs_review


def test_an_empty_reply_needs_review() -> None:
    system, _, stages = scripted_system(ContextSizes(2, 2_000), limit=300)
    stages.text = lambda _ids: ""
    answer = system.answer([Ticket("1", "", "8")])[0]
    assert answer.reply == "" and answer.needs_review and not answer.reply_cut


@pytest.mark.parametrize(("values", "finish"), [({}, "stop"), (CUT, "length"), (EMPTY, "length")])
def test_the_chat_says_why_a_reply_ends(server: Running, values: dict[str, Any], finish: str) -> None:
    unfinished(server, values)
    ask = {"model": "duet", "messages": [{"role": "user", "content": "no paper"}]}
    whole = server.ask("POST", "/v1/chat/completions", json=ask).json()
    assert whole["choices"][0]["finish_reason"] == finish
    streamed = server.ask("POST", "/v1/chat/completions", json={**ask, "stream": True}).text
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons[-1] == finish and not any(reasons[:-1])
    labels = server.ask("POST", "/v1/chat/completions", json={**ask, "model": "duet-labels"}).json()
    assert labels["choices"][0]["finish_reason"] == "stop"


def test_answers_say_that_their_reply_was_cut(server: Running) -> None:
    unfinished(server, CUT)
    assert server.ask("POST", "/v1/predict", json={"body": "no paper"}).json()["reply_cut"]
    stored = server.add()
    assert stored["answer"]["reply_cut"] and stored["answer"]["needs_review"]
    assert server.ask("GET", f"/v1/tickets/{stored['ticket']}").json()["answer"]["reply_cut"]
    events = server.ask("GET", f"/v1/jobs/{stored['job']}/events").text
    last = json.loads(events.strip().splitlines()[-1].removeprefix("data: "))
    assert last == {"reply": CUT["reply"], "reply_cut": True, "needs_review": True}


@pytest.mark.parametrize(("values", "note"), [(CUT, "draft stops before its end"), (EMPTY, "draft is empty")])
def test_the_card_says_it(server: Running, values: dict[str, Any], note: str) -> None:
    server.sign_in()
    whole = server.add("whole")["ticket"]
    unfinished(server, values)
    ticket = server.add()["ticket"]
    assert note in server.client.get(f"/tickets/{ticket}").text
    assert note not in server.client.get(f"/tickets/{whole}").text


def test_helpdesks_are_told(server: Running) -> None:
    payload = {"labels": {}, "reply": "Dear customer, we", "new_reply": True, "reply_cut": True}
    common = {"secret": "s", "token": "zt", "user": "duet@example.com"}
    zammad = FakeZammad(tickets={"5": {"id": 5}}, groups=[], kinds={})
    Zammad(Settings("a", "https://zammad.example", **common), httpx2.MockTransport(zammad)).write_back("5", payload)
    assert "stops here, before its end" in zammad.drafts["5"]["new_article"]["body"]
    zendesk = FakeZendesk({"5": {"id": 5, "updated_at": "t", "tags": []}}, {})
    desk = Zendesk(Settings("b", "https://desk.example", **common), httpx2.MockTransport(zendesk))
    desk.write_back("5", payload)
    desk.write_back("5", {**payload, "reviewed": True, "reply_cut": False})
    assert "stops before its end" in zendesk.comments[0]["body"]
    assert "reviewed by a person" in zendesk.comments[1]["body"]
    sent: list[Any] = []

    def take(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return httpx2.Response(200)

    Generic(Settings("c", "https://c.example", **common), httpx2.MockTransport(take)).write_back("5", payload)
    assert sent[0]["reply_cut"] is True and sent[0]["reply"] == payload["reply"]
