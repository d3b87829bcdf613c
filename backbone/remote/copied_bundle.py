"""A bundle on an object store: copied once to every machine that answers with it, and checked by its sums."""

import hashlib
import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from backbone.packaged_base import cache_folder, making
from backbone.remote.places import Place
from backbone.runs.files import disk_guard
from backbone.runs.folder import verify
from backbone.runs.layout import MANIFEST
from backbone.runs.manifest import read_manifest
from tickets.errors import InputError

_LARGEST_MANIFEST = 1 << 26  # bytes


def copied_bundle(place: Place) -> Path:
    """Return the folder in the user's cache that holds a bundle, copied where it is not there yet.

    Other processes of this machine wait for the copy. A bundle that changes on the store is another one.

    Raises:
        InputError: no bundle there, a file that is missing or differs from its sum, or a cache that cannot be written.
        WorkError: the store failed, or the disk is full.
    """
    manifest = (place / MANIFEST).read(_LARGEST_MANIFEST)
    if manifest is None:
        raise InputError(
            f"{place.address}: found no bundle there ({MANIFEST} is missing); expected a folder that `duet export` "
            "wrote and that was copied with all its files"
        )
    folder = cache_folder() / "bundles" / hashlib.sha256(manifest).hexdigest()[:16]
    if folder.is_dir():
        return folder
    with making(folder):
        if not folder.is_dir():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            with disk_guard(folder):
                partial.mkdir(parents=True)
                (partial / MANIFEST).write_bytes(manifest)
                _copy_files(place, partial)
                partial.rename(folder)
    return folder


def _copy_files(place: Place, folder: Path) -> None:
    """Copy the files that the manifest in `folder` names, and check them."""
    names = read_manifest(folder, f"{(place / MANIFEST).address}: not the manifest of a bundle; export again")["files"]
    sizes = place.files(recursive=True)
    missing = [name for name in names if name not in sizes]
    if missing:
        raise InputError(f"{place.address}: {missing[0]} is missing; copy the bundle there with all its files")
    total = sum(sizes[name] for name in names)
    bar = tqdm(
        total=total, unit="B", unit_scale=True, desc=f"copying {place.name}", file=sys.stderr, disable=None, leave=False
    )
    with bar:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).copy_to(folder / name)
            bar.update(sizes[name])
    try:
        verify(folder)
    except InputError as error:
        raise InputError(f"{place.address}: {error}".replace(f"{folder}/", "")) from None
