"""Inserting a row, or changing the one that has its key already, in one statement of SQLite and of PostgreSQL."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_or_update(connection: Connection, table: Table, row: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    """Insert a row; where another has its primary key, change that one, or leave it where there are no changes."""
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(table).values(**row)
    if changes:
        statement = statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changes)
    else:
        statement = statement.on_conflict_do_nothing()
    connection.execute(statement)
