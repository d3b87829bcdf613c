"""What a model answered, kept as it comes in a SQLite file, so that a run can go on and nothing is paid twice."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backbone.runs.files import refuse_link
from tickets.errors import InputError, WorkError

_TABLE = """CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, text TEXT NOT NULL, problem TEXT NOT NULL, model TEXT NOT NULL, tokens INTEGER NOT NULL,
    day TEXT NOT NULL)"""
_MOST_TOKENS = 10_000_000  # of a question and its answers


@dataclass(frozen=True)
class Kept:
    """One answer.

    Attributes:
        text: as the model wrote it.
        problem: why the answer cannot be used; empty where it can.
        model: the name that the server gave.
        tokens: read and written, a second try included.
        day: on which it was given, since hosted models change.
    """

    text: str
    problem: str
    model: str
    tokens: int
    day: str


class AnswerCache:
    """Answers by key."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            InputError: not a cache, or not to be written.
        """
        self._path = path
        refuse_link(path)  # SQLite would follow one
        try:
            self._file = sqlite3.connect(path, isolation_level=None)  # each answer is on the disk before the next one
            self._file.execute(_TABLE)
            self._file.execute("SELECT key, text, problem, model, tokens, day FROM answers LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise InputError(
                f"{path}: not usable ({error}); expected the answers that duet keeps; move it away to ask anew"
            ) from None

    def get(self, key: str) -> Kept | None:
        """Return what was kept, if anything; what no `put` can have written is not there."""
        with self._guard():
            row = self._file.execute(
                "SELECT text, problem, model, tokens, day FROM answers WHERE key = ?", (key,)
            ).fetchone()
        return Kept(*row) if row and _is_kept(*row) else None

    def put(self, key: str, answer: Kept) -> None:
        values = (key, answer.text, answer.problem, answer.model, answer.tokens, answer.day)
        with self._guard():
            self._file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)", values)

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise WorkError(
                f"{self._path}: cannot be read or written ({error}); is the disk full? The same command goes on from "
                "what is there"
            ) from None


def _is_kept(text: object, problem: object, model: object, tokens: object, day: object) -> bool:
    """Return whether a row holds an answer: SQLite takes any value into any column."""
    is_count = type(tokens) is int and 0 <= tokens <= _MOST_TOKENS
    return is_count and all(isinstance(value, str) for value in (text, problem, model, day))
