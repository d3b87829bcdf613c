"""Talking to a hub: a client that limits what answers may hold and take, and failures as one line each."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from backbone.hub.address import COMMIT
from tickets.errors import DuetError, InputError, WorkError
from tickets.secrets import without_secrets
from tickets.terminal import without_controls

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SECONDS = 60.0  # between two bytes of an answer
_LARGEST_ANSWER = 16 << 20  # bytes that an answer about files may have; files themselves are limited one by one
_LONGEST_QUOTE = 200  # characters of what the hub says
_TAG = re.compile(r'(?:W/)?"?[\w-]{1,128}"?', re.ASCII)
# the library makes names of files in its cache from these; it does not look at them itself (version 2.4)
_NAMES_IN_HEADERS = {"ETag": _TAG, "X-Linked-Etag": _TAG, "X-Repo-Commit": COMMIT}
_NETWORK_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2")


@contextmanager
def hub_client() -> "Iterator[HfApi]":
    """Yield the hub's interface at `HF_ENDPOINT`, with the token of `HF_TOKEN` or of `hf auth login`.

    Everything goes through a client that limits answers, not through the native one of Xet storage.
    """
    from huggingface_hub import HfApi, constants, set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    log, xet_disabled = logging.getLogger("huggingface_hub"), constants.HF_HUB_DISABLE_XET
    level = log.level
    log.setLevel(logging.ERROR)  # the library would tell every attempt beside our own line
    constants.HF_HUB_DISABLE_XET = True
    set_client_factory(_client)
    try:
        yield HfApi(library_name="ticket-duet")
    finally:
        set_client_factory(default_client_factory)
        constants.HF_HUB_DISABLE_XET = xet_disabled
        log.setLevel(level)


def is_unreachable(error: BaseException) -> bool:
    """Return whether a failure says that there is no network or no working hub: a cached copy may answer."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        return is_unreachable(error.__cause__)
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, OfflineModeIsEnabled) or _is_of_network(error)


@contextmanager
def hub_errors(address: str, writes: bool = False) -> Iterator[None]:
    """Turn every failure of the hub into one line that begins with `address`.

    Args:
        writes: something is published, which needs a token that may write.

    Raises:
        InputError: what the user gave or set is wrong: address, token, rights, HF_HUB_OFFLINE.
        WorkError: the hub or the network failed.
    """
    try:
        yield
    except DuetError:
        raise
    except Exception as error:
        line = _as_line(address, error, writes)
        if line is None:
            raise
        raise line from None


def _as_line(address: str, error: BaseException, writes: bool) -> DuetError | None:
    """Return the line about a failure; None where it is none of the hub."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, RuntimeError | LocalEntryNotFoundError) and error.__cause__ is not None:
        return _as_line(address, error.__cause__, writes)  # what went wrong with one file of several
    if isinstance(error, OfflineModeIsEnabled):
        return InputError(
            f"{address}: HF_HUB_OFFLINE is set, expected a network; unset it, or use a model that is here"
        )
    if isinstance(error, HfHubHTTPError):
        return _of_status(address, error.response.status_code, error.server_message or "", writes)
    if _is_of_network(error):
        return WorkError(
            f"{address}: the hub could not be reached ({type(error).__name__}); check the network, and HF_ENDPOINT if "
            "it is set, and run the same command again"
        )
    if isinstance(error, ValueError | KeyError | TypeError | AssertionError | EOFError):
        # the library reads answers without checking their form
        return WorkError(
            f"{address}: the answer of the hub could not be used ({type(error).__name__}: {_quoted(str(error))}); "
            "expected that of a hub for models; check HF_ENDPOINT if it is set"
        )
    of_library = isinstance(error, RuntimeError) or type(error).__module__.startswith("huggingface_hub")
    if of_library or (isinstance(error, OSError) and error.errno is None):  # else one of this machine's files
        return WorkError(f"{address}: the transfer failed ({_quoted(str(error))}); run the same command again")
    return None


def _of_status(address: str, status: int, message: str, writes: bool) -> DuetError:
    says = f"{status}: {_quoted(message)}" if message else str(status)
    if status in (401, 403):
        from huggingface_hub import get_token

        token_state = "a token that it does not accept for this" if get_token() else "no token"
        right = "write to this repository" if writes else "read this repository, if there is one"
        return InputError(
            f"{address}: refused by the hub ({says}); found {token_state}, expected one that may {right}; run "
            "`hf auth login`, or set HF_TOKEN"
        )
    if status == 404:
        return InputError(
            f"{address}: no such repository or revision on the hub, or a private one of others ({says}); correct the "
            "address, or run `hf auth login` for a private one"
        )
    if status in (409, 412):
        return WorkError(f"{address}: changed on the hub meanwhile ({says}); run the same command again")
    if status == 429 or status >= 500:
        return WorkError(f"{address}: the hub could not answer ({says}); run the same command again later")
    return InputError(f"{address}: refused by the hub ({says}); correct what it names, and run the same command again")


def _quoted(text: str) -> str:
    """Return what a hub says, on one line, without the token."""
    from huggingface_hub import get_token

    try:
        token = get_token()
    except Exception:  # where it is asked for as a line about another failure is made
        token = None
    return without_secrets(without_controls(text), [token] if token else [])[:_LONGEST_QUOTE]


def _is_of_network(error: BaseException) -> bool:
    """Return whether the library's HTTP client raised it; which one that is depends on the library's version."""
    names = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return bool(names & set(_NETWORK_LIBRARIES)) or isinstance(error, ConnectionError | TimeoutError)


def _client() -> Any:
    from huggingface_hub.utils._http import default_client_factory

    client = default_client_factory()  # which knows HF_HUB_OFFLINE
    client.timeout = SECONDS  # without one by default
    client.event_hooks = {**client.event_hooks, "response": [_check_answer]}
    return client


def _check_answer(response: Any) -> None:
    """Refuse headers that would lead out of the cache, and an answer about a repository that is too large."""
    path, host = response.request.url.path, response.request.url.host
    if response.request.method == "HEAD":
        for name, pattern in _NAMES_IN_HEADERS.items():
            value = response.headers.get(name)
            if value is not None and not pattern.fullmatch(value):
                raise WorkError(
                    f"{host}: sent {name} {_quoted(value)!r}, expected a hash; it may be hostile: use another hub, and "
                    "check HF_ENDPOINT if it is set"
                )
    elif path.startswith("/api/"):
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _LARGEST_ANSWER:
                raise WorkError(
                    f"{host}: answers over {_LARGEST_ANSWER:,} bytes about a repository, expected less; use another one"
                )
        response._content = bytes(body)  # what `read` keeps; the stream cannot be read a second time
