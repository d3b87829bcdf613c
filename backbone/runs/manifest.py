"""The manifest of a run or bundle: which files it has, with their SHA-256 sums. It is read before what it names."""

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from backbone.runs.layout import (
    ADAPTER,
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE,
    CALIBRATION,
    CLASSIFIER,
    CONFIG,
    HEADS,
    JOINT,
    LABELS,
    MANIFEST,
    RUN,
)
from tickets.errors import InputError
from tickets.own_json import read_own

_SUM = re.compile(r"[0-9a-f]{64}")
_EVERY_RUN = (CONFIG, BASE, RUN, "tokenizer.json", f"{ADAPTER}/{ADAPTER_CONFIG}", f"{ADAPTER}/{ADAPTER_WEIGHTS}")
_OF_A_STAGE = {CLASSIFIER: (LABELS, HEADS, CALIBRATION)}
_READ_IF_THERE = (JOINT,)


def read_manifest(folder: Path, unreadable: str | None = None) -> dict[str, Any]:
    """Return the manifest of a finished folder, its `files` a mapping from relative names with `/` to sums.

    Args:
        unreadable: what to say where none can be read; without it, how to finish a training.

    Raises:
        InputError: none that can be read, or a name that leads out of the folder.
    """
    path = folder / MANIFEST
    try:
        record = read_own(path)
        files = record["files"]
        if not isinstance(files, dict) or not all(_SUM.fullmatch(value) for value in files.values()):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            unreadable
            or f"{folder}: not a finished run (no readable {MANIFEST}); expected the folder that training writes when "
            "it is done; run the same training command again"
        ) from None
    outside = next((name for name in files if not _is_inside(folder, name)), None)
    if outside is not None:
        raise InputError(f"{path}: names {outside[:200]!r}, which is no file inside {folder}; train or export again")
    return dict(record)


def require(folder: Path, listed: Iterable[str], stage: str) -> None:
    """Refuse a run whose manifest leaves out a file that the stage needs: nothing would vouch for it.

    Raises:
        InputError: one is left out.
    """
    there = [name for name in _READ_IF_THERE if (folder / name).exists()]
    missing = [name for name in (*_EVERY_RUN, *_OF_A_STAGE.get(stage, ()), *there) if name not in set(listed)]
    if missing:
        raise InputError(
            f"{folder / missing[0]}: missing in {MANIFEST}; expected all files of a {stage} run there; train or export "
            "again"
        )


def unlisted(folder: Path) -> list[str]:
    """Return the names of the files in a folder that its manifest does not know."""
    listed = {*read_manifest(folder)["files"], MANIFEST}
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for name in found if name not in listed)


def _is_inside(folder: Path, name: str) -> bool:
    """Return whether a name is plain, and leads to a place in the folder when links are followed."""
    parts = PurePosixPath(name).parts
    plain = bool(parts) and not name.startswith("/") and not {"..", "."} & set(name.split("/"))
    if not plain or re.search(r"[\\:\x00]", name) or "" in name.split("/"):
        return False
    # the file itself may be a link, as in a cache of the hub; the folders on the way may not lead elsewhere
    return (folder / name).parent.resolve().is_relative_to(folder.resolve())
