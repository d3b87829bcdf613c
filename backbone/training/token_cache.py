"""Encoded tickets, kept beside the data they came from: the same texts and tokenizer are encoded once."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from backbone.runs.files import write_text
from backbone.training import processes
from tickets.preparation.prepared_folder import TOKENS

_MOST_FILES = 16  # a run uses two a stage
_FORMAT = 1


class TokenCache:
    """JSON files named by what was encoded; in the data folder, where the tickets are, and nowhere else."""

    def __init__(self, data: Path | None) -> None:
        """Keep files under `data`; without it, or where it cannot be written, nothing is kept."""
        self._folder = data / TOKENS if data is not None else None

    def rows(self, key: Sequence[Any], make: Callable[[], Sequence[Any]]) -> list[Any]:
        """Return what `make` returns, or the same as JSON has it from a file that holds it: tuples become lists.

        Args:
            key: everything the rows depend on, as JSON values: fingerprint of the encoder, limits, all texts.
        """
        if self._folder is None:
            return list(make())
        name = hashlib.sha256(json.dumps([_FORMAT, *key], ensure_ascii=False).encode()).hexdigest()
        path = self._folder / f"{name}.json"
        cached = _read(path)
        if cached is not None:
            return cached
        rows = list(make())
        if processes.is_first():
            self._keep(path, rows)
        return rows

    def _keep(self, path: Path, rows: list[Any]) -> None:
        text = json.dumps(rows)
        try:
            path.parent.mkdir(exist_ok=True)
            write_text(path, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
            old = sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)[:-_MOST_FILES]
            for file in old:
                file.unlink()
        except OSError:
            return  # a full disk or a folder of somebody else's: it is encoded again next time


def _read(path: Path) -> list[Any] | None:
    """Return the rows of a file; None where it is missing or not what was written."""
    try:
        digest, _, text = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        return None
    if hashlib.sha256(text.encode()).hexdigest() != digest:
        return None
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return rows if isinstance(rows, list) else None
