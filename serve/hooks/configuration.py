"""The file of `duet serve --helpdesks`: which helpdesks there are. Secrets stand in environment variables."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from backbone.config_file import read_yaml
from engines.addresses import is_address
from serve.hooks.generic import Generic
from serve.hooks.helpdesk import Helpdesk, Settings
from serve.hooks.zammad import Zammad
from serve.hooks.zendesk import Zendesk
from serve.schemas import Strict
from tickets.errors import InputError

KINDS: Mapping[str, type[Helpdesk]] = {"zammad": Zammad, "zendesk": Zendesk, "generic": Generic}
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Entry(Strict):
    kind: Literal["zammad", "zendesk", "generic"]
    url: (
        Annotated[str, StringConstraints(pattern=r"^(https://[^\s@]+|http://(localhost|127\.0\.0\.1|\[::1\])[^\s@]*)$")]
        | None
    ) = None
    secret_variable: _Text
    token_variable: _Text | None = None
    user: str = ""
    fields: dict[str, _Text] = Field(default_factory=dict)
    values: dict[str, dict[str, _Text]] = Field(default_factory=dict)
    draft: bool = True
    doubtful: bool = False


class _File(Strict):
    helpdesks: dict[Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,40}$")], _Entry] = Field(min_length=1)


def load_helpdesks(path: Path, columns: Mapping[str, tuple[str, ...]]) -> dict[str, Helpdesk]:
    """Read the file.

    Args:
        columns: labels by column of the model.

    Raises:
        InputError: not such a file, a variable that is not set, or a column that the model does not have.
    """
    try:
        entries = _File.model_validate(read_yaml(path)).helpdesks
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"--helpdesks {path}: {place}: {first['msg']}; see docs/helpdesks.md") from None
    return {name: _helpdesk(path, name, entry, columns) for name, entry in entries.items()}


def _helpdesk(path: Path, name: str, entry: _Entry, columns: Mapping[str, tuple[str, ...]]) -> Helpdesk:
    where = f"--helpdesks {path}: helpdesks.{name}"
    unknown = sorted((set(entry.fields) | set(entry.values)) - set(columns))
    if unknown:
        raise InputError(f"{where}: the model has no column {unknown[0]!r}; expected {', '.join(columns)}")
    if entry.url and entry.kind != "generic" and not entry.token_variable:
        raise InputError(f"{where}: expected token_variable, the environment variable with a token of its API")
    if entry.url and not is_address(entry.url.partition("#")[0].partition("?")[0]):
        raise InputError(f"{where}: url: expected the address of the helpdesk, such as https://example.zendesk.com")
    settings = Settings(
        name=name,
        url=entry.url or "",
        secret=_secret(where, "secret_variable", entry.secret_variable),
        token=_secret(where, "token_variable", entry.token_variable) if entry.token_variable else "",
        user=entry.user,
        fields=entry.fields,
        values=entry.values,
        draft=entry.draft,
        doubtful=entry.doubtful,
    )
    return KINDS[entry.kind](settings)


def _secret(helpdesk: str, key: str, variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise InputError(f"{helpdesk}: {key}: the environment variable {variable} is empty or not set")
    if not value.isprintable():  # bytes that are no text sign nothing, and no header holds a line break
        raise InputError(f"{helpdesk}: {key}: {variable} holds characters that no secret has; expected printable text")
    return value
