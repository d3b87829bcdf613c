"""Which file, folder or dataset a source is: its path, whether it is the output too, and whether it has changed."""

import difflib
import hashlib
import stat
from pathlib import Path

from tickets.errors import InputError


def source_path(source: str) -> Path:
    """The path of a source; `~` is the home folder."""
    try:
        return Path(source).expanduser()
    except RuntimeError:
        raise InputError(f"{source}: there is no home folder of that name; give the whole path") from None


def same_file(source: str, path: Path) -> bool:
    """Whether a source and a path are one file, however they are spelt: links, `~`, `..`."""
    first, second = source_path(source), path.expanduser()
    try:
        return first.samefile(second)
    except OSError:
        return first.resolve() == second.resolve()


def holds(source: str, path: Path) -> bool:
    """Whether a path is a source, or lies in the folder that is one."""
    folder = source_path(source)
    inside = folder.is_dir() and path.expanduser().resolve().is_relative_to(folder.resolve())
    return inside or same_file(source, path)


def check_regular(path: Path) -> None:
    """Refuse a pipe or a device: it can be read once at most, and opening a pipe waits until somebody writes.

    Raises:
        InputError: not a regular file, nor a folder.
        OSError: not there.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
        raise InputError(
            f"{path}: found {kind}, not a regular file; expected a file that can be read more than once; write it to a "
            "file first, such as COMMAND > FILE"
        )


def source_fingerprint(source: str) -> str | None:
    """SHA-256 of the content of a file or folder, or of what a dataset says of its version; None where it says nothing.

    A file and a folder have the same fingerprint under every spelling of their path.
    """
    path = source_path(source)
    if path.is_file():
        return _file_digest(path)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        lines = (f"{file.relative_to(path).as_posix()}\0{_file_digest(file)}\n" for file in files)
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return _dataset_fingerprint(source)


def nearest_file(path: Path) -> str:
    """The end of an error about a missing file: the name that is most like it."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return f"; there is no folder {path.parent} either"
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dataset_fingerprint(source: str) -> str | None:
    """Of the addresses of a dataset's files, which hold the commit, and the number of rows of every split."""
    import datasets

    try:
        loaded = datasets.load_dataset(source)
        parts = loaded if isinstance(loaded, dict) else {"": loaded}
        facts = [(name, len(part), sorted(part.info.download_checksums or ())) for name, part in parts.items()]
    except Exception:  # datasets raises whatever its storage back ends raise; reading it reports the failure
        return None
    return hashlib.sha256(repr(facts).encode()).hexdigest()
