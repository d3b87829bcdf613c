"""Addresses of servers: whether one can be used, how it is shown and saved, and what of it is secret."""

import base64
import re
from urllib.parse import unquote, urlsplit

_HIDDEN = "[hidden]"
_BEHIND = re.compile(r"[?#]")  # where query and fragment begin


def is_address(url: str) -> bool:
    """Return whether a text is the URL of a server; a client given anything else may fail long after it was made.

    Query and fragment are refused: the client would add its paths behind them.
    """
    try:
        parts = urlsplit(url)
        port = parts.port  # raises where it is no number, or none that a port has
    except ValueError:
        return False
    usable = url.isprintable() and not any(sign in url for sign in " ?#") and port != 0
    # an @ in the path is of a password that should be escaped
    return usable and parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.path


def without_credentials(url: str) -> str:
    """Return a URL without user, password, query and fragment, also where they are not written as they should be."""
    before, _, host_and_path = url.rpartition("@")
    scheme = f"{before.partition('://')[0]}://" if "://" in before else ""
    if _BEHIND.search(before):  # of a password, or of a query with an @: what is behind it may be either
        return f"{scheme}{_HIDDEN}"
    shown = _BEHIND.split(host_and_path, maxsplit=1)[0]
    return f"{scheme}{shown}{'' if shown == host_and_path else f'?{_HIDDEN}'}"


def secrets_of(url: str) -> list[str]:
    """Return the password of a URL, or the user where that is a token, and both as a request's header has them."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    both = base64.b64encode(f"{user}:{password}".encode()).decode() if user or password else ""
    return [secret for secret in (password or user, both, both.rstrip("=")) if secret]
