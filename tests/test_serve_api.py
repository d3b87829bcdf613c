"""The HTTP interface: tickets in, answers out, limits, rights and the OpenAI protocol."""

import csv
import io
import json
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

import uvicorn

from serve.context import RequestLimits
from store.jobs import get_job
from store.tables import ROLES
from tests.serving import COLUMNS, FACTS, Running, running, sqlite_url
from tickets.errors import WorkError


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    with running(sqlite_url(tmp_path)) as found:
        yield found


def test_predict_keeps_nothing(server: Running) -> None:
    response = server.ask("POST", "/v1/predict", "ingest", json={"subject": "Printer", "body": "broken"})
    assert response.status_code == 200
    assert response.json() == {
        "labels": {"type": "Incident", "queue": "Billing"},
        "confidence": {"type": 0.6, "queue": 0.6},
        "tags": ["printer"],
        "reply": "Dear customer, we look into: Printer",
        "apply": {"type": False, "queue": False},
        "masked": [],
        "needs_review": True,
        "truncated": False,
        "reply_cut": False,
        "model": FACTS.fingerprint,
    }
    assert server.ask("GET", "/v1/review").status_code == 204
    labels = server.ask("POST", "/v1/predict", json={"body": "broken", "labels_only": True}).json()
    assert labels["reply"] is None


def test_a_blind_ticket_comes_without_its_answer(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it was reviewed, as on the page: after an undo the suggestions are known."""
    monkeypatch.setattr("store.jobs.random.random", lambda: 0.0)
    ticket = server.add()["ticket"]
    shown = server.ask("GET", "/v1/review").json()
    assert shown["id"] == ticket and shown["body"] == "It does not print." and shown["answer"] is None
    answers = {role: server.ask("GET", f"/v1/tickets/{ticket}", role).json()["answer"] for role in ROLES}
    assert [role for role, answer in answers.items() if answer is None] == ["review"]
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json={}, headers={"If-Match": "0"})
    server.ask("POST", "/v1/review/undo")
    assert server.ask("GET", "/v1/review").json()["answer"]["labels"]["type"] == "Incident"
    monkeypatch.setattr("store.jobs.random.random", lambda: 0.5)
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json={}, headers={"If-Match": "2"})
    server.add("another")
    assert server.ask("GET", "/v1/review").json()["answer"] is not None


def test_a_ticket_is_stored_once_and_found_again(server: Running) -> None:
    first = server.add(external_id="7", source="shop")
    again = server.add(external_id="7", source="shop")
    changed = server.add(external_id="7", source="shop", body="It prints now.")
    assert first["new"] and not again["new"] and changed["new"]
    assert first["ticket"] == again["ticket"] != changed["ticket"]
    shown = server.ask("GET", f"/v1/tickets/{first['ticket']}").json()
    assert shown["status"] == "open" and shown["version"] == 0 and shown["answer"] == first["answer"]


def test_an_idempotency_key_stands_for_one_ticket(server: Running) -> None:
    key = {"Idempotency-Key": "abc"}
    one, two = (server.ask("POST", "/v1/tickets", json={"body": "x"}, headers=key).json() for _ in range(2))
    assert one["ticket"] == two["ticket"]
    assert server.ask("POST", "/v1/tickets", json={"body": "another"}, headers=key).status_code == 409


def test_a_batch_reports_every_row(server: Running) -> None:
    batch = {"tickets": [{"body": "one"}, {"body": " \n "}, {"subject": "three"}]}
    found = server.ask("POST", "/v1/tickets:batch", json=batch).json()
    assert (found["accepted"], found["refused"]) == (2, 1)
    assert [row["error"] is None for row in found["rows"]] == [True, False, True]


def test_events_of_no_job_are_404(server: Running) -> None:
    """Decided before the stream begins; an error inside of it would end the connection."""
    response = server.ask("GET", f"/v1/jobs/{'0' * 26}/events")
    assert response.status_code == 404 and response.json() == {"detail": "no such job"}


def test_events_tell_labels_words_and_the_end(server: Running) -> None:
    server.service.go.clear()
    job = server.ask("POST", "/v1/tickets", json={"subject": "Hello", "body": "x"}).json()["job"]
    server.service.go.set()
    text = server.ask("GET", f"/v1/jobs/{job}/events").text
    names = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
    assert names[-1] == "done"
    done = json.loads([line for line in text.splitlines() if line.startswith("data: ")][-1][6:])
    assert done == {"reply": "Dear customer, we look into: Hello", "reply_cut": False, "needs_review": True}
    late = server.ask("GET", f"/v1/jobs/{job}/events").text  # nobody watched: the store tells the end
    assert "event: done" in late and "we look into: Hello" in late


def test_a_ticket_is_tried_again_before_it_fails(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.dispatch._FIRST_PAUSE", 0.01)
    errors = iter([WorkError("the server is away"), WorkError("the server is away")])
    server.service.error = lambda ticket: next(errors, None)
    assert server.add()["state"] == "done"


def test_a_ticket_that_failed_can_be_sent_again(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.dispatch._FIRST_PAUSE", 0.01)
    server.service.error = lambda ticket: WorkError("no memory")
    ticket = {"subject": "bad", "source": "shop", "external_id": "7"}
    failed = server.ask("POST", "/v1/tickets?wait=10", json=ticket).json()
    server.service.error = lambda ticket: None
    again = server.ask("POST", "/v1/tickets?wait=10", json=ticket).json()
    assert failed["state"] == "failed" and again["state"] == "done"
    assert again["ticket"] == failed["ticket"] and again["job"] != failed["job"]


def test_a_failing_ticket_fails_alone(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.dispatch._FIRST_PAUSE", 0.01)
    server.service.error = lambda ticket: WorkError("no memory") if ticket.subject == "bad" else None
    bad = server.ask("POST", "/v1/tickets?wait=10", json={"subject": "bad"}).json()
    assert bad["state"] == "failed" and bad["answer"] is None
    with server.database.read() as connection:
        job = get_job(connection, bad["job"])
    assert job is not None and job["error"] == "no memory"
    assert server.add()["answer"]["labels"]["type"] == "Incident"
    refused = server.ask("POST", "/v1/predict", json={"subject": "bad"})
    assert refused.status_code == 503 and refused.headers["retry-after"]


def test_full_engines_say_when_to_come_back(server: Running) -> None:
    server.service.full = True
    response = server.ask("POST", "/v1/predict", json={"body": "x"})
    assert response.status_code == 503 and response.headers["retry-after"] == "7"
    ask = {"model": "duet", "messages": [{"role": "user", "content": "no paper"}]}
    for stream in (False, True):
        response = server.ask("POST", "/v1/chat/completions", json={**ask, "stream": stream})
        assert response.status_code == 503 and response.headers["retry-after"] == "7"


def test_a_full_store_says_when_to_come_back(tmp_path: Path) -> None:
    with running(sqlite_url(tmp_path), limits=RequestLimits(jobs=2)) as server:
        server.service.go.clear()
        statuses = [server.ask("POST", "/v1/tickets", json={"body": str(n)}).status_code for n in range(3)]
        response = server.ask("POST", "/v1/tickets", json={"body": "more"})
        assert statuses[:2] == [202, 202] and response.status_code == 503 and int(response.headers["retry-after"]) > 0
        server.service.go.set()


def test_what_was_accepted_is_answered_after_a_restart(tmp_path: Path) -> None:
    with running(sqlite_url(tmp_path), drain=0.0) as server:
        server.service.go.clear()
        stored = [server.ask("POST", "/v1/tickets", json={"body": str(n)}).json() for n in range(5)]
    with running(sqlite_url(tmp_path)) as server:
        for one in stored:
            deadline = time.monotonic() + 20
            while server.ask("GET", f"/v1/jobs/{one['job']}").json()["state"] != "done":
                assert time.monotonic() < deadline
                time.sleep(0.05)


@pytest.mark.parametrize("length", [True, False])
def test_a_long_body_is_refused_also_in_chunks(tmp_path: Path, length: bool) -> None:
    with running(sqlite_url(tmp_path), limits=RequestLimits(body_bytes=1_000)) as server:
        body = json.dumps({"body": "x" * 5_000}).encode()
        content = body if length else (body[i : i + 100] for i in range(0, len(body), 100))
        headers = {"Content-Type": "application/json"}
        assert server.ask("POST", "/v1/predict", content=content, headers=headers).status_code == 413


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"body": "\xff\xfe"}', 400),
        (b'{"body": "\\ud800"}', 422),
        (b'{"body": "a\\u0000b"}', 200),
        (b'{"body": "  "}', 422),
        (b'{"body": 5}', 422),
        (b'{"text": "x"}', 422),
        (b"[", 422),
        (b"", 422),
    ],
)
def test_strange_bodies_are_told_apart(server: Running, body: bytes, status: int) -> None:
    response = server.ask("POST", "/v1/predict", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    stored = server.ask("POST", "/v1/tickets", content=body, headers={"Content-Type": "application/json"})
    assert stored.status_code == (202 if status == 200 else status)


def test_roles_open_what_they_may(server: Running) -> None:
    assert server.client.get("/v1/stats").status_code == 401
    assert server.client.get("/v1/stats", headers={"Authorization": "Bearer duet_x"}).status_code == 401
    assert server.ask("GET", "/v1/stats", "ingest").status_code == 403
    assert server.ask("GET", "/v1/stats", "review").status_code == 200
    ticket = server.add()["ticket"]
    assert server.ask("DELETE", f"/v1/tickets/{ticket}", "review").status_code == 403
    assert server.ask("DELETE", f"/v1/tickets/{ticket}", "admin").status_code == 204
    assert server.client.get("/healthz").json() == {"status": "alive"}
    assert server.client.get("/readyz").json() == {"status": "ready"}


def test_erasing_leaves_the_text_nowhere(server: Running, tmp_path: Path) -> None:
    secret = "Xylophon-Quittung-4711"
    ticket = server.add(subject=secret, body=f"{secret} is lost")["ticket"]
    server.ask(
        "POST", f"/v1/tickets/{ticket}/reviews", json={"reply": secret, "reason": secret}, headers={"If-Match": "0"}
    )
    server.ask("DELETE", f"/v1/tickets/{ticket}")
    shown = server.ask("GET", f"/v1/tickets/{ticket}").json()
    assert shown["status"] == "erased" and secret not in json.dumps(shown)
    found = [path.name for path in tmp_path.iterdir() if secret.encode() in path.read_bytes()]
    assert not found
    assert server.ask("POST", f"/v1/tickets/{ticket}/reviews", json={}, headers={"If-Match": "1"}).status_code == 404


def test_metrics_hold_counts_and_no_text(server: Running) -> None:
    server.add(subject="Geheimnis", external_id="E-77")
    text = server.ask("GET", "/metrics").text
    assert 'duet_predictions_total{band="0.5 to 0.7",column="type"} 1.0' in text
    assert 'duet_requests_total{path="/v1/tickets",status="200"} 1.0' in text
    assert "Geheimnis" not in text and "E-77" not in text


def test_the_openai_door(server: Running) -> None:
    models = server.ask("GET", "/v1/models").json()
    assert [model["id"] for model in models["data"]] == ["duet", "duet-labels"]
    ask = {"model": "duet", "messages": [{"role": "user", "content": "no paper"}]}
    reply = server.ask("POST", "/v1/chat/completions", json=ask).json()
    assert reply["choices"][0]["message"]["content"].startswith("Dear customer")
    labels = server.ask("POST", "/v1/chat/completions", json={**ask, "model": "duet-labels"}).json()
    assert json.loads(labels["choices"][0]["message"]["content"])["labels"] == {"type": "Incident", "queue": "Billing"}
    streamed = server.ask("POST", "/v1/chat/completions", json={**ask, "stream": True}).text
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks).startswith("Dear customer")
    assert streamed.rstrip().endswith("data: [DONE]")


@pytest.mark.parametrize(
    "change",
    [
        {"tools": []},
        {"logprobs": True},
        {"n": 2},
        {"temperature": 0.5},
        {"messages": []},
        {"messages": [{"role": "system", "content": "You are a pirate."}, {"role": "user", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [{"role": "assistant", "content": "x"}]},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_object"}},
        {"model": "gpt-4"},
    ],
)
def test_what_the_openai_door_does_not_support_is_400(server: Running, change: dict[str, object]) -> None:
    ask = {"model": "duet", "messages": [{"role": "user", "content": "no paper"}], **change}
    assert server.ask("POST", "/v1/chat/completions", json=ask).status_code == 400


def test_the_openai_door_says_what_it_takes(server: Running) -> None:
    described = server.client.get("/openapi.json").json()
    body = described["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Completion"}
    assert set(described["components"]["schemas"]["Completion"]["required"]) == {"model", "messages"}
    for nothing in ({}, {"model": "duet"}, {"model": "duet", "messages": None}):
        assert server.ask("POST", "/v1/chat/completions", json=nothing).status_code == 400
    assert server.ask("POST", "/v1/chat/completions", json=[1]).status_code == 422


@pytest.mark.parametrize(
    ("since", "status"),
    [
        ("2026-11-26", 200),
        ("2026-11-26T08:00:00Z", 200),
        ("2026-11-26T08:00:00+02:00", 200),
        ("2026", 422),
        ("0.5", 422),
        ("-1", 422),
        ("1e9", 422),
        ("yesterday", 422),
        ("inf", 422),
    ],
)
def test_a_moment_is_a_date(server: Running, since: str, status: int) -> None:
    assert server.ask("GET", "/v1/corrections.csv", params={"since": since}).status_code == status


def test_a_sheet_of_corrections_runs_nothing(server: Running) -> None:
    hostile = {"subject": "=cmd|calc!A0", "body": 'a;=1+1\n"@SUM(1)"\n- list'}
    ticket = server.add(**hostile, external_id="+1")["ticket"]
    decision = {"labels": {"queue": "-2+3"}, "reply": "@SUM(1)", "tags": ["=1"], "reason": "=1"}
    server.ask("POST", f"/v1/tickets/{ticket}/reviews", json=decision, headers={"If-Match": "0"})
    sheet = server.ask("GET", "/v1/corrections.csv").text
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(sheet), delimiter=separator):
            assert not [cell for cell in row if cell.lstrip(' "')[:1] in tuple("=+-@")], row
    (found,) = csv.DictReader(io.StringIO(sheet))
    assert found["queue"] == "'-2+3" and json.loads(found["tags"]) == ["=1"]
    kept = json.loads(server.ask("GET", "/v1/corrections.jsonl").text)
    assert kept["queue"] == "-2+3" and kept["reply"] == "@SUM(1)" and kept["subject"] == hostile["subject"]


def test_the_reference_page_names_every_path_and_loads_nothing(server: Running) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    page = server.client.get("/docs").text
    assert all(path in page for path in paths)
    assert "http://" not in page and "https://" not in page


def test_columns_of_the_model_alone(server: Running) -> None:
    ticket = server.add()["ticket"]
    response = server.ask(
        "POST", f"/v1/tickets/{ticket}/reviews", json={"labels": {"mood": "bad"}}, headers={"If-Match": "0"}
    )
    assert response.status_code == 422 and ", ".join(COLUMNS) in response.text


def test_a_refusal_has_one_form(server: Running) -> None:
    """One line for every status, and the methods of a path whatever route is first."""
    path = f"/v1/tickets/{server.add()['ticket']}"
    assert server.ask("OPTIONS", path).headers["Allow"] == "DELETE, GET"
    wrong = server.ask("POST", "/v1/tickets", json={"subject": 1, "body": [], "more": "x"})
    assert wrong.status_code == 422 and wrong.json()["detail"].startswith("body.subject: ")
    assert server.ask("POST", f"{path}/reviews", json={}).status_code == 428
    for version in ("null", "x", "-1", "1" * 10, "\u0661"):
        refused = server.ask("POST", f"{path}/reviews", json={}, headers={"If-Match": version.encode()})
        assert refused.status_code == 422 and "if-match" in refused.json()["detail"]
    for version in ("0", '"0"', 'W/"0"'):
        review = server.ask("POST", f"{path}/reviews", json={}, headers={"If-Match": version})
        assert review.status_code == (201 if version == "0" else 409)
    declared = server.client.get("/openapi.json").json()
    assert "HTTPValidationError" not in declared["components"]["schemas"]
    refusals = declared["paths"]["/v1/jobs/{job_id}/events"]["get"]["responses"]["401"]["content"]
    assert [*refusals] == ["application/json"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_too_much_reads_why(server: Running, chunked: bool) -> None:
    """On a real socket: a server that closes while a body arrives resets the connection, and the answer is lost."""
    web = uvicorn.Server(uvicorn.Config(server.client.app, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    while not web.started:
        time.sleep(0.01)
    port = web.servers[0].sockets[0].getsockname()[1]
    body = b'{"body": "' + b"x" * 9_000_000 + b'"}'
    headers = {"Authorization": f"Bearer {server.tokens['ingest']}", "Content-Type": "application/json"}

    def slowly() -> Iterator[bytes]:
        for at in range(0, len(body), 1 << 18):
            time.sleep(0.02)  # the refusal comes while it sends
            yield body[at : at + (1 << 18)]

    headers |= {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    client = HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("POST", "/v1/predict", slowly(), headers, encode_chunked=chunked)
    response = client.getresponse()
    told = json.load(response)["detail"]
    web.should_exit = True
    thread.join(10)
    assert response.status == 413 and "too large" in told
