"""The store, on SQLite and on PostgreSQL: each ticket once, each job to one worker, nothing lost, nothing rewritten."""

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, func, select, text, update

from store import audit
from store.corrections import corrections
from store.database import Database, open_database
from store.incoming import Incoming, add_ticket, count_by_status, current_prediction, erase_ticket, get_ticket
from store.jobs import (
    MAX_ATTEMPTS,
    SUSPECT,
    Accepted,
    add_and_enqueue,
    claim,
    count_by_state,
    enqueue,
    extend_leases,
    fail,
    finish,
    get_job,
    give_back,
    queue_length,
    requeue_running,
    retry_failed,
)
from store.outbox import mark_failed, mark_sent, outbox_state, put, retry_given_up, take
from store.reviews import (
    Conflict,
    NotReviewable,
    Review,
    claim_card,
    latest_review,
    next_card,
    save_review,
    skip_card,
    undo_last,
)
from store.tables import audit as audit_table
from store.tables import cards, jobs, metadata, predictions, tickets
from store.tokens import add_token, count_tokens, find_token, list_tokens, remove_token
from tests.postgres import postgres_server
from tests.serving import scripted_answer, sqlite_url
from tickets.errors import InputError, WorkError
from tickets.schema import Ticket

THRESHOLDS = {"type": 0.8, "queue": None}


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = sqlite_url(tmp_path)
    else:
        url = request.getfixturevalue("postgres")
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
        engine.dispose()
    opened = open_database(url)
    yield opened
    opened.close()


def add(database: Database, body: str = "no paper", answered: bool = True) -> str:
    """Store a ticket, and an answer to it."""
    with database.write() as connection:
        ticket_id, _ = add_ticket(connection, Incoming("test", "", Ticket("", "Printer", body)))
        enqueue(connection, ticket_id)
    for job in claim(database, 100) if answered else ():
        assert finish(database, job, scripted_answer(job.ticket), "model-1", THRESHOLDS)
    return ticket_id


def review(version: int = 0, who: str = "anna", reply: str | None = None, **labels: str) -> Review:
    reply = "Dear customer, we look into: Printer" if reply is None else reply
    return Review(who, version, {"type": "Incident", "queue": "Billing", **labels}, ["printer"], reply)


def test_the_migrations_make_the_tables(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_opening_again_changes_nothing(database: Database) -> None:
    ticket = add(database)
    url = database.engine.url.render_as_string(hide_password=False)
    again = open_database(url)
    with again.read() as connection:
        assert get_ticket(connection, ticket) is not None
    again.close()


def test_the_same_ticket_is_stored_once(database: Database) -> None:
    same = Incoming("shop", "7", Ticket("", "Printer", "no paper"))
    with database.write() as connection:
        first, again = add_ticket(connection, same), add_ticket(connection, same)
    assert first[1] and not again[1] and first[0] == again[0]
    assert add(database, "other") != first[0]


def test_every_job_is_claimed_once_by_eight_threads(database: Database) -> None:
    with database.write() as connection:
        for number in range(200):
            ticket_id, _ = add_ticket(connection, Incoming("test", str(number), Ticket("", "", f"ticket {number}")))
            enqueue(connection, ticket_id)
    claimed: Counter[str] = Counter()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while found := claim(database, 3):
                claimed.update(job.id for job in found)
                for job in found:
                    assert finish(database, job, scripted_answer(job.ticket), "m", THRESHOLDS)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(claimed) == 200 and set(claimed.values()) == {1}
    with database.read() as connection:
        assert len(connection.execute(select(predictions.c.id)).all()) == 200
        assert count_by_status(connection) == {"open": 200} and queue_length(connection) == 0


def test_a_lease_that_has_run_out_passes_the_job_on(database: Database) -> None:
    add(database, answered=False)
    (slow,) = claim(database, 5)
    assert claim(database, 5) == []
    with database.write() as connection:
        connection.execute(update(jobs).values(lease_until=time.time() - 1))
    (fast,) = claim(database, 5)
    assert fast.id == slow.id and fast.attempts == 2
    assert finish(database, slow, scripted_answer(slow.ticket), "slow", THRESHOLDS) is None
    assert finish(database, fast, scripted_answer(fast.ticket), "fast", THRESHOLDS)
    with database.read() as connection:
        row = get_ticket(connection, fast.ticket.id)
        assert row is not None
        prediction = current_prediction(connection, row)
        assert prediction is not None and prediction.model == "fast"
        assert len(connection.execute(select(predictions.c.id)).all()) == 1


def test_leases_are_extended_given_back_and_given_up(database: Database) -> None:
    add(database, answered=False)
    (job,) = claim(database, 1)
    with database.write() as connection:
        connection.execute(update(jobs).values(lease_until=time.time() + 1))
    extend_leases(database, [job])
    with database.read() as connection:
        assert connection.execute(select(jobs.c.lease_until)).scalar_one() > time.time() + 30
    give_back(database, [job])  # an attempt that the end of the server cut off does not count
    for attempt in range(1, MAX_ATTEMPTS + 1):
        (job,) = claim(database, 1)
        assert job.attempts == attempt
        assert requeue_running(database) == 1
    assert claim(database, 1) == []
    with database.read() as connection:
        row = get_job(connection, job.id)
    assert row is not None and row["state"] == "failed" and f"{MAX_ATTEMPTS} attempts" in row["error"]


def test_what_may_have_killed_its_worker_is_answered_alone(database: Database) -> None:
    for number in range(6):
        add(database, f"ticket {number}", answered=False)
    suspects = claim(database, 2)
    for _ in range(SUSPECT - 1):
        give_back(database, suspects, counted=True)
        suspects = claim(database, 2)
    give_back(database, suspects, counted=True)
    fresh = claim(database, 10)
    assert len(fresh) == 4 and not {job.id for job in suspects} & {job.id for job in fresh}
    assert claim(database, 10, idle=False) == []
    assert [job.id for job in claim(database, 10)] == [suspects[0].id]


def test_a_ticket_whose_job_failed_is_queued_again(database: Database) -> None:
    incoming = Incoming("x", "1", Ticket("1", "a", "b"))
    with database.write() as connection:
        first = add_and_enqueue(connection, incoming)
        assert first.new and first.job is not None
        assert add_and_enqueue(connection, incoming) == Accepted(first.ticket, None, new=False)
    (job,) = claim(database, 1)
    fail(database, job, "no memory")
    with database.write() as connection:
        again = add_and_enqueue(connection, incoming)
        assert again.job not in (None, first.job) and not again.new
    (job,) = claim(database, 1)
    fail(database, job, "no memory")
    assert retry_failed(database) == 1 and retry_failed(database) == 0
    with database.read() as connection:
        assert count_by_state(connection) == {"queued": 1, "running": 0, "done": 0, "failed": 2}


def test_a_reply_with_nul_is_stored_without(database: Database) -> None:
    add(database, answered=False)
    (job,) = claim(database, 1)
    answer = replace(scripted_answer(job.ticket), reply="a\x00b")
    assert finish(database, job, answer, "m", THRESHOLDS)
    with database.read() as connection:
        assert connection.execute(select(predictions.c.reply)).scalar_one() == "ab"


def test_a_store_of_an_earlier_version_gets_its_columns(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'old.db'}")
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE tickets DROP COLUMN fields")
        connection.exec_driver_sql("ALTER TABLE predictions DROP COLUMN reply_cut")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    database.close()
    again = open_database(f"sqlite:///{tmp_path / 'old.db'}")
    add(again)
    again.close()


def test_a_failed_job_says_why(database: Database) -> None:
    add(database, answered=False)
    (job,) = claim(database, 1)
    fail(database, job, "no memory")
    with database.read() as connection:
        row = get_job(connection, job.id)
    assert row is not None and (row["state"], row["error"]) == ("failed", "no memory")


def test_cards_go_by_doubt_and_to_one_person(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.jobs.random.random", lambda: 0.5)
    sure, doubtful = add(database, "sure"), add(database, "unclear")
    assert next_card(database, "anna") == doubtful == next_card(database, "anna")
    assert next_card(database, "ben") == sure
    assert next_card(database, "carl") is None
    skip_card(database, doubtful, "anna")
    assert next_card(database, "anna") == doubtful  # the other one is Ben's
    skip_card(database, sure, "ben")
    claim_card(database, doubtful, "anna")
    assert next_card(database, "ben") == sure


def test_what_cannot_be_reviewed_holds_nobody_up(database: Database) -> None:
    """A person who opens an erased, a waiting or a reviewed ticket is shown the next open one all the same."""
    erased, reviewed, open_one = (add(database, f"ticket {n}") for n in range(3))
    waiting = add(database, "waiting", answered=False)
    claim_card(database, erased, "anna")
    erase_ticket(database, erased, "boss")
    save_review(database, reviewed, review(who="ben"))
    for ticket in (erased, waiting, reviewed):
        claim_card(database, ticket, "anna")
        assert next_card(database, "anna") == open_one
    with database.read() as connection:
        held = set(connection.execute(select(cards.c.ticket_id)).scalars())
    assert held == {reviewed, open_one}  # time spent on a reviewed one is counted


def test_a_card_that_changes_hands_starts_its_clock(database: Database) -> None:
    ticket = add(database)

    def shown_at() -> float:
        with database.read() as connection:
            return float(connection.execute(select(cards.c.shown_at)).scalar_one())

    claim_card(database, ticket, "anna")
    first = shown_at()
    claim_card(database, ticket, "anna")
    assert shown_at() == first
    claim_card(database, ticket, "ben")
    assert shown_at() > first and next_card(database, "ben") == ticket
    assert next_card(database, "anna") is None


def test_people_who_are_at_it_together_disturb_nobody(database: Database) -> None:
    opened = [add(database, f"opened {n}") for n in range(5)]
    undone = [add(database, f"undone {n}") for n in range(6)]
    for ticket in undone:
        save_review(database, ticket, review())
    people = [f"person {n}" for n in range(6)]
    with ThreadPoolExecutor(8) as pool:
        together = [pool.submit(claim_card, database, ticket, who) for ticket in opened for who in people]
        together += [pool.submit(skip_card, database, ticket, people[0]) for ticket in opened for _ in range(2)]
        undoing = [pool.submit(undo_last, database, "anna") for _ in range(4)]
    assert all(future.exception() is None for future in together)
    found = [future.result() for future in undoing]
    assert len(set(found)) == 4 and set(found) <= set(undone)


def test_a_review_needs_the_version_it_saw(database: Database) -> None:
    ticket = add(database)
    assert save_review(database, ticket, review()) == "accept"
    with pytest.raises(Conflict) as conflict:
        save_review(database, ticket, review(who="ben", queue="IT"))
    assert conflict.value.latest["reviewer"] == "anna"
    assert save_review(database, ticket, review(1, "ben", queue="IT")) == "correct"
    assert undo_last(database, "anna") is None  # hers is not the one that holds
    assert undo_last(database, "ben") == ticket
    assert save_review(database, ticket, review(3)) == "accept"
    with pytest.raises(NotReviewable):
        save_review(database, add(database, "unanswered", answered=False), review())
    with pytest.raises(NotReviewable):
        save_review(database, "0" * 26, review())


def test_a_review_is_stored_without_nul(database: Database) -> None:
    ticket = add(database)
    save_review(database, ticket, replace(review(reply="a\x00b"), reason="c\x00d"))
    with database.read() as connection:
        row = latest_review(connection, ticket)
    assert row is not None and (row["reply"], row["reason"]) == ("ab", "cd")


def test_corrections_are_what_people_saw(database: Database) -> None:
    confirmed, corrected, rejected, undone = (add(database, f"ticket {n}") for n in range(4))
    save_review(database, confirmed, review())
    save_review(database, corrected, review(queue="IT", reply="My own words"))
    save_review(
        database, rejected, Review("anna", 0, {"type": "Incident", "queue": "Billing"}, [], None, rejected=True)
    )
    save_review(database, undone, review())
    undo_last(database, "anna")
    add(database, "nobody looked")
    with database.read() as connection:
        rows = {row["id"]: row for row in corrections(connection)}
        assert rows.keys() == {confirmed, corrected}
        assert [row["id"] for row in corrections(connection, source="corrected")] == [corrected]
        assert list(corrections(connection, since=time.time() + 1)) == []
        capped = {row["id"]: row for row in corrections(connection, own_output_share=0.5)}
    assert rows[confirmed]["source"] == "confirmed" and rows[confirmed]["own_output"]
    assert rows[confirmed]["reply"] == ""  # one unedited draft beside one reply is more than a fifth
    assert capped[confirmed]["reply"] == "Dear customer, we look into: Printer"
    assert rows[corrected]["queue"] == "IT" and rows[corrected]["reply"] == "My own words"
    assert rows[corrected]["weight"] == pytest.approx(1 / rows[corrected]["draw_probability"], abs=1e-3)


def test_erasing_empties_every_text(database: Database) -> None:
    ticket = add(database, "a secret")
    save_review(database, ticket, review(reply="a secret too"))
    with database.write() as connection:
        put(connection, "zammad", ticket, {"reply": "a secret"})
    assert erase_ticket(database, ticket, "boss") and erase_ticket(database, ticket, "boss")
    assert not erase_ticket(database, "0" * 26, "boss")
    with database.read() as connection:
        for table in reversed(metadata.sorted_tables):
            assert "secret" not in str(connection.execute(select(table)).all())
        assert count_by_status(connection) == {"erased": 1}
        assert audit.verify_chain(connection) == 2  # the review and the erasing


@pytest.mark.parametrize("then", ["write", "open"])
def test_a_reader_delays_the_erasing_from_the_log_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    monkeypatch.setattr("store.database._BUSY_MILLISECONDS", 200)
    database = open_database(sqlite_url(tmp_path))
    ticket = add(database, "a secret")

    def is_left() -> bool:
        return any(b"a secret" in path.read_bytes() for path in tmp_path.iterdir())

    with database.read() as connection:
        connection.execute(select(tickets)).all()
        erase_ticket(database, ticket, "boss")
        waits: list[bool] = []
        empty_log = database.empty_log
        with monkeypatch.context() as watching:
            watching.setattr(Database, "empty_log", lambda _, wait=True: (waits.append(wait), empty_log(wait)))
            add_token(database, "anna", "review")
        assert is_left() and waits == [False]  # no write waits for the reader
    if then == "write":
        add_token(database, "ben", "review")
    else:
        open_database(sqlite_url(tmp_path)).close()
    assert not is_left()
    database.close()


@pytest.mark.parametrize("change", [{"actor": "somebody"}, {"at": 1.0}, {"previous": "f" * 64}])
def test_a_changed_audit_entry_is_found(database: Database, change: dict[str, Any]) -> None:
    for name in ("a", "b", "c"):
        add_token(database, name, "review")
    with database.write() as connection:
        assert audit.verify_chain(connection) == 3
        connection.execute(update(audit_table).where(audit_table.c.seq == 2).values(**change))
    with database.read() as connection, pytest.raises(WorkError, match="entry 2"):
        audit.verify_chain(connection)


def test_a_removed_audit_entry_is_found(database: Database) -> None:
    for name in ("a", "b", "c"):
        add_token(database, name, "review")
    with database.write() as connection:
        connection.execute(audit_table.delete().where(audit_table.c.seq == 2))
    with database.read() as connection, pytest.raises(WorkError, match="entry 2"):
        audit.verify_chain(connection)


def test_tokens_open_until_they_expire_or_are_removed(database: Database) -> None:
    token = add_token(database, "anna", "review")
    found = find_token(database, token)
    assert found is not None and found.may("ingest") and found.may("review") and not found.may("admin")
    assert find_token(database, token + "x") is None
    gone = add_token(database, "ben", "ingest", days=-1.0)
    assert find_token(database, gone) is None
    with database.read() as connection:
        shown = str(list_tokens(connection))
        assert count_tokens(connection) == 2 and token not in shown and "sha256" not in shown
    with pytest.raises(InputError, match="exists"):
        add_token(database, "anna", "admin")
    with pytest.raises(InputError, match="expected one of"):
        add_token(database, "carl", "boss")
    remove_token(database, "anna")
    assert find_token(database, token) is None
    with pytest.raises(InputError, match="no token"):
        remove_token(database, "anna")


def test_the_outbox_keeps_trying(database: Database) -> None:
    ticket = add(database)
    with database.write() as connection:
        put(connection, "zammad", ticket, {"n": 1})
    item = take(database)
    assert item and take(database) is None and item.payload == {"n": 1} and item.attempts == 1
    mark_failed(database, item, "down", after=100.0)
    with database.read() as connection:
        assert outbox_state(connection)["waiting"] == 1
    mark_failed(database, item, "refused", final=True)
    assert retry_given_up(database) == 1
    item = take(database)
    assert item
    mark_sent(database, item, {"labels": {"type": "Request"}, "reply": "Hello"})
    with database.read() as connection:
        assert outbox_state(connection)["sent"] == 1


def test_a_sample_drawn_by_chance_has_its_share(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    generator = random.Random(5)
    monkeypatch.setattr("store.jobs.random.random", generator.random)
    with database.write() as connection:
        for number in range(600):
            ticket_id, _ = add_ticket(connection, Incoming("t", str(number), Ticket("", "", f"sure {number}")))
            enqueue(connection, ticket_id)
    while found := claim(database, 100):
        for job in found:
            finish(database, job, scripted_answer(job.ticket), "m", THRESHOLDS)
    with database.read() as connection:
        draws = Counter(connection.execute(select(tickets.c.draw)).scalars())
    assert 4 <= draws["blind"] <= 24 and 15 <= draws["random"] <= 48  # 12 and 29 expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "not an address"),
        ("mysql://host/name", "expected sqlite"),
        ("sqlite://", "lost at the end"),
        ("sqlite:////proc/nowhere/duet.db", "cannot be written"),
        ("postgresql+psycopg://me:hunter2@127.0.0.1:1/x", "cannot be opened"),
        ("postgresql+psycopg://me@127.0.0.1:1/x?password=hunter2", "password=hidden: cannot be opened"),
        ("postgresql+psycopg://me@127.0.0.1:1/x?sslpassword=hunter2&odd=hunter2", "cannot be opened"),
        ("postgresql+psycopg://me@127.0.0.1:1/x?port=hunter2", "cannot be read"),
        ("mysql://me@host/x?password=hunter2", "expected sqlite"),
        ("postgresql+psycopg://me:x@hunter2@127.0.0.1:1/x", "second @"),
        ("postgresql+psycopg://me:hunter2@127.0.0.1:port/x", "not an address"),
        ("postgresql+psycopg://me:hunter2\udcff@127.0.0.1:1/x", "not an address"),
        ("sqlite:///~nobody-of-that-name/duet.db", "no home folder"),
        ("sqlite:///\udcff.db", "not an address"),
    ],
)
def test_addresses_that_cannot_be_used_are_one_line(url: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as found:
        open_database(url)
    assert "\n" not in str(found.value) and "hunter2" not in str(found.value)


def test_a_file_that_is_no_database_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be read as one" * 40)
    before = path.read_bytes()
    with pytest.raises(InputError, match="cannot be opened"):
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_an_sqlite_store_is_the_owners_alone(tmp_path: Path) -> None:
    open_database(sqlite_url(tmp_path)).close()
    assert (tmp_path / "duet.db").stat().st_mode & 0o077 == 0
    with sqlite3.connect(tmp_path / "duet.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_reader_sees_one_moment(database: Database) -> None:
    """Or a job would be done for one query while its ticket has no answer for the next."""
    with database.read() as reader:
        before = reader.execute(select(func.count()).select_from(tickets)).scalar()
        with database.write() as writer:
            add_ticket(writer, Incoming("api", "late", Ticket("t", "Printer", "It does not print.")))
        assert reader.execute(select(func.count()).select_from(tickets)).scalar() == before
    with database.read() as reader:
        assert reader.execute(select(func.count()).select_from(tickets)).scalar() == before + 1
