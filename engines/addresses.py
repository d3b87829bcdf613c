"""Addresses of servers, without what must not be shown or saved."""

from urllib.parse import urlsplit, urlunsplit


def without_credentials(url: str) -> str:
    """Return a URL without user and password."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:  # no URL: whoever uses it says so
        return url.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host))
