"""Bringing the tables of a database to this version, with Alembic and without a configuration file."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from tickets.errors import InputError

_LOCK = 0x64756574  # "duet": of processes that start at the same time, one migrates


def upgrade(connection: Connection) -> None:
    """Run the missing migrations inside the transaction of the connection.

    Raises:
        InputError: the tables are of a version that is not known here.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    try:
        command.upgrade(migration_config(connection), "head")
    except (CommandError, AssertionError) as error:  # a revision that does not exist, or has no name
        reason = " ".join(str(error).split())[:200] or "without a name"
        raise InputError(f"the store is of another version ({reason}); update duet, or restore a backup") from None


def migration_config(connection: Connection) -> Config:
    """Return Alembic's configuration for the connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    return config
