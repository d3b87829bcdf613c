"""One process at a time on a folder, held until that process ends, however it ends."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from backbone.runs.files import open_own, part_of, write_text
from tickets.errors import InputError
from tickets.sources import resolved

if TYPE_CHECKING:
    from filelock import BaseFileLock

_held: "dict[Path, BaseFileLock]" = {}  # locks of this process, by the path of their files


def hold(folder: Path) -> None:
    """Keep other processes from writing `folder` until it is released or this process ends.

    Raises:
        InputError: another process holds it.
        OSError: the lock's file cannot be written.
    """
    from filelock import Timeout  # who reads a model needs none

    path = _lock_path(folder)
    if path in _held:
        return
    lock = file_lock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = _owner_path(path)
        process = f"process {holder.read_text(encoding='utf-8').strip()}" if holder.is_file() else "another one"
        raise InputError(
            f"{folder}: {process} is writing it; wait for it to end, stop it, or choose another output"
        ) from None
    write_text(_owner_path(path), f"{os.getpid()}\n")
    _held[path] = lock


def file_lock(path: Path) -> "BaseFileLock":
    """Return a lock at a name that is ours.

    Raises:
        InputError: a link is there: the library would follow it, and empty what it leads to.
        OSError: the file cannot be written, which the library would take for a lock that is held.
    """
    from filelock import FileLock

    open_own(path, "a").close()
    return FileLock(path, thread_local=False)


def release(folder: Path) -> None:
    """Let other processes write `folder` again."""
    path = _lock_path(folder)
    lock = _held.pop(path, None)
    if lock:
        _owner_path(path).unlink(missing_ok=True)
        path.unlink(missing_ok=True)  # while it is held, so that no other process has just taken it
        lock.release()


def lock_files(folder: Path) -> list[Path]:
    """Return the files by which `hold` keeps other processes from a folder."""
    lock = _lock_path(folder)
    owner = _owner_path(lock)
    return [lock, owner, part_of(owner)]


def _lock_path(folder: Path) -> Path:
    return resolved(folder.parent) / f"{folder.name}.lock"


def _owner_path(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}.pid")
