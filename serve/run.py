"""`duet serve`: open model and store, say where the page is, and serve until stopped."""

import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from filelock import Timeout

from backbone.dataset import load_part, resolve_data
from backbone.runs.locks import file_lock
from pipeline.engine_choice import EngineChoice
from pipeline.resolved import load_resolved
from pipeline.service import Service
from pipeline.shipped import open_to_answer
from pipeline.two_stage import load_classifier, load_two_stage
from serve.app import create_app
from serve.context import Serving
from serve.dispatch import Dispatcher
from serve.events import EventHub
from serve.hooks.configuration import load_helpdesks
from serve.hooks.writing_back import queue_answer
from serve.metrics import Metrics
from serve.model_facts import ModelFacts
from store.database import Database, open_database
from store.incoming import Incoming
from store.jobs import add_and_enqueue, requeue_running
from store.tables import ADMIN
from store.tokens import add_token, count_tokens, remove_token
from tickets.errors import InputError, WorkError
from tickets.numbers import whole_number
from tickets.sources import check_unicode

EVERYTHING, WEB, WORKER = ROLES = ("all", "web", "worker")
LISTEN = "127.0.0.1:8077"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_LOCAL_TOKEN = "this machine"
_DEMO_TICKETS = 20
_DRAIN_SECONDS = 10.0
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class ServeOptions:
    """What the user asks for.

    Attributes:
        model: folder; the shipped model without one.
        db: address of the database; a file in the user's data folder without one.
        listen: HOST:PORT.
        helpdesks: file that names them.
        role: WEB answers requests and leaves tickets to workers, WORKER answers tickets alone; EVERYTHING does both.
        demo: fill the store with built-in tickets.
        single_keys: whether the review page takes keys without a modifier.
    """

    model: Path | None
    db: str | None
    listen: str | None
    choice: EngineChoice
    helpdesks: Path | None = None
    demo: bool = False
    single_keys: bool = True
    role: str = EVERYTHING


class _Server(uvicorn.Server):
    """Ends with success where a signal asked it to: uvicorn raises the signal again at its end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def default_database() -> str:
    """Return the address of the database in the user's data folder.

    Raises:
        InputError: that folder has a name that no address can hold.
    """
    from platformdirs import user_data_path

    path = str(user_data_path("ticket-duet") / "duet.db")
    check_unicode(path, "name a file with --db")
    return f"sqlite:///{path}"


def serve(options: ServeOptions) -> None:
    """Serve until a signal stops it.

    Raises:
        InputError: an address that cannot be used, no model, no database, or no token where one is needed.
        WorkError: a worker's thread has ended.
    """
    _check_role(options)
    if options.role == WORKER:
        work(options, _DRAIN_SECONDS)
        return
    host, listener = _listen(LISTEN if options.listen is None else options.listen)
    database = open_database(default_database() if options.db is None else options.db)
    with listener, exclusive_server_lock(database):
        _check_tokens(database, host)
        server = _assemble(options, database)
        if options.demo:
            fill_with_samples(database)
        _print_addresses(database, host, listener.getsockname()[1], options.demo)
        app = create_app(server, _DRAIN_SECONDS)
        config = uvicorn.Config(
            app, log_level="warning", server_header=False, timeout_graceful_shutdown=int(_DRAIN_SECONDS)
        )
        _Server(config).run(sockets=[listener])
    database.close()


def fill_with_samples(database: Database) -> None:
    """Store and queue twenty built-in tickets."""
    samples = load_part(resolve_data("sample"), "test", _DEMO_TICKETS)
    with database.write() as connection:
        for ticket in samples:
            add_and_enqueue(connection, Incoming("demo", ticket.id, ticket))


@contextmanager
def exclusive_server_lock(database: Database) -> Iterator[None]:
    """Hold an SQLite file as its only server.

    Raises:
        InputError: another one has it.
    """
    path = database.path
    if path is None:
        yield
        return
    lock = file_lock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"--db {path}: another `duet serve` uses it; stop that one, or give another file with --db"
        ) from None
    try:
        requeue_running(database)
        yield
    finally:
        lock.release()


def _check_role(options: ServeOptions) -> None:
    """Refuse a role that is unknown, or a database that several processes cannot share.

    Raises:
        InputError: see above.
    """
    if options.role not in ROLES:
        raise InputError(f"found --role {options.role[:100]!r}, expected one of {', '.join(ROLES)}")
    if options.role != EVERYTHING and not (options.db or "").startswith("postgresql"):
        raise InputError(
            f"--role {options.role}: needs a database that several processes share; give PostgreSQL with --db "
            "postgresql+psycopg://USER@HOST/NAME, or leave --role out"
        )
    if options.role == WORKER and (options.listen is not None or options.demo):
        wrong = "--demo" if options.demo else "--listen"
        raise InputError(f"found {wrong} with --role worker, which answers no requests; leave it out")


def work(options: ServeOptions, drain_seconds: float) -> None:
    """Answer the jobs of the store until a signal comes.

    Raises:
        InputError: see `serve`.
        WorkError: the thread that answers has ended by itself.
    """
    ended, server = threading.Event(), None

    def end(*_: object) -> None:
        if server is None:  # nothing was begun yet
            raise SystemExit(0)
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    database = open_database(options.db or "")
    server = _assemble(options, database)
    assert server.dispatcher
    server.dispatcher.start()
    print(f"answering with {server.model.fingerprint}; stop with Ctrl-C", file=sys.stderr)
    while not ended.wait(_LOOK_SECONDS) and server.dispatcher.alive:
        pass
    if not ended.is_set():
        raise WorkError("the worker has stopped by itself; its jobs go to others in a minute; start it again")
    server.dispatcher.stop(drain_seconds)
    database.close()


def _assemble(options: ServeOptions, database: Database) -> Serving:
    model = open_to_answer(options.model, options.choice)
    classifier = load_classifier(model)
    facts = ModelFacts.of(model, classifier)
    helpdesks = load_helpdesks(options.helpdesks, facts.columns) if options.helpdesks else {}
    resolved = load_resolved(model.bundle, model.path) if model.bundle and model.bundle.memory else None
    hub, metrics = EventHub(), Metrics()
    if options.role == WEB:
        return Serving(
            database, None, facts, None, hub, metrics, helpdesks, single_keys=options.single_keys, resolved=resolved
        )
    service = Service(load_two_stage(model, choice=options.choice), options.choice.together)
    dispatcher = Dispatcher(
        database,
        service,
        facts,
        hub,
        metrics,
        at_once=2 * options.choice.together,
        on_stored=lambda connection, job, answer: queue_answer(connection, helpdesks, job, answer),
    )
    return Serving(
        database,
        service,
        facts,
        dispatcher,
        hub,
        metrics,
        helpdesks,
        single_keys=options.single_keys,
        resolved=resolved,
    )


def _listen(address: str) -> tuple[str, socket.socket]:
    host, _, digits = address.rpartition(":")
    host, port = host.strip("[]"), whole_number(digits, 65_535)
    if not host or port is None:
        raise InputError(f"--listen {address}: expected HOST:PORT, such as 127.0.0.1:8077")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return host, socket.create_server((host, port), family=family, backlog=512)
    except (OSError, TypeError, ValueError) as error:  # the latter two of a name that no host has
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"--listen {address}: {reason}; give another address with --listen") from None


def _check_tokens(database: Database, host: str) -> None:
    with suppress(InputError):  # none of an earlier start
        remove_token(database, _LOCAL_TOKEN)
    with database.read() as connection:
        known = count_tokens(connection)
    if host not in _LOOPBACK and not known:
        raise InputError(
            f"--listen {host}: anybody in the network could read the tickets, and there is no token yet; "
            "`duet serve token add NAME --role admin` makes one"
        )


def _print_addresses(database: Database, host: str, port: int, demo: bool) -> None:
    """Print the address and, on loopback, a token that is good until the next start.

    Where others have tokens and nobody looks at the output, as in a service's journal, no token is printed.
    """
    shown = f"[{host}]" if ":" in host else host
    print(f"review page  http://{shown}:{port}/")
    with database.read() as connection:
        known = count_tokens(connection)
    if host in _LOOPBACK and (demo or not known or sys.stdout.isatty()):
        print(f"token        {add_token(database, _LOCAL_TOKEN, ADMIN)}   (until the next start)")
    print(f"API          http://{shown}:{port}/docs", flush=True)
    print("stop with Ctrl-C; what was accepted is kept", file=sys.stderr)
