"""`duet serve --role web|worker`: several processes on one PostgreSQL."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

from bench.served import answers_by_ticket
from pipeline.engine_choice import EngineChoice
from serve.dispatch import Dispatcher
from serve.events import EventHub
from serve.metrics import Metrics
from serve.run import ServeOptions, serve
from store.database import Database, open_database
from store.incoming import Incoming
from store.jobs import add_and_enqueue, count_by_state
from tests.postgres import postgres_server
from tests.serving import FACTS, Running, ScriptedService, running
from tickets.errors import InputError
from tickets.schema import Ticket

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture
def web(postgres: str) -> Iterator[Running]:
    """A server without engines, and beside it a worker, as another process would be."""
    database, service = open_database(postgres), ScriptedService()
    worker = Dispatcher(database, service, FACTS, EventHub(), Metrics())  # type: ignore[arg-type]
    worker.start()
    with running(postgres, with_engines=False) as found:
        yield found
    worker.stop(1.0)
    database.close()


def test_a_worker_answers_what_the_web_process_takes(web: Running) -> None:
    found = web.ask("POST", "/v1/tickets?wait=20", json={"subject": "Printer", "body": "It does not print."}).json()
    assert found["state"] == "done" and found["answer"]["labels"]["type"] in ("Incident", "Request")
    job = web.ask("POST", "/v1/tickets", json={"subject": "VPN", "body": "It hangs again."}).json()["job"]
    events = web.ask("GET", f"/v1/jobs/{job}/events").text
    assert "event: done" in events
    assert events.count("waiting") < 20  # it does not ask the store without a pause


def test_what_needs_engines_is_said_to_be_elsewhere(web: Running) -> None:
    for path, body in (
        ("/v1/predict", {"body": "x"}),
        ("/v1/chat/completions", {"model": "duet", "messages": [{"role": "user", "content": "x"}]}),
        ("/v1/chat/completions", {"model": "duet", "stream": True, "messages": [{"role": "user", "content": "x"}]}),
    ):
        response = web.ask("POST", path, json=body)
        assert response.status_code == 501, response.text
        assert "--role web" in response.json()["detail"] and "/v1/tickets" in response.json()["detail"]


def test_a_web_process_is_ready_and_has_pages_and_metrics(web: Running) -> None:
    web.ask("POST", "/v1/tickets?wait=20", json={"subject": "Mail", "body": "No mail arrives."})
    assert web.ask("GET", "/readyz").json() == {"status": "ready"}
    metrics = web.ask("GET", "/metrics").text
    assert "duet_waiting_jobs" in metrics and "duet_engine_waiting" not in metrics
    rate = next(line for line in metrics.splitlines() if line.startswith("duet_answers_per_second "))
    assert float(rate.split()[1]) > 0
    web.sign_in()
    assert web.ask("GET", "/").status_code in (200, 303)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"role": "boss"}, "expected one of all, web, worker"),
        ({"role": "web", "db": None}, "give PostgreSQL with --db"),
        ({"role": "worker", "db": "sqlite:///x.db"}, "give PostgreSQL with --db"),
        ({"role": "worker", "listen": "127.0.0.1:1"}, "--listen with --role worker"),
        ({"role": "worker", "demo": True}, "--demo with --role worker"),
    ],
)
def test_roles_that_cannot_be_are_one_line(tmp_path: Path, given: dict[str, str], says: str) -> None:
    options = {"model": None, "db": "postgresql+psycopg://x@/y", "listen": None, "choice": EngineChoice(), **given}
    with pytest.raises(InputError, match=says) as error:
        serve(ServeOptions(**options))
    assert "\n" not in str(error.value)


def start_worker(url: str) -> "subprocess.Popen[bytes]":
    words = ["serve", "--db", url, "--role", "worker", "--model", "mini"]
    return subprocess.Popen(
        [sys.executable, "cli.py", *words], cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "DUET_THREADS": "1"}
    )


def enqueue(database: Database, name: str, count: int) -> None:
    with database.write() as connection:
        for number in range(count):
            ticket = Ticket(f"{name}{number}", "Printer", f"My printer {number} is broken")
            add_and_enqueue(connection, Incoming(name, ticket.id, ticket), labels_only=number % 20 > 0)


def wait_until_done(database: Database, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        with database.read() as connection:
            states = count_by_state(connection)
        if states["queued"] == states["running"] == 0:
            return
        assert time.monotonic() < end, f"jobs are stuck: {states}"
        time.sleep(0.2)


def answers_of(url: str, name: str, count: int) -> list[tuple[int, int]]:
    found = answers_by_ticket(url)
    return [found[f"{name}{number}"] for number in range(count)]


@pytest.mark.slow
def test_workers_share_the_jobs_and_give_back_what_they_have_begun(postgres: str) -> None:
    database = open_database(postgres)
    enqueue(database, "shared", 120)
    workers = [start_worker(postgres) for _ in range(2)]
    while True:
        with database.read() as connection:
            if count_by_state(connection)["running"]:
                break
        time.sleep(0.05)
    workers[0].send_signal(signal.SIGTERM)
    assert workers[0].wait(timeout=60) == 0
    wait_until_done(database, 200)
    workers[1].send_signal(signal.SIGINT)
    assert workers[1].wait(timeout=60) == 0
    assert answers_of(postgres, "shared", 120) == [(1, 0)] * 120
    database.close()


@pytest.mark.slow
@pytest.mark.skipif("DUET_LOAD" not in os.environ, reason="takes many minutes: make test-serve")
@pytest.mark.timeout(3_600)
def test_eight_workers_one_of_which_is_killed_every_second(postgres: str) -> None:
    """Every one of 2,000 jobs has exactly one answer in the end, and none is stuck."""
    database, jobs, at_once = open_database(postgres), 2_000, 8
    enqueue(database, "killed", jobs)
    workers = [start_worker(postgres) for _ in range(at_once)]
    kills = 0
    for number in itertools.count():
        with database.read() as connection:
            states = count_by_state(connection)
        if states["queued"] < jobs // 10:
            break
        time.sleep(1)
        workers[number % at_once].kill()
        workers[number % at_once].wait()
        workers[number % at_once] = start_worker(postgres)
        kills += 1
        if kills >= 120:  # starting a model takes longer than a second on few cores: now they may work
            break
    wait_until_done(database, 3_000)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    assert [worker.wait(timeout=120) for worker in workers] == [0] * at_once
    assert kills >= 10
    assert answers_of(postgres, "killed", jobs) == [(1, 0)] * jobs
    database.close()
