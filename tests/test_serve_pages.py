"""The pages, without JavaScript: signing in, a card and what can be done with it, the list, the statistics."""

import html
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from jinja2 import Environment, nodes
from sqlalchemy import update

from memory.memory import open_memory, write_memory
from pipeline.resolved import ResolvedTickets
from serve.pages import view
from serve.pages.language import texts
from store.incoming import get_ticket
from store.reviews import latest_review
from store.tables import ACTIONS, OUTBOX_STATES, STATUSES, predictions, tickets, tokens
from tests.serving import Running, running, sqlite_url
from tickets.schema import Ticket


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setattr("store.jobs.random.random", lambda: 0.5)  # no card is drawn by chance
    with running(sqlite_url(tmp_path)) as found:
        found.sign_in()
        yield found


def fields(page: str) -> dict[str, Any]:
    """Return what a browser would send with the card as it stands, but for the line ends."""
    form = page[page.index('id="card"') : page.index('id="undo"')]
    sent: dict[str, Any] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        name, value = re.search(r'name="([^"]*)"', tag), re.search(r'value="([^"]*)"', tag)
        kind = re.search(r'type="([^"]*)"', tag)
        if not name or (kind and kind[1] in ("radio", "checkbox") and "checked" not in tag):
            continue
        if kind and kind[1] == "checkbox":
            sent.setdefault(name[1], []).append(value[1] if value else "on")
        else:
            sent[name[1]] = value[1] if value else ""
    area = re.search(r"<textarea[^>]*>\n?(.*?)</textarea>", form, re.DOTALL)
    return sent | ({"reply": html.unescape(area[1])} if area else {})


def send(server: Running, ticket: str, action: str, **changes: Any) -> Any:
    page = server.client.get(f"/tickets/{ticket}").text
    data = {**fields(page), "action": action, **changes}
    return server.client.post(f"/tickets/{ticket}", data=data, follow_redirects=False)


def review_of(server: Running, ticket: str) -> dict[str, Any]:
    with server.database.read() as connection:
        found = latest_review(connection, ticket)
    assert found is not None
    return found


def test_a_card_as_it_stands_is_accepted(server: Running) -> None:
    ticket = server.add()["ticket"]
    page = server.client.get("/review").text
    assert "It does not print." in page and "we look into: Printer" in page and "please check" in page
    response = send(server, ticket, "save")
    assert response.status_code == 303 and response.headers["location"] == "/review?done=accept"
    found = review_of(server, ticket)
    assert found["action"] == "accept" and found["final"] == found["shown"] == {"type": "Incident", "queue": "Billing"}
    assert found["tags"] == ["printer"] and found["reply_distance"] == 0 and found["seconds"] is not None
    assert "All done" in server.client.get("/review").text


def test_labels_and_draft_are_corrected(server: Running) -> None:
    ticket = server.add()["ticket"]
    changes = {"label.type": "other", "other.type": "Change", "label.queue": "=IT", "reply": "Dear all,\r\nnew text"}
    assert send(server, ticket, "save", **changes).headers["location"] == "/review?done=correct"
    found = review_of(server, ticket)
    assert found["final"] == {"type": "Change", "queue": "IT"} and found["reply"] == "Dear all,\nnew text"
    assert 0 < found["reply_distance"] < 1


def test_rejecting_skipping_and_undoing(server: Running) -> None:
    first, second = server.add("one")["ticket"], server.add("two")["ticket"]
    assert send(server, first, "skip").headers["location"] == "/review?done=skip"
    assert second in server.client.get("/review").text  # the skipped one comes last
    assert send(server, second, "reject", reason="nonsense").headers["location"] == "/review?done=reject"
    assert review_of(server, second)["reason"] == "nonsense"
    page = server.client.get("/review").text
    form_token = fields(page)["form_token"]
    response = server.client.post("/undo", data={"form_token": form_token}, follow_redirects=False)
    assert response.headers["location"] == f"/tickets/{second}"
    assert review_of(server, second)["action"] == "undo"
    with server.database.read() as connection:
        row = get_ticket(connection, second)
    assert row is not None and row.status == "open" and row.review_version == 2
    send(server, second, "save")
    assert [r["action"] for r in server.ask("GET", f"/v1/tickets/{second}").json()["reviews"]] == [
        "reject",
        "undo",
        "accept",
    ]


def test_the_second_of_two_people_sees_both_versions(server: Running) -> None:
    ticket = server.add()["ticket"]
    old = fields(server.client.get(f"/tickets/{ticket}").text)
    headers = {"If-Match": "0"}
    server.ask(
        "POST", f"/v1/tickets/{ticket}/reviews", json={"labels": {"queue": "IT"}, "reply": "theirs"}, headers=headers
    )
    mine = {**old, "action": "save", "label.type": "=Request", "reply": "my text"}
    conflict = server.client.post(f"/tickets/{ticket}", data=mine, follow_redirects=False)
    assert conflict.status_code == 409
    assert "was faster" in conflict.text and "theirs" in conflict.text and "my text" in conflict.text
    kept = fields(conflict.text)
    assert kept["label.type"] == "=Request" and kept["version"] == "1"
    server.client.post(f"/tickets/{ticket}", data={**kept, "action": "save"}, follow_redirects=False)
    assert review_of(server, ticket)["reply"] == "my text" and review_of(server, ticket)["version"] == 2


def test_a_blind_card_suggests_nothing(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.jobs.random.random", lambda: 0.0)
    ticket = server.add()["ticket"]
    page = server.client.get("/review").text
    assert "without suggestions" in page and "checked" not in page and "we look into" not in page
    assert "60%" not in page and "printer" not in page.replace("It does not print.", "").lower().split("decision")[1]
    send(server, ticket, "save", **{"label.type": "=Incident", "label.queue": "=Billing"})
    found = review_of(server, ticket)
    assert found["blind"] and found["shown"] == {} and found["action"] == "accept" and found["draw"] == "blind"
    assert not found["reply"] and found["reply_distance"] is None
    assert server.ask("GET", "/v1/stats").json()["drafts_unchanged"]["n"] == 0  # no draft was shown


def test_a_joint_suggestion_comes_first_and_masks_are_told(server: Running) -> None:
    ticket = server.add()["ticket"]
    with server.database.write() as connection:
        joint = {"labels": {"type": "Problem", "queue": "Billing"}, "masked": ["phone", "phone"]}
        connection.execute(update(predictions).values(**joint))
    page = server.client.get(f"/tickets/{ticket}").text
    assert fields(page)["label.type"] == "=Problem"
    assert page.index('value="=Problem"') < page.index('value="=Incident"') < page.index('value="=Request"')
    assert "allowed contacts: phone." in page


def test_a_hostile_ticket_stays_text(server: Running) -> None:
    subject = "<script>alert(1)</script> \u202egnp.exe"
    ticket = server.add(subject, "<img src=x onerror=alert(1)> " + "x" * 100_000)["ticket"]
    response = server.client.get(f"/tickets/{ticket}")
    assert "<script>alert" not in response.text and "<img" not in response.text and "\u202e" not in response.text
    assert "\\u202e" in response.text
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy


MARKS = "\u200eA\u200f b \u202ec\u202c \u2066d\u2069 \u061c\u2028 \x1b[2J\x85 <&\"'> \\u202e &#8238; \r\n\re\n\n"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_card_as_it_stands_gives_back_the_same_text(server: Running, line_end: str) -> None:
    server.service.change = lambda answer: replace(answer, reply=MARKS)
    ticket = server.add()["ticket"]
    page = server.client.get(f"/tickets/{ticket}").text
    assert not re.search("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]", page)
    sent = re.sub("\r\n|\r|\n", line_end, fields(page)["reply"])
    send(server, ticket, "save", reply=sent)
    found = review_of(server, ticket)
    assert found["action"] == "accept" and found["reply"] == MARKS and found["reply_distance"] == 0
    again = server.client.get(f"/tickets/{ticket}").text
    assert fields(again)["reply"].splitlines() == MARKS.splitlines()


def test_the_search_box_shows_words(server: Running) -> None:
    ticket = server.add("Paper \u202e is out")["ticket"]
    page = server.client.get("/tickets", params={"q": "paper\x1b\u202e\x9b\tout\x00"}).text
    assert 'value="paper out"' in page and f"/tickets/{ticket}" in page
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", page)


def test_pages_need_a_reviewer_and_forms_their_token(server: Running) -> None:
    ticket = server.add()["ticket"]
    assert send(server, ticket, "save", form_token="0" * 64).status_code == 403
    server.client.cookies.clear()
    moved = server.client.get("/review", follow_redirects=False)
    assert moved.status_code == 303 and moved.headers["location"] == "/login?to=/review"
    assert server.client.post(f"/tickets/{ticket}", data={}, follow_redirects=False).status_code == 303
    refused = server.client.post("/login", data={"token": server.tokens["ingest"]})
    assert refused.status_code == 403 and "not valid" in refused.text
    away = server.client.post(
        "/login", data={"token": server.tokens["review"], "to": "//evil.example"}, follow_redirects=False
    )
    assert away.headers["location"] == "/review"
    cookie = away.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie


def test_a_form_that_waits_for_the_store_holds_up_nobody_else(server: Running) -> None:
    """Who sent it is read, and noted, outside the event loop."""
    with server.database.write() as connection:
        connection.execute(update(tokens).values(last_used_at=None))
    with ThreadPoolExecutor(2) as pool, server.database.write():
        sent = pool.submit(server.client.post, "/undo", data={"form_token": "x"})
        time.sleep(0.3)
        alive = pool.submit(server.client.get, "/healthz").result(3)  # below the busy time of SQLite
        assert alive.status_code == 200 and not sent.done()
    assert sent.result().status_code == 403


def test_unknown_tickets_are_a_page(server: Running) -> None:
    for path in ("/tickets/" + "0" * 26, "/tickets/nonsense", "/nothing-here"):
        response = server.client.get(path)
        assert response.status_code in (404, 422) and "Not possible" in response.text, path


def test_the_list_finds_by_words_status_and_label(server: Running) -> None:
    server.add("Printer on fire", "smoke")
    server.add("Invoice", "wrong 100% sum_")
    assert "Printer on fire" in server.client.get("/tickets").text
    for query, shown in {
        "q=SMOKE": True,
        "q=100%25": False,
        "status=reviewed": False,
        "label.queue=Billing": True,
        "label.queue=Bill%00ing": True,  # PostgreSQL cannot look for such a character
        "label.queue=%00": True,
        "q=SMO%00KE": True,
    }.items():
        assert ("Printer on fire" in server.client.get(f"/tickets?{query}").text) is shown, query
    assert "Invoice" in server.client.get("/tickets?q=100%25+sum_").text
    assert "No ticket fits" in server.client.get("/tickets?label.queue=IT").text


def test_the_statistics_page_shows_rates(server: Running) -> None:
    assert "first reviews" in server.client.get("/stats").text
    for n in range(4):
        ticket = server.add(f"ticket {n}")["ticket"]
        send(server, ticket, "save", **({"label.queue": "=IT"} if n == 0 else {}))
    page = server.client.get("/stats").text
    assert "75%" in page and "Billing" in page
    stats = server.ask("GET", "/v1/stats").json()
    assert stats["columns"]["queue"]["rate"] == 0.75 and stats["columns"]["type"]["rate"] == 1.0
    assert round(stats["columns"]["queue"]["low"], 3) == 0.301  # Wilson: 3 of 4
    assert stats["actions"] == {"accept": 3, "correct": 1} and stats["drafts_unchanged"]["rate"] == 1.0


def test_calibration_counts_what_chance_drew(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.jobs.random.random", lambda: 0.05)  # of the sure ones at random
    sure = server.add("a", "sure")["ticket"]
    server.add("b", "unclear")
    send(server, sure, "save")
    stats = server.ask("GET", "/v1/stats").json()
    assert stats["calibration"]["type"] == [{"confidence": 0.9, "accuracy": 1.0, "n": 1}]
    with server.database.write() as connection:
        row = get_ticket(connection, sure)
        assert row is not None and row.draw == "random" and row.draw_probability == pytest.approx(0.02 + 0.98 * 0.05)
        connection.execute(update(tickets).values(draw="doubt"))


def test_similar_resolved_tickets_stand_beside_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.jobs.random.random", lambda: 0.5)
    old = Ticket(
        "00<7>", "Printer", "It does not print on paper.", labels={"type": "Incident"}, reply="<b>Restart</b> it."
    )
    write_memory(tmp_path / "memory", [old, Ticket("8", "Refund", "Money back", reply="Sent.")])
    resolved = ResolvedTickets(open_memory(tmp_path / "memory"), 0.3)
    with running(sqlite_url(tmp_path), resolved=resolved) as server:
        server.sign_in()
        ticket = server.add()["ticket"]
        page = server.client.get(f"/tickets/{ticket}").text
        (similar,) = server.ask("GET", f"/v1/tickets/{ticket}").json()["similar"]
        with server.database.write() as connection:
            connection.execute(update(tickets).values(draw="blind"))
        blind = server.client.get(f"/tickets/{ticket}").text
        server.ask("DELETE", f"/v1/tickets/{ticket}", role="admin")
        assert server.ask("GET", f"/v1/tickets/{ticket}").json()["similar"] == []
    assert similar["id"] == "00<7>" and similar["repeat"] and 0.3 < similar["similarity"] < 1
    assert "&lt;b&gt;Restart&lt;/b&gt; it." in page and "00&lt;7&gt;" in page and "Sent." not in page
    assert "Similar resolved tickets" not in blind  # it would suggest labels


TEMPLATES = sorted((Path(view.__file__).parent / "templates").glob("*.html"))


def texts_of_templates() -> set[str]:
    found = set()
    for path in TEMPLATES:
        for call in Environment().parse(path.read_text(encoding="utf-8")).find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "_":
                assert isinstance(call.args[0], nodes.Const), f"{path.name}: what is computed cannot be translated"
                found.add(call.args[0].value)
    return found


def test_every_text_of_the_pages_has_its_german() -> None:
    """And nothing is translated that no page or module says."""
    german, used = texts("de"), texts_of_templates()
    assert used - german.keys() == set()
    modules = "".join(path.read_text(encoding="utf-8") for path in Path(view.__file__).parent.parent.rglob("*.py"))
    stored = {*STATUSES, *ACTIONS, *OUTBOX_STATES}
    assert [text for text in german.keys() - used if f'"{text}"' not in modules and text not in stored] == []
    for english, text in german.items():
        assert sorted(re.findall(r"{\w+}", english)) == sorted(re.findall(r"{\w+}", text)), english


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("de", "de"), ("de-AT,en;q=0.5", "de"), ("en-GB,de", "en"), ("fr,de;q=0.3", "de"), ("fr", "en"), ("", "en")],
)
def test_pages_speak_the_language_of_the_browser(server: Running, asked: str, expected: str) -> None:
    page = server.client.get("/login", headers={"Accept-Language": asked}).text
    assert f'<html lang="{expected}">' in page and ("Anmelden" in page) == (expected == "de")


def test_a_person_chooses_a_language(server: Running) -> None:
    server.add()
    server.sign_in()
    back = server.client.post("/language", data={"language": "de", "to": "//elsewhere.example"}, follow_redirects=False)
    assert back.headers["location"] == "/review"
    assert "Antwortentwurf" in server.client.get("/review").text
    assert "Alle geprüften" not in server.client.get("/stats").text  # nothing was reviewed yet
    assert "Wörter" in server.client.get("/tickets").text
    assert "Unter dieser Adresse ist nichts." in server.client.get("/nowhere").text
    server.client.post("/language", data={"language": "xx"})
    assert "Antwortentwurf" in server.client.get("/review").text


def test_a_name_is_no_markup_in_a_translated_sentence(tmp_path: Path) -> None:
    environment = view._ENVIRONMENTS["de"]
    page = environment.from_string('{{ _("{name} was faster", name=name) }} {{ "<b>"|translated }}')
    assert page.render(name="<i>{x}%s") == "&lt;i&gt;{x}%s war schneller &lt;b&gt;"
