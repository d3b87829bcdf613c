"""A chain of what was done by whom: every entry holds the hash of the one before, so that a changed one shows."""

import hashlib
import json
import time

from sqlalchemy import Connection, insert, select

from store.tables import audit
from tickets.errors import WorkError

_FIRST = "0" * 64
_LOCK = 0x61756469  # "audi"


def record(connection: Connection, actor: str, action: str, target: str) -> None:
    """Add an entry; it names ids and never holds text of a ticket."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    last = connection.execute(select(audit.c.seq, audit.c.sha256).order_by(audit.c.seq.desc()).limit(1)).first()
    seq, previous = (last.seq + 1, last.sha256) if last else (1, _FIRST)
    at = round(time.time(), 3)
    sha = _sha(seq, at, actor, action, target, previous)
    row = {"seq": seq, "at": at, "actor": actor, "action": action, "object": target}
    connection.execute(insert(audit).values(**row, previous=previous, sha256=sha))


def verify_chain(connection: Connection) -> int:
    """Return the number of entries.

    Raises:
        WorkError: an entry was changed or removed; the first such one is named.
    """
    previous, count = _FIRST, 0
    for row in connection.execute(select(audit).order_by(audit.c.seq)):
        count += 1
        expected = _sha(row.seq, row.at, row.actor, row.action, row.object, previous)
        if row.seq != count or row.previous != previous or row.sha256 != expected:
            raise WorkError(
                f"audit entry {count} was changed or removed; expected the hash {expected[:12]}...; "
                "restore a backup with `duet serve restore FILE`"
            )
        previous = row.sha256
    return count


def _sha(seq: int, at: float, actor: str, action: str, target: str, previous: str) -> str:
    entry = json.dumps([seq, at, actor, action, target, previous], ensure_ascii=False)
    return hashlib.sha256(entry.encode("utf-8", "surrogatepass")).hexdigest()
