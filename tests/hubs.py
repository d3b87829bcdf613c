"""A run to publish, and this process connected to a local hub."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backbone.hub.address import HubAddress
from backbone.runs.layout import CLASSIFIER, GENERATOR
from backbone.shipped import mini_folder
from tests.local_hub import TOKEN, LocalHub

NAME = "acme/support"
ADDRESS = HubAddress.parse(f"hf://{NAME}")


def copy_run(folder: Path) -> Path:
    """A run of a team: the mini model's, under another name."""
    for stage in (CLASSIFIER, GENERATOR):
        shutil.copytree(mini_folder() / stage, folder / stage)
    return folder


@contextmanager
def connected(hub: LocalHub, cache: Path, token: str | None = TOKEN) -> Iterator[None]:
    """Let huggingface_hub in this process use that hub, a cache of its own and a token, until the block ends."""
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.address)
        patch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        )
        patch.setattr(constants, "HF_HUB_OFFLINE", False)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no-token"))
        patch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)  # between attempts
        patch.delenv("HF_TOKEN", raising=False)
        if token:
            patch.setenv("HF_TOKEN", token)
        yield
