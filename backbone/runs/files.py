"""Writing files so that a reader finds the old content or the new, never half."""

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tickets.errors import InputError, WorkError
from tickets.own_json import read_own
from tickets.plain_reason import kind_of, plain_reason
from tickets.terminal import escape_controls

PART = ".part"


@contextmanager
def disk_guard(folder: Path) -> Iterator[None]:
    """Turn a full disk into one line; libraries report it in several ways."""
    try:
        yield
    except Exception as error:
        if not _is_full_disk(error):
            raise
        raise WorkError(
            f"{folder}: the disk is full, or no file may be so large; expected room for what is written there; free "
            "some space and run the same command again: it goes on from what is complete"
        ) from None


@contextmanager
def writable(path: Path, option: str) -> Iterator[None]:
    """Turn a place that cannot be written into one line; `option` is what names another. A full disk passes through."""
    try:
        yield
    except OSError as error:
        if _is_full_disk(error):
            raise
        raise InputError(f"{path}: cannot be written ({error.strerror}); choose another {option}") from None


def _is_full_disk(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    if isinstance(error, OSError) and error.errno is None and "requested and" in str(error):
        return True  # numpy's tofile
    # safetensors says so in words; torch's archive writer only that it failed (seen on a full tmpfs: "enforce fail at
    # inline_container.cc ... unexpected pos"), and writing to a path is all it does
    return any(sign in str(error) for sign in ("No space left", "inline_container", "PytorchStreamWriter"))


def refuse_link(path: Path) -> None:
    """Refuse a symbolic link at a name that is ours: what it leads to is not.

    Raises:
        InputError: one is there.
    """
    if path.is_symlink():
        raise InputError(f"{path}: found a symbolic link where duet writes; remove it, or choose another output")


def refuse_links(folder: Path) -> None:
    """Refuse symbolic links at and in an unfinished folder that is ours: libraries write there, and follow them.

    Raises:
        InputError: one is there.
    """
    refuse_link(folder)
    for path in folder.rglob("*"):
        refuse_link(path)


def open_own(path: Path, mode: str, permissions: int = 0o666, **options: Any) -> IO[Any]:
    """Open a file at a name that is ours; a link there is refused, not followed.

    Args:
        permissions: of a file that is made, as far as the process's mask allows.

    Raises:
        InputError: a link is there.
    """
    refuse_link(path)  # where the system cannot be told, and for the line

    def open_here(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), permissions)

    return open(path, mode, opener=open_here, **options)  # Path.open takes no opener


def open_new(path: Path, mode: str, permissions: int = 0o666, **options: Any) -> IO[Any]:
    """Open a new file (mode `x`) at a temporary name that is ours; what a write that was cut off left there goes."""
    path.unlink(missing_ok=True)  # a link goes too, and what it leads to stays
    return open_own(path, mode, permissions, **options)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write indented JSON; a reader finds the old content or the new, never half."""
    write_text(path, escape_controls(json.dumps(record, ensure_ascii=False, indent=2)) + "\n")


def write_text(path: Path, text: str, newline: str | None = None) -> None:
    """Write a file; a reader finds the old content or the new, never half."""
    part = part_of(path)
    with open_new(part, "x", encoding="utf-8", newline=newline) as file:
        file.write(text)
    flush(part)
    part.replace(path)


def part_of(path: Path) -> Path:
    """Return where a file is written until it is whole."""
    return path.with_name(f"{path.name}{PART}")


def read_json(path: Path, expected: str = "a file of a finished run; train again") -> dict[str, Any]:
    """Read a JSON object; `expected` says what it should be and how to correct it.

    Raises:
        InputError: missing or damaged.
    """
    try:
        record = read_own(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable ({plain_reason(error)}); expected {expected}") from None
    if not isinstance(record, dict):
        raise InputError(f"{path}: found {kind_of(record)}, not an object; expected {expected}")
    return record


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Make sure that a file, or what was created or renamed in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
