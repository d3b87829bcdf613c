"""The folder of prepared data: written beside its place and moved there when it is whole."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tickets.errors import InputError, WorkError
from tickets.schema import PARTS
from tickets.sources import holds, output_path, source_path

QUARANTINE = "quarantine.jsonl"
AUGMENTATION = "augment.json"  # how `duet augment` came to its synthetic tickets
TOKENS = ".tokens"  # where trainings keep what they encoded
FILES = frozenset({*(f"{part}.jsonl" for part in PARTS), QUARANTINE, "report.json", "report.txt", AUGMENTATION})
_UNWRITABLE = (  # another place is asked for
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
)


@contextmanager
def new_folder(source: str, out: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `out` that takes its place when the block ends well.

    Otherwise it vanishes, but for the rows set aside, which stay in the file that `kept_quarantine` names.

    Raises:
        InputError: `out` is or holds the source, is no prepared data, or cannot be written.
        WorkError: the disk is full.
    """
    out = output_path(out, "--out")  # `~` in it too
    partial, old = out.with_name(out.name + ".partial"), out.with_name(out.name + ".old")
    check_out(source, out)
    try:
        for stale in (partial, old):
            _check_stale(stale)
            shutil.rmtree(stale, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if out.exists():
            out.rename(old)
        partial.rename(out)
        shutil.rmtree(old, ignore_errors=True)
        kept_quarantine(out).unlink(missing_ok=True)  # of an earlier run that failed
    except OSError as error:
        kind = InputError if error.errno in _UNWRITABLE else WorkError
        raise kind(
            f"{error.filename or out}: cannot be written ({error.strerror or error}); expected room and permission for "
            "the prepared files; free some space or give another --out"
        ) from None
    finally:
        if old.exists() and not out.exists():
            old.rename(out)
        _keep_quarantine(partial, out)
        shutil.rmtree(partial, ignore_errors=True)


def check_out(source: str, out: Path) -> None:
    """Refuse to write prepared data where the source or anything else is.

    Raises:
        InputError: `out` is or holds the source, or is no prepared data.
    """
    path = source_path(source)
    if path.is_dir() and holds(path, out):
        raise InputError(f"{out}: is or lies in the source {source}; give another --out")
    if out.exists() and path.exists() and holds(out, path):
        raise InputError(f"{out}: holds the source {source}, which would be lost; give another --out")
    for ours in (out.with_name(out.name + ".partial"), out.with_name(out.name + ".old"), kept_quarantine(out)):
        if holds(ours, path):
            raise InputError(f"{source}: is or lies in {ours}, which preparing {out} replaces; give another --out")
    if (out.exists() or out.is_symlink()) and not out.is_dir():
        raise InputError(f"{out}: found a file, expected a folder to write to; give another --out")
    inside = {file.name for file in out.iterdir()} if out.is_dir() else set()
    strange = sorted(inside - FILES - {TOKENS})
    if strange or (inside and not inside & {"report.json", AUGMENTATION}):
        with_what = f" ({strange[0]} is not of it)" if strange else ""
        raise InputError(f"{out}: found a folder that is no prepared data{with_what} and not empty; give another --out")


def _check_stale(folder: Path) -> None:
    strange = [file.name for file in folder.iterdir() if file.name not in FILES] if folder.is_dir() else []
    if strange or folder.is_file():
        raise InputError(f"{folder}: is in the way and not ours; remove it or give another --out")


def kept_quarantine(out: Path) -> Path:
    """Return where the rows set aside stay when `out` could not be prepared."""
    return out.with_name(f"{out.name}.quarantine.jsonl")


def _keep_quarantine(partial: Path, out: Path) -> None:
    rows = partial / QUARANTINE
    with suppress(OSError):
        if rows.stat().st_size:
            rows.replace(kept_quarantine(out))
