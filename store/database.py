"""Opening a database, SQLite or PostgreSQL, and the transactions of it."""

import random
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

from store.migrations.upgrade import upgrade
from tickets.errors import InputError, WorkError
from tickets.secrets import without_secrets
from tickets.sources import source_path

_BUSY_MILLISECONDS = 5_000
_TRIES = 6  # of BEGIN IMMEDIATE, which can still fail under load
_IMMEDIATE = "duet_immediate"
_SECRET = re.compile("pass|secret|key|token", re.IGNORECASE)  # names of the parameters of an address
_EXPECTED = "expected sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"


class Database:
    """An open database with the tables of this version."""

    def __init__(self, engine: Engine) -> None:
        """Take an engine of `open_database`."""
        self.engine = engine
        self._writing = engine.execution_options(**{_IMMEDIATE: True})
        self._reading = engine if self.is_sqlite else engine.execution_options(isolation_level="REPEATABLE READ")
        self._log_is_kept = False  # a reader kept `empty_log` from its work

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of SQLite."""
        return self.engine.dialect.name == "sqlite"

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database; None for a server."""
        name = self.engine.url.database
        return Path(name) if self.is_sqlite and name else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a transaction that only reads; all its queries see one moment, whatever others write meanwhile."""
        with self._reading.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a transaction that writes; committed at the end of the block, rolled back where it raises.

        SQLite's is taken at once: one that began by reading and goes on to write fails where another wrote between,
        and no waiting helps.
        """
        for attempt in range(_TRIES):
            connection = self._writing.connect()
            try:
                transaction = connection.begin()
                break
            except OperationalError:
                connection.close()
                if not self.is_sqlite or attempt == _TRIES - 1:
                    raise
                time.sleep(random.uniform(0.05, 0.2) * 2**attempt)
        with connection, transaction:
            yield connection
        if self._log_is_kept:
            self.empty_log(wait=False)

    def empty_log(self, wait: bool = True) -> None:
        """Move SQLite's write-ahead log into the file, so that no copy of an erased row is left in it.

        Where somebody still reads from the log, it is tried again after every write until it succeeds.

        Args:
            wait: for the readers, a few seconds.
        """
        if not self.is_sqlite:
            return
        self._log_is_kept = False  # before: another thread may find it kept meanwhile
        raw = self.engine.raw_connection()
        cursor = raw.cursor()
        is_kept = True
        try:
            cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS if wait else 0}")
            is_kept = bool(cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
        finally:
            cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
            raw.close()
            self._log_is_kept = self._log_is_kept or is_kept

    def check(self) -> None:
        """Raise WorkError where the database does not answer."""
        try:
            with self.read() as connection:
                connection.exec_driver_sql("SELECT 1")
        except SQLAlchemyError as error:
            fault = _first_line(error, self.engine.url)
            raise WorkError(f"the database does not answer: {fault}; start it, or name another with --db") from None

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open a database and bring its tables to this version.

    Args:
        url: `sqlite:///FILE` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`.

    Raises:
        InputError: another kind of address, a file that is no database, or a server that cannot be reached.
    """
    try:
        address = make_url(url)
        url.encode()  # bytes that are no text reach no database
    except (ArgumentError, ValueError):  # the second one of a port that is no number
        raise InputError(f"--db: not an address of a database; {_EXPECTED}") from None
    if "@" in (address.host or ""):  # of the password, whose end would be shown
        raise InputError(f"--db: found a second @; {_EXPECTED}, with %40 for an @ in the password")
    hidden = dict.fromkeys(address.query, "hidden")  # a password can stand there too
    shown = address.set(query=hidden).render_as_string(hide_password=True)
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(f"--db {shown}: {_EXPECTED}")
    try:
        if address.get_backend_name() == "sqlite":
            engine = _open_sqlite(address.database, shown)
        else:
            engine = create_engine(address, pool_pre_ping=True)
    except (ModuleNotFoundError, NoSuchModuleError):
        raise InputError(f"--db {shown}: needs psycopg; `pip install 'ticket-duet[postgres]'` adds it") from None
    except ArgumentError:
        raise InputError(f"--db {shown}: its parameters cannot be read; {_EXPECTED}") from None
    return _upgraded(engine, f"--db {shown}")


def open_file(path: Path) -> Database:
    """Open an SQLite file under whatever name, as `open_database` does.

    Raises:
        InputError: no database, or it cannot be written.
    """
    return _upgraded(_open_sqlite(str(path), str(path)), str(path))


def _upgraded(engine: Engine, shown: str) -> Database:
    database = Database(engine)
    try:
        with database.write() as connection:
            upgrade(connection)
    except SQLAlchemyError as error:
        raise InputError(
            f"{shown}: cannot be opened: {_first_line(error, engine.url)}; name another with --db"
        ) from None
    except InputError as error:
        raise InputError(f"{shown}: {error}") from None
    except UnicodeDecodeError:  # of the words in which SQLite complains of what it read
        raise InputError(f"{shown}: cannot be opened: the file is damaged; restore a backup") from None
    database.empty_log(wait=False)  # a reader may have kept it when a ticket was erased
    return database


def _open_sqlite(name: str | None, shown: str) -> Engine:
    if not name or name == ":memory:":
        raise InputError(f"--db {shown}: a database in memory is lost at the end; {_EXPECTED}")
    path = source_path(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            path.touch(mode=0o600)  # tickets are personal data
    except OSError as error:
        raise InputError(f"--db {shown}: cannot be written: {error.strerror}; name another file") from None
    address = URL.create("sqlite", database=str(path))  # a path can hold what an address takes for something else
    engine = create_engine(address, connect_args={"timeout": _BUSY_MILLISECONDS / 1000})

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        mode = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":  # a failure is told by the old mode alone
            raise sqlite3.OperationalError(f"no write-ahead log ({mode}): the file lies on a network file system")
        cursor.execute(f"PRAGMA busy_timeout={_BUSY_MILLISECONDS}")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA secure_delete=ON")  # what is erased is overwritten with zeros
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_IMMEDIATE)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _first_line(error: SQLAlchemyError, address: URL) -> str:
    """Return what the database says, without the secrets of its address."""
    cause = getattr(error, "orig", None) or error
    values = [str(value) for name, value in address.query.items() if _SECRET.search(name)]
    told = without_secrets(str(cause), [address.password or "", *values]).strip()
    return told.splitlines()[0] if told else type(cause).__name__
