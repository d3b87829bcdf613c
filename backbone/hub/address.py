"""The address of a model on a hub: `hf://OWNER/NAME`, or `hf://OWNER/NAME@REVISION` for a branch, tag or commit."""

import re
from dataclasses import dataclass
from pathlib import Path

from backbone.remote.addresses import is_store, store_address
from tickets.errors import InputError
from tickets.sources import source_path

SCHEME = "hf://"
_PREFIX = "hf:"  # the first part of such a path: Path makes one slash of two
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?", re.ASCII)
_REVISION = re.compile(r"(?!.*(\.\.|//))\w(?:[\w./-]*\w)?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST_NAME, _LONGEST_REVISION = 96, 200  # characters; the first is the limit of the hub


@dataclass(frozen=True)
class HubAddress:
    """A repository of a hub, and which state of it.

    Attributes:
        revision: branch, tag or commit; None for the main branch.
    """

    owner: str
    name: str
    revision: str | None = None

    @property
    def repository(self) -> str:
        """OWNER/NAME, as the hub writes it."""
        return f"{self.owner}/{self.name}"

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a whole commit hash, whose files never change."""
        return is_commit(self.revision)

    def __str__(self) -> str:
        return f"{SCHEME}{self.repository}" + (f"@{self.revision}" if self.revision else "")

    @classmethod
    def parse(cls, text: str) -> "HubAddress":
        """Return the address in a text.

        Raises:
            InputError: none.
        """
        repository, at, revision = text.removeprefix(SCHEME).partition("@")
        owner, slash, name = repository.partition("/")
        is_name = slash and len(repository) <= _LONGEST_NAME and _NAME.fullmatch(owner) and _NAME.fullmatch(name)
        is_revision = not at or (len(revision) <= _LONGEST_REVISION and _REVISION.fullmatch(revision))
        if not text.startswith(SCHEME) or not is_name or not is_revision:
            raise InputError(
                f"{text[:200]}: no address of a model on a hub; expected {SCHEME}OWNER/NAME or "
                f"{SCHEME}OWNER/NAME@REVISION, such as {SCHEME}acme/support-model"
            )
        return cls(owner, name, revision or None)

    @classmethod
    def of_path(cls, path: Path) -> "HubAddress | None":
        """Return the address that `model_path` put into a path; None for a folder."""
        first, *others = path.parts or ("",)
        return cls.parse(SCHEME + "/".join(others)) if first == _PREFIX else None


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a whole commit hash."""
    return bool(revision and COMMIT.fullmatch(revision))


def model_path(text: str | Path) -> Path:
    """Return the path of a folder, or one that holds an address of a hub or an object store.

    `HubAddress.of_path` and `Place.of_path` tell them apart.

    Raises:
        InputError: neither a path nor an address.
    """
    if str(text).startswith(SCHEME):
        return Path(str(HubAddress.parse(str(text))))
    if is_store(str(text)):
        return Path(str(text))
    path = source_path(text)
    is_ambiguous = path.parts[:1] == (_PREFIX,) or store_address(path)
    return path.absolute() if is_ambiguous else path  # a folder of that name is still a folder
