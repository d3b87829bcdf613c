"""Run folders: written to a sibling and renamed into place, with a manifest of SHA-256 sums."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from backbone.runs.files import (
    PART,
    disk_guard,
    flush,
    read_json,
    refuse_link,
    refuse_links,
    sha256,
    writable,
    write_json,
)
from backbone.runs.layout import CHECKPOINTS, MANIFEST, PARTIAL, PLAN
from backbone.runs.locks import hold, lock_files, release
from backbone.runs.manifest import read_manifest
from tickets.errors import InputError

_PACKAGES = (
    "ticket-duet",
    "torch",
    "transformers",
    "peft",
    "accelerate",
    "bitsandbytes",
    "tokenizers",
    "gguf",
    "llama-cpp-python",
    "onnxruntime",
)


def partial_folder(folder: Path) -> Path:
    """Return where an unfinished folder is written."""
    return folder.with_name(folder.name + PARTIAL)


def paths_written_for(folder: Path) -> list[Path]:
    """Return every path that is written, replaced or removed where `folder` is written, itself included."""
    return [folder, partial_folder(folder), _replaced(folder), *lock_files(folder)]


def _replaced(folder: Path) -> Path:
    return folder.with_name(folder.name + ".replaced")


def check_replaceable(folder: Path, option: str = "--set output=...") -> None:
    """Refuse to write a run where something else is, or nothing can be: what is there would be lost.

    Args:
        option: what names another folder.

    Raises:
        InputError: a file or a folder that is no finished run of ours, or a place that cannot be written.
    """
    with writable(folder, option):
        for path in (folder, _replaced(folder)):
            is_ours = path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))
            is_there = path.exists() or (path == folder and path.is_symlink())  # a link that leads nowhere
            if is_there and not is_ours:
                raise InputError(
                    f"{path}: found something that is no finished run, and would be lost; choose another {option}"
                )
        _check_unfinished(folder, option)
        above = next(place for place in folder.absolute().parents if place.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            raise InputError(f"{folder}: cannot be written, {above} is no writable folder; choose another {option}")


def _check_unfinished(folder: Path, option: str) -> None:
    """Refuse an unfinished sibling that training did not begin: what is in it would become part of the run."""
    partial = partial_folder(folder)
    if not partial.is_dir() or partial.is_symlink():
        return
    names = sorted(path.name for path in partial.iterdir())
    # a kill at the first write leaves the plan's own unfinished file
    if names and not any(name.startswith(PLAN) or name == CHECKPOINTS for name in names):
        raise InputError(
            f"{partial}: holds {names[0]!r} and no {PLAN}, expected an unfinished run; move it away, or choose "
            f"another {option}"
        )


def open_partial(folder: Path, plan: Mapping[str, Any], restart: bool = False) -> Path:
    """Return the unfinished sibling of `folder`, new or to be continued; `plan` (plain JSON values) is what it will do.

    Raises:
        InputError: not to be written, an unfinished run of another plan is there, or another process is at it.
    """
    partial = partial_folder(folder)
    _check_unfinished(folder, "--set output=...")
    if restart:  # what is in it is dropped
        refuse_link(partial)
    else:
        refuse_links(partial)
    with disk_guard(partial):
        with writable(folder, "--set output=..."):
            partial.mkdir(parents=True, exist_ok=True)
            hold(folder)
        if restart:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
    # without a checkpoint nothing would be lost: a run that failed its first checks may be corrected
    if any((partial / CHECKPOINTS).glob(f"checkpoint-*/{MANIFEST}")):
        differing = _differences(_earlier_plan(partial), plan)
        if differing:
            release(folder)
            raise InputError(
                f"{partial}: an unfinished run with other {', '.join(differing[:5])}; go on with its settings "
                f"({partial / PLAN}), choose another output, or start over with --restart"
            )
        print(f"found an unfinished run in {partial}", file=sys.stderr)
    elif (folder / MANIFEST).is_file():
        print(f"{folder} is a finished run; it stays until this one is done and replaces it", file=sys.stderr)
    with disk_guard(partial):
        write_json(partial / PLAN, plan)
    return partial


def _earlier_plan(partial: Path) -> dict[str, Any]:
    """Return what the unfinished run there was begun with; every checkpoint holds a copy.

    Raises:
        InputError: none is readable.
    """
    for path in (partial / PLAN, *sorted((partial / CHECKPOINTS).glob(f"checkpoint-*/{PLAN}"), reverse=True)):
        with suppress(InputError):
            return read_json(path)
    release(partial.with_name(partial.name.removesuffix(PARTIAL)))
    raise InputError(
        f"{partial}: no readable {PLAN}, so whether the unfinished run there is the one that is asked for cannot be "
        "told; start over with --restart, or choose another output"
    )


def publish(partial: Path, folder: Path, **facts: Any) -> None:
    """Add the manifest, with `facts` in it, and rename `partial` to `folder`; a reader sees the old one or the new one.

    Checkpoints and plan stay until then: a failure on the way loses nothing.
    """
    with disk_guard(partial):
        for leftover in partial.rglob(f"*{PART}"):  # of a write that was cut off
            leftover.unlink()
        sums = {name: sha256(partial / name) for name in _files(partial)}
        write_json(partial / MANIFEST, {**facts, "files": sums})
        for name in [*sums, MANIFEST]:
            flush(partial / name)
    replaced = _replaced(folder)
    if replaced.is_symlink():
        replaced.unlink()
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    partial.rename(folder)
    flush(folder.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
    (folder / PLAN).unlink(missing_ok=True)
    release(folder)


def verify(folder: Path, names: Iterable[str] | None = None) -> None:
    """Compare a folder with its manifest: the files named, or all of them.

    Raises:
        InputError: the manifest or a file is missing, a name leads out of the folder, or a file's content changed.
    """
    sums = read_manifest(folder)["files"]
    for name in sums if names is None else names:
        path = folder / name
        if not path.is_file() or name not in sums:
            raise InputError(f"{path}: missing, here or in {MANIFEST}; restore it, or train or export again")
        if sha256(path) != sums[name]:
            raise InputError(f"{path}: damaged (SHA-256 differs from {MANIFEST}); restore it, or train or export again")


def relist(folder: Path, below: str, names: Iterable[str], change: Callable[[dict[str, Any]], None]) -> None:
    """Let the manifest of a finished folder name these files below a subfolder, and no others there, in one step.

    Args:
        names: relative to the subfolder; those that are listed already keep their sums.
        change: what else changes in the manifest.
    """
    record = read_manifest(folder)
    old = record["files"]
    listed = [f"{below}/{name}" for name in names]
    for name in listed:
        if name not in old:
            flush(folder / name)
    record["files"] = {name: value for name, value in old.items() if not name.startswith(f"{below}/")} | {
        name: old.get(name) or sha256(folder / name) for name in listed
    }
    change(record)
    write_json(folder / MANIFEST, record)


def run_record(**facts: Any) -> dict[str, Any]:
    """Return what a run says of itself besides its configuration: package versions, platform and the given facts."""
    system = {"python": platform.python_version(), "platform": platform.platform()}
    return {**facts, "versions": package_versions(), **system}


def package_versions() -> dict[str, str]:
    """Return the versions of what decides a result, of those that are installed."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys whose values differ."""
    differing = []
    for key in sorted(set(old) | set(new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            differing += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            differing.append(f"{prefix}{key}".removeprefix("config."))
    return differing


def _files(folder: Path) -> list[str]:
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(str(path) for path in paths if path.parts[0] not in (MANIFEST, CHECKPOINTS, PLAN))
