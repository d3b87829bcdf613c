"""`duet serve` as a command: what it refuses, backups, and the walk from corrections to a better model."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

import httpx2
from typer.testing import CliRunner

from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.dataset import load_part, resolve_data
from bench.served import Served
from cli import app
from serve.run import _check_tokens, _print_addresses, exclusive_server_lock, fill_with_samples
from serve.upkeep import backup, is_store, restore
from store.audit import verify_chain
from store.database import open_database, open_file
from store.incoming import count_by_status
from store.jobs import claim, fail
from store.tokens import add_token
from tests.conftest import as_overrides
from tests.serving import running, sqlite_url
from tickets.errors import InputError
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import read_tickets

ROOT = Path(__file__).parent.parent


def duet(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "cli.py", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_help_of_the_group_and_its_members() -> None:
    for words in (["serve"], ["serve", "token"], ["serve", "token", "add"], ["serve", "backup"]):
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--listen", "nonsense"], "expected HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "expected HOST:PORT"),
        (["--listen", "0.0.0.0:0"], "no token yet"),
        (["--listen", "127.0.0.1:0", "--model", "/nowhere"], "no such folder"),
        (["--listen", "127.0.0.1:0", "--helpdesks", "/nowhere.yaml"], "No such file"),
    ],
)
def test_what_cannot_be_served_is_one_line(tmp_path: Path, options: list[str], told: str) -> None:
    found = duet("serve", "--db", sqlite_url(tmp_path), *options)
    assert found.returncode == 2 and told in found.stderr
    assert found.stderr.count("\n") == 1 and found.stdout == ""


def test_the_token_of_this_machine_does_not_outlive_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = open_database(sqlite_url(tmp_path))
    _check_tokens(database, "127.0.0.1")
    _print_addresses(database, "127.0.0.1", 8077, demo=False)
    assert "token  " in capsys.readouterr().out
    with pytest.raises(InputError, match="no token yet"):  # it is no token for the network
        _check_tokens(database, "0.0.0.0")
    add_token(database, "anna", "review")
    _check_tokens(database, "0.0.0.0")
    _print_addresses(database, "127.0.0.1", 8077, demo=False)
    assert "token  " not in capsys.readouterr().out  # a service's journal
    _print_addresses(database, "127.0.0.1", 8077, demo=True)
    assert "token  " in capsys.readouterr().out
    database.close()


def test_failed_jobs_are_shown_and_queued_again(tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path))
    fill_with_samples(database)
    (job,) = claim(database, 1)
    fail(database, job, "no memory")
    database.close()
    shown = duet("serve", "jobs", "--db", sqlite_url(tmp_path))
    assert json.loads(shown.stdout) == {"queued": 19, "running": 0, "done": 0, "failed": 1}
    again = duet("serve", "jobs", "--retry", "--db", sqlite_url(tmp_path))
    assert json.loads(again.stdout)["queued"] == 20 and again.stderr.startswith("1 are queued again")


def test_a_backup_is_the_store_and_comes_back(tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path))
    fill_with_samples(database)
    add_token(database, "anna", "review")
    copy = tmp_path / "copy.db"
    with exclusive_server_lock(database):
        backup(database, copy)
        with pytest.raises(InputError, match="another `duet serve` uses it"):
            restore(database, copy)
    with pytest.raises(InputError, match="exists"):
        backup(database, copy)
    assert is_store(copy) and copy.stat().st_mode & 0o077 == 0
    add_token(database, "ben", "review")
    assert restore(database, copy) == tmp_path / "duet.db.before-restore"
    again = open_database(sqlite_url(tmp_path))
    with again.read() as connection:
        assert verify_chain(connection) == 1 and count_by_status(connection) == {"waiting": 20}
    again.close()
    with pytest.raises(InputError, match="not a backup"):
        restore(database, ROOT / "README.md")


def test_a_second_restore_keeps_what_the_first_replaced(tmp_path: Path) -> None:
    url, copies = sqlite_url(tmp_path), [tmp_path / "one.db", tmp_path / "two.db"]
    for copy in copies:
        database = open_database(url)
        backup(database, copy)
        database.close()
    for number, copy in enumerate([*copies, copies[0]]):
        database = open_database(url)
        add_token(database, f"person {number}", "review")
        old = restore(database, copy)
        assert old is not None and old.name == "duet.db.before-restore" + ("", "-2", "-3")[number]
    for number, name in enumerate(("", "-2", "-3")):
        kept = (tmp_path / f"duet.db.before-restore{name}").read_bytes()
        assert f"person {number}".encode() in kept


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_neither_links_nor_what_a_cut_off_restore_left_is_followed(tmp_path: Path) -> None:
    database, copy, victim = open_database(sqlite_url(tmp_path)), tmp_path / "copy.db", tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    for name in ("copy.db.partial", "duet.db.restoring", "duet.db.restoring-wal", "duet.db.restoring-shm"):
        (tmp_path / name).symlink_to(victim)
    backup(database, copy)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="found a pipe, not a regular file"):
        restore(database, tmp_path / "pipe")
    old = restore(database, copy)
    assert old is not None and is_store(old) and not (tmp_path / "duet.db").is_symlink()
    assert (tmp_path / "duet.db").stat().st_mode & 0o077 == 0
    (tmp_path / "duet.db.lock").unlink()
    (tmp_path / "duet.db.lock").symlink_to(victim)
    again = open_database(sqlite_url(tmp_path))
    with pytest.raises(InputError, match=r"duet\.db\.lock: found a symbolic link"), exclusive_server_lock(again):
        pass
    again.close()
    assert victim.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["a?b.db", "a%20b#c.db", "a\udcff.db"])
def test_a_store_may_have_any_name(tmp_path: Path, name: str) -> None:
    database = open_database(sqlite_url(tmp_path))
    backup(database, tmp_path / name)
    restore(database, tmp_path / name)
    with open_file(tmp_path / name).read() as connection:
        assert verify_chain(connection) == 0
    assert not (tmp_path / "a").exists()


def test_the_store_before_keeps_what_a_reader_held_in_its_log(tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path))
    copy = tmp_path / "copy.db"
    with exclusive_server_lock(database):
        backup(database, copy)
    reader = sqlite3.connect(tmp_path / "duet.db")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM tickets").fetchone()
    fill_with_samples(database)  # into the log, out of which the reader keeps it from going
    old = restore(database, copy)
    reader.close()
    assert old is not None
    kept = open_database(f"sqlite:///{old}")
    with kept.read() as connection:
        assert count_by_status(connection) == {"waiting": 20}
    kept.close()


def test_verify_tells_a_changed_store(tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path))
    add_token(database, "anna", "review")
    assert "1 audit entries" in duet("verify", str(tmp_path / "duet.db")).stdout
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor = 'nobody'")
    database.close()
    found = duet("verify", str(tmp_path / "duet.db"))
    assert found.returncode == 1 and "entry 1 was changed" in found.stderr


@pytest.mark.slow
def test_a_killed_server_loses_nothing(tmp_path: Path) -> None:
    """Killed in the middle of twenty answers and started again: every ticket has exactly one current answer."""
    url = sqlite_url(tmp_path)

    def to_review(server: Served) -> int:
        return int(httpx2.get(f"{server.address}/v1/stats", headers=server.headers, timeout=30).json()["to_review"])

    server = Served(url, "--demo")
    while to_review(server) < 3:
        time.sleep(0.1)
    server.kill()
    server = Served(url)
    end = time.monotonic() + 300
    while to_review(server) < 20:
        assert time.monotonic() < end
        time.sleep(0.5)
    assert server.stop(timeout=60) == 0
    database = open_database(url)
    with database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT t.id, COUNT(p.id) FROM tickets t JOIN predictions p ON p.id = t.prediction_id GROUP BY t.id"
        ).fetchall()
        states = connection.exec_driver_sql("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall()
    database.close()
    assert len(rows) == 20 and {count for _, count in rows} == {1} and [tuple(s) for s in states] == [("done", 20)]


@pytest.mark.slow
def test_corrections_become_a_model(tmp_path: Path, trained_run: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk of docs/serve.md: tickets in, a person corrects, export, prepare with the old test part, train."""
    from classifier.train import train_classifier

    monkeypatch.setattr("store.jobs.random.random", lambda: 0.5)  # no card is blind
    tickets = load_part(resolve_data("sample"), "test", 120)
    with running(sqlite_url(tmp_path)) as server:
        batch = [{"subject": t.subject, "body": t.body, "external_id": t.id} for t in tickets]
        rows = server.ask("POST", "/v1/tickets:batch", json={"tickets": batch}).json()["rows"]
        for number, row in enumerate(rows):
            while server.ask("GET", f"/v1/jobs/{row['job']}").json()["state"] != "done":
                time.sleep(0.02)
            labels = {"queue": "IT" if number % 2 else "Billing", "type": "Request" if number % 3 else "Incident"}
            decision = {"labels": labels, "reply": f"{tickets[number].reply} Ours."}
            path = f"/v1/tickets/{row['ticket']}/reviews"
            assert server.ask("POST", path, json=decision, headers={"If-Match": "0"}).status_code == 201
        (tmp_path / "corrections.jsonl").write_bytes(server.ask("GET", "/v1/corrections.jsonl").content)
    prepare(PrepareOptions(str(tmp_path / "corrections.jsonl"), tmp_path / "data"), progress=False)
    prepared = [
        t for part in ("train", "validation", "test") for t in read_tickets(tmp_path / "data" / f"{part}.jsonl")
    ]
    assert len(prepared) == len(tickets)
    assert {t.labels["queue"] for t in prepared} == {"IT", "Billing"} and all(
        t.labels.keys() == {"type", "queue"} for t in prepared
    )
    assert all(t.reply.endswith("Ours.") and t.tags == ("printer",) for t in prepared)
    changes = [f"data.path={tmp_path / 'data'}", f"output={tmp_path / 'second'}", 'classifier.columns=["type","queue"]']
    config = load_config(None, [*as_overrides(trained_run), *changes])
    assert (train_classifier(config) / "manifest.json").is_file()
