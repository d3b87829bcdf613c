"""What was found out about files of a known content, in the user's cache: it is not found out twice."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from backbone.packaged_base import cache_folder
from backbone.runs.files import write_text
from tickets.errors import InputError


def recall(kind: str, name: str) -> Any:
    """Return what was kept under a name, which has to tell the content and what was looked at; None without it."""
    with suppress(OSError, ValueError, RecursionError):
        return json.loads(_path(kind, name).read_text(encoding="utf-8"))
    return None


def keep(kind: str, name: str, record: Any) -> None:
    """Keep JSON values under a name; a cache that cannot be written costs time alone."""
    path = _path(kind, name)
    with suppress(OSError, InputError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(record))


def _path(kind: str, name: str) -> Path:
    return cache_folder() / kind / f"{name}.json"
