"""Backups of the store, and putting one back."""

import shutil
import sqlite3
from itertools import chain, count
from pathlib import Path

from backbone.runs.files import open_new
from serve.run import exclusive_server_lock
from store.audit import verify_chain
from store.database import Database, open_file
from tickets.errors import InputError, WorkError
from tickets.plain_reason import plain_reason
from tickets.sources import check_regular, refuse_overlap

_HEADER = b"SQLite format 3\x00"
_BESIDE = ("-wal", "-shm")  # files that SQLite keeps beside a database


def backup(database: Database, target: Path) -> None:
    """Write a consistent copy of an SQLite store, also while it is served.

    Raises:
        InputError: the target exists, or the store is on a server.
    """
    path = _sqlite_path(database, "pg_dump writes a backup of a PostgreSQL server")
    if target.exists():
        raise InputError(f"{target}: exists; expected a new file for the backup")
    partial = target.with_name(f"{target.name}.partial")
    try:
        open_new(partial, "xb", permissions=0o600).close()
        source, copy = sqlite3.connect(path), sqlite3.connect(partial)
        try:
            source.backup(copy)
        finally:
            copy.close()
            source.close()
        partial.replace(target)
    except (OSError, sqlite3.Error) as error:
        partial.unlink(missing_ok=True)
        raise WorkError(f"{target}: the backup could not be written: {plain_reason(error)}") from None


def restore(database: Database, source: Path) -> Path | None:
    """Put a backup in the place of an SQLite store that nobody serves; return where the old one was moved.

    The old one takes no name that a file has already, such as that of an earlier restore.

    Raises:
        InputError: no backup, or the store is being served.
    """
    path = _sqlite_path(database, "pg_restore reads a backup of a PostgreSQL server")
    if source.exists():
        check_regular(source)
    refuse_overlap([source], [path], "--db")
    if not is_store(source):
        raise InputError(f"{source}: not a backup of `duet serve backup`; expected a file that it wrote")
    with exclusive_server_lock(database):
        database.empty_log()
        database.close()
        checked = path.with_name(f"{path.name}.restoring")
        for rest in _BESIDE:  # of a restoration that was cut off: it would be read into the copy
            checked.with_name(checked.name + rest).unlink(missing_ok=True)
        with source.open("rb") as backup_file, open_new(checked, "xb", permissions=0o600) as copy:
            shutil.copyfileobj(backup_file, copy)
        candidate = open_file(checked)  # brings it to this version
        try:
            with candidate.read() as connection:
                verify_chain(connection)
            candidate.empty_log()
        finally:
            candidate.close()
        old = _free_name(path.with_name(f"{path.name}.before-restore"))
        path.replace(old)
        for rest in _BESIDE:  # a reader may have kept the last transactions out of the file itself
            beside = path.with_name(path.name + rest)
            if beside.exists():
                beside.replace(old.with_name(old.name + rest))
            checked.with_name(checked.name + rest).unlink(missing_ok=True)
        checked.replace(path)
    return old


def _free_name(path: Path) -> Path:
    """Return a name that no file has: this one, or one with a number behind it."""
    names = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(name for name in chain([path], names) if not name.exists())


def is_store(path: Path) -> bool:
    """Return whether a file is an SQLite store of ours."""
    try:
        with path.open("rb") as file:
            if file.read(len(_HEADER)) != _HEADER:
                return False
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            found = connection.execute(
                "SELECT name FROM sqlite_master WHERE name IN ('audit', 'predictions')"
            ).fetchall()
        finally:
            connection.close()
    except (OSError, sqlite3.Error, UnicodeDecodeError):
        return False
    return len(found) == 2


def _sqlite_path(database: Database, otherwise: str) -> Path:
    if database.path is None:
        raise InputError(f"--db: {otherwise}; this command is for SQLite files")
    return database.path
