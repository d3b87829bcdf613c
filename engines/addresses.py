"""Addresses of servers: whether one can be used, and how it is shown and saved."""

from urllib.parse import urlsplit


def is_address(url: str) -> bool:
    """Whether a text is the URL of a server; a client given anything else may fail long after it was made."""
    try:
        parts = urlsplit(url)
        port = parts.port  # raises where it is no number, or none that a port has
    except ValueError:
        return False
    behind = f"{parts.path}{parts.query}{parts.fragment}"  # an @ there is of a password that should be escaped
    usable = url.isprintable() and " " not in url and "@" not in behind and port != 0
    return usable and parts.scheme in ("http", "https") and bool(parts.hostname)


def without_credentials(url: str) -> str:
    """Return a URL without user and password, also where they are not written as they should be."""
    before, _, rest = url.rpartition("@")
    scheme = before.partition("://")[0] if "://" in before else ""
    return f"{scheme}://{rest}" if scheme else rest
