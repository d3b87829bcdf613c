"""Which file, folder or dataset a source is: its path, whether it is the output too, and whether it has changed."""

import difflib
import hashlib
import os
import stat
from collections.abc import Iterable
from itertools import product
from pathlib import Path

from tickets.errors import InputError
from tickets.terminal import whole_characters

_LONGEST_NAME = 255  # bytes, of every usual file system
_LONGEST_ENDING = 20  # bytes of what is added to the name of an output


def source_path(source: str | Path) -> Path:
    """Return the path that a name stands for; `~` is the home folder.

    Raises:
        InputError: no path, or the home folder of nobody.
    """
    try:
        name = os.fsencode(source)
    except UnicodeEncodeError:
        name = b"\0"
    if b"\0" in name or max(map(len, name.split(b"/"))) > _LONGEST_NAME:
        raise InputError(
            f"{str(source)[:200]!r}: no path, because of a NUL, half a character or a name of over {_LONGEST_NAME} "
            "bytes; correct it"
        )
    try:
        return Path(source).expanduser()
    except RuntimeError:
        raise InputError(f"{source}: there is no home folder of that name; give the whole path") from None


def check_unicode(path: str | Path, mend: str) -> None:
    """Refuse a path whose bytes are no UTF-8: libraries cannot open it, and no address can hold it.

    Args:
        mend: what to do about it.

    Raises:
        InputError: it is not.
    """
    if str(path) != whole_characters(str(path)):
        raise InputError(f"{path}: holds bytes that are no UTF-8, which libraries cannot open; {mend}")


def output_path(path: str | Path, option: str) -> Path:
    """Return the path of an output, whose name is needed: it is written beside its place under a longer one.

    Args:
        option: what names another output.

    Raises:
        InputError: no path, or one whose name is too long or missing, as in `.` and `/`.
    """
    found = source_path(path)
    if found.name in ("", ".."):
        raise InputError(
            f"{found}: a folder without a name of its own; choose another {option}, such as {found / 'out'}"
        )
    if len(os.fsencode(found.name)) > _LONGEST_NAME - _LONGEST_ENDING:
        raise InputError(f"{found}: a name of over {_LONGEST_NAME - _LONGEST_ENDING} bytes; choose a shorter {option}")
    return found


def same_file(source: str | Path, path: Path) -> bool:
    """Return whether a source and a path are one file, however they are spelt: links, `~`, `..`."""
    first, second = source_path(source), source_path(path)
    try:
        return first.samefile(second)
    except OSError:
        return resolved(first) == resolved(second)


def holds(source: str | Path, path: Path) -> bool:
    """Return whether a path is a source, or lies in the folder that is one."""
    place = resolved(source_path(path))
    return any(same_file(source, one) for one in (source_path(path), place, *place.parents))


def resolved(path: Path) -> Path:
    """Return the absolute path behind links; links in a circle lead nowhere."""
    try:
        return path.resolve()
    except RuntimeError:  # links in a circle
        return path.absolute()


def refuse_overlap(sources: Iterable[str | Path], outputs: Iterable[Path], option: str) -> None:
    """Refuse to write what is read: no source and output may be, hold or lie in one another.

    Args:
        sources: one that is not there is left out, because to miss it is another error.
        outputs: every path that may be written, temporary ones too.
        option: what names another output.

    Raises:
        InputError: one of them would be written over.
    """
    there = [source for source in sources if source_path(source).exists()]
    for output, source in product(outputs, there):
        inside, around = holds(source, output), holds(output, source_path(source))
        if inside or around:
            relation = "is" if inside and around else "lies in" if inside else "holds"
            raise InputError(
                f"{output}: {relation} what is read ({source}), expected a place apart; choose another {option}"
            )


def check_regular(path: Path, example: str = "tickets.csv") -> None:
    """Refuse a pipe or a device, because a source is read more than once, and some devices never end.

    Args:
        example: name of a file that could be given instead.

    Raises:
        InputError: not a regular file, nor a folder.
        OSError: not there.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a device or socket"
        raise InputError(
            f"{path}: found {kind}, not a regular file; expected a file that can be read more than once; write it to a "
            f"file first, such as COMMAND > {example}"
        )


def source_fingerprint(source: str) -> str | None:
    """Return the SHA-256 of a file's or folder's content, or of a dataset's version; None where it names none.

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
    """Return the end of an error about a missing file: the name that is most like it."""
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
    """Return the SHA-256 of a dataset's file addresses, which hold the commit, and of its numbers of rows."""
    import datasets

    try:
        loaded = datasets.load_dataset(source)
        parts = loaded if isinstance(loaded, dict) else {"": loaded}
        facts = [(name, len(part), sorted(part.info.download_checksums or ())) for name, part in parts.items()]
    except Exception:  # datasets raises whatever its storage back ends raise; reading it reports the failure
        return None
    return hashlib.sha256(repr(facts).encode()).hexdigest()
