"""Access tokens: shown once, kept as SHA-256. A token has the rights of its role and of the ones below."""

import hashlib
import secrets
import time
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from store import audit
from store.database import Database
from store.ids import new_id
from store.tables import ROLES, tokens
from tickets.errors import InputError

_PREFIX = "duet_"
_SEEN_SECONDS = 60.0  # the time of last use is written at most so often


@dataclass(frozen=True)
class Identity:
    """Whose token it is, and its role."""

    name: str
    role: str

    def may(self, role: str) -> bool:
        """Return whether the rights of `role` are among its own."""
        return ROLES.index(self.role) >= ROLES.index(role)


def add_token(database: Database, name: str, role: str, days: float | None = None, actor: str = "operator") -> str:
    """Make a token and return it; it cannot be shown again.

    Raises:
        InputError: an unknown role, an empty or a taken name.
    """
    if role not in ROLES:
        raise InputError(f"--role {role}: expected one of {', '.join(ROLES)}")
    if not name.strip() or len(name) > 100 or not name.isprintable():
        raise InputError(f"token name {name!r}: expected 1 to 100 printable characters")
    token = _PREFIX + secrets.token_urlsafe(32)
    now = time.time()
    with database.write() as connection:
        if connection.execute(select(tokens.c.id).where(tokens.c.name == name)).first():
            raise InputError(f"a token named {name!r} exists; choose another name, or `duet serve token remove {name}`")
        expires = now + days * 86_400 if days is not None else None
        row = {"id": new_id(), "name": name, "sha256": _sha(token), "role": role}
        connection.execute(insert(tokens).values(**row, created_at=now, expires_at=expires))
        audit.record(connection, actor, f"token add {role}", name)
    return token


def remove_token(database: Database, name: str, actor: str = "operator") -> None:
    """Remove a token; it is refused from now on.

    Raises:
        InputError: none of that name.
    """
    known = name.isprintable()  # others have no token, and bytes that are no text cannot be asked for
    with database.write() as connection:
        if not known or connection.execute(delete(tokens).where(tokens.c.name == name)).rowcount == 0:
            raise InputError(f"no token is named {name!r}; `duet serve token list` shows them")
        audit.record(connection, actor, "token remove", name)


def list_tokens(connection: Connection) -> list[dict[str, object]]:
    """Return name, role and times of every token, without anything that opens a door."""
    shown = select(tokens.c.name, tokens.c.role, tokens.c.created_at, tokens.c.expires_at, tokens.c.last_used_at)
    return [dict(row._mapping) for row in connection.execute(shown.order_by(tokens.c.name))]


def count_tokens(connection: Connection) -> int:
    """Return how many tokens there are."""
    return int(connection.execute(select(func.count()).select_from(tokens)).scalar_one())


def find_token(database: Database, token: str) -> Identity | None:
    """Return whose token it is; None where it is unknown or has expired.

    It is found by its hash, which says nothing of a near miss.
    """
    now = time.time()
    with database.read() as connection:
        row = connection.execute(select(tokens).where(tokens.c.sha256 == _sha(token))).first()
    if row is None or (row.expires_at is not None and row.expires_at < now):
        return None
    if row.last_used_at is None or now - row.last_used_at > _SEEN_SECONDS:
        with database.write() as connection:
            connection.execute(update(tokens).where(tokens.c.id == row.id).values(last_used_at=now))
    return Identity(row.name, row.role)


def _sha(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
