"""Addresses of files: which are of an object store, what they consist of, and what a store says."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tickets.errors import InputError, WorkError
from tickets.plain_reason import plain_reason

FILE = "file"
STORES = ("s3", "gs", "abfs", "abfss")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_QUERY = re.compile(r"\?([a-z_]+=[^?]*)$")


def scheme_of(text: str) -> str:
    """Return the scheme of an address in small letters; empty for a path of this machine."""
    match = _URL.match(text)
    return match[1].lower() if match else ""


def is_store(text: str) -> bool:
    """Return whether a text is the address of something on an object store."""
    return scheme_of(text) in STORES


def store_address(path: Path) -> str | None:
    """Return the address of a store that was put into a path, which makes one slash of two; None for other paths."""
    first, *others = path.parts or ("",)
    text = f"{first}//{'/'.join(others)}"
    return text if first.endswith(":") and is_store(text) else None


def is_url(text: str) -> bool:
    """Return whether a text is an address with a scheme, and no path of this machine."""
    return bool(scheme_of(text))


def split_address(address: str) -> tuple[str, str, str]:
    """Return scheme and bucket, key, and query of an address; a `?` without a name and `=` is a wildcard of the key."""
    place, question, query = address, "", ""
    if match := _QUERY.search(address):
        place, question, query = address[: match.start()], "?", match[1]
    scheme, _, rest = place.partition("://")
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key, question + query


def with_endpoint(address: str) -> str:
    """Return an address on S3 that names the server of AWS_ENDPOINT_URL, which pyarrow does not read by itself.

    Raises:
        InputError: that is no address of a server.
    """
    variable = next((name for name in _ENDPOINTS if os.environ.get(name)), None)
    if variable is None or "endpoint_override=" in address:
        return address
    server = urlsplit(os.environ[variable])
    if server.scheme not in ("http", "https") or not server.netloc or server.path.strip("/"):
        raise InputError(
            f"{variable}: found {os.environ[variable][:200]!r}, expected a server such as https://s3.example.com"
        )
    return f"{address}{'&' if '?' in address else '?'}endpoint_override={server.netloc}&scheme={server.scheme}"


@contextmanager
def store_errors(address: str) -> Iterator[None]:
    """Turn what a store says into one line."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{address}: not there; expected a file or folder of the store; correct the address") from None
    except OSError as error:
        if error.errno is not None and not str(error).startswith("When "):
            raise  # of this machine's files
        raise WorkError(
            f"{address}: the object store failed ({first_line(error)}); check the address, its keys (such as "
            "AWS_ACCESS_KEY_ID) and the network, and run the same command again"
        ) from None


def first_line(error: BaseException) -> str:
    """Return what a store says, short enough for a line."""
    return plain_reason(error)[:300]
