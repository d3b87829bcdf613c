"""Reading a published model: its files in the hub's cache, none of them trusted before it was checked."""

import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from backbone.hub.address import HubAddress, is_commit
from backbone.hub.client import SECONDS, hub_client, hub_errors, is_unreachable
from backbone.hub.files import STAGES, limit_of
from backbone.runs.files import disk_guard, write_text
from backbone.runs.folder import verify
from backbone.runs.layout import MANIFEST
from backbone.runs.manifest import read_manifest, unlisted
from tickets.errors import InputError, WorkError

_MOST_FILES = 1_000  # of a repository; a pushed model has about twenty
_NEVER_PUSHED = ("base", MANIFEST, "check.json")  # they would make another kind of model of the folder
_EXPECTED = "expected a model of `duet push`"


def fetch(address: HubAddress) -> Path:
    """Return the folder in the hub's cache that holds a published model, downloaded where it is not there.

    Without a network the copy in the cache answers.

    Raises:
        InputError: no such model, no right to read it, or files that `duet push` does not publish.
        WorkError: the hub or the network failed, and there is no copy.
    """
    with hub_client() as api:
        cached = _cached(address)
        if cached and address.is_commit:  # its files never change
            return _checked(address, cached)
        commit = None
        with hub_errors(str(address)):
            try:
                commit, sizes = _listing(api, address)
            except Exception as error:
                if not cached or not is_unreachable(error):
                    raise
        if commit is not None:
            return _checked(address, _download(address, commit, sizes))
    assert cached is not None
    print(f"{address}: the hub cannot be reached; the copy in {cached} answers", file=sys.stderr)
    return _checked(address, cached)


def _cached(address: HubAddress) -> Path | None:
    """Return the copy in the cache of what was the revision when it was last asked for; None for half of one."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(address.repository, revision=address.revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return folder if _is_whole(folder) else None


def _is_whole(folder: Path) -> bool:
    """Return whether no file is missing, as after an interrupted download."""
    manifests = [folder / stage for stage in STAGES if (folder / stage / MANIFEST).is_file()]
    return bool(manifests) and all(
        (stage / name).is_file() for stage in manifests for name in read_manifest(stage)["files"]
    )


def _listing(api: Any, address: HubAddress) -> tuple[str, dict[str, int]]:
    """Return the commit that the revision is, and the size of every file in bytes, by name.

    Raises:
        InputError: a name that leads out of a folder, or too many.
        Exception: what the library raises.
    """
    commit = api.model_info(address.repository, revision=address.revision, timeout=SECONDS).sha
    if not is_commit(commit):
        raise InputError(f"{address}: the hub says commit {str(commit)[:60]!r}, expected a hash; check HF_ENDPOINT")
    entries = api.list_repo_tree(address.repository, recursive=True, revision=commit)
    listed = list(islice(entries, _MOST_FILES + 1))
    if len(listed) > _MOST_FILES:
        raise InputError(f"{address}: holds over {_MOST_FILES:,} files; {_EXPECTED}, which has about twenty")
    sizes = {entry.path: entry.size for entry in listed if hasattr(entry, "blob_id")}  # folders have none
    outside = next((name for name in sizes if not _is_plain(name)), None)
    if outside is not None:
        raise InputError(
            f"{address}: names a file {outside[:200]!r}, which leads out of its folder; it may be hostile: use another "
            "model"
        )
    return commit, sizes


def _is_plain(name: Any) -> bool:
    return (
        isinstance(name, str)
        and not {"", ".", ".."} & set(name.split("/"))
        and not set(name) & set("\\:\0")
        and name.isprintable()
    )


def _download(address: HubAddress, commit: str, sizes: Mapping[str, int]) -> Path:
    """Download the files that the manifests name, and check them against their sums."""
    stages = [stage for stage in STAGES if f"{stage}/{MANIFEST}" in sizes]
    if not stages:
        raise InputError(f"{address}: found no model in it ({STAGES[0]}/{MANIFEST} is missing); {_EXPECTED}")
    # all manifests before the first of their files: by them `_is_whole` tells what is missing
    manifests = [_download_file(address, commit, f"{stage}/{MANIFEST}", sizes) for stage in stages]
    folder = manifests[0].parents[1]
    names = [f"{stage}/{name}" for stage in stages for name in read_manifest(folder / stage)["files"]]
    for name in names:
        _check_listed(address, name, sizes)
    for name in names:
        _download_file(address, commit, name, sizes)
    for stage in stages:
        try:
            verify(folder / stage)
        except InputError:
            raise InputError(
                f"{address}: a file of {stage}/ differs from its sum in {stage}/{MANIFEST}; delete {folder.parents[1]} "
                "and run the same command again, or ask its publisher to run `duet push` again"
            ) from None
    ignored = sorted(name for name in sizes if name.startswith(tuple(f"{s}/" for s in STAGES)) and not limit_of(name))
    if ignored:
        print(f"{address}: left out {', '.join(ignored[:5])[:300]}: no file of a model", file=sys.stderr)
    _remember(folder, address, commit)
    return folder


def _check_listed(address: HubAddress, name: str, sizes: Mapping[str, int]) -> None:
    """Refuse a file that no published model has, that the repository lacks, or that is too large."""
    limit = limit_of(name)
    if limit is None:
        raise InputError(f"{address}: its manifest names {name[:200]!r}, which no model has; {_EXPECTED}; use another")
    if name not in sizes:
        raise InputError(f"{address}: {name} is missing; {_EXPECTED}; ask its publisher to run it again")
    if not 0 <= sizes[name] <= limit:
        raise InputError(f"{address}: {name} has {sizes[name]:,} bytes, expected at most {limit:,}; use another model")


def _download_file(address: HubAddress, commit: str, name: str, sizes: Mapping[str, int]) -> Path:
    """Return the path of one file in the cache, no larger than the repository says."""
    from huggingface_hub import hf_hub_download

    _check_listed(address, name, sizes)
    with disk_guard(Path.home()), hub_errors(str(address)):
        bar = _bar_class(address, name, sizes[name])
        return Path(hf_hub_download(address.repository, name, revision=commit, tqdm_class=bar))


def _bar_class(address: HubAddress, name: str, size: int) -> "type[tqdm[Any]]":
    """Return a progress bar that stops a download which goes beyond `size` bytes: the library writes until the end."""

    class Bar(tqdm):  # type: ignore[type-arg]  # the base takes none at run time
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "file": sys.stderr, "disable": None, "leave": False})
            self._left = size

        def update(self, n: float | None = 1) -> bool | None:
            self._left -= int(n or 0)
            if self._left < 0:
                raise WorkError(
                    f"{address}: {name} goes on after the {size:,} bytes that the hub says it has; it may be hostile: "
                    "use another model"
                )
            return super().update(n)

    return Bar


def _remember(folder: Path, address: HubAddress, commit: str) -> None:
    """Note in the cache which commit the revision was, as the library does for what it resolves itself."""
    if not address.is_commit:
        note = folder.parents[1] / "refs" / (address.revision or "main")
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, commit)


def _checked(address: HubAddress, folder: Path) -> Path:
    """Refuse a folder that holds what was not pushed: other programs may have put it into the same cache.

    Raises:
        InputError: it does.
    """
    strange = [name for name in _NEVER_PUSHED if (folder / name).exists()]
    for stage in STAGES:
        if (folder / stage).is_dir():
            strange += [f"{stage}/{name}" for name in unlisted(folder / stage)]
    if strange:
        raise InputError(
            f"{address}: found {folder / strange[0]}, which no manifest names; {_EXPECTED}; delete {folder.parents[1]} "
            "and run the same command again"
        )
    return folder
