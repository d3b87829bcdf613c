"""A client for servers that are not trusted: bodies of limited size, and no request to another host."""

import codecs
import email.utils
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from tickets.errors import WorkError

_MOST_REDIRECTS = 5
_MARK = codecs.BOM_UTF8


class ServerFault(WorkError):
    """A server did what no reply justifies; asking again would not help."""


class _LimitedStream(httpx2.AsyncByteStream):
    """The body of an answer up to `most_bytes`, without the byte order mark that some servers begin it with."""

    def __init__(self, stream: Any, most_bytes: int) -> None:
        self._stream, self._left = stream, most_bytes
        self._most_bytes = most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        start: bytes | None = b""  # what may yet be such a mark; None behind it
        async for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise ServerFault(
                    f"answered more than {self._most_bytes:,} bytes, which no answer of that length needs; use "
                    "another server"
                )
            if start is not None:
                chunk = start + chunk
                start = chunk if chunk != _MARK and _MARK.startswith(chunk) else None
                if start is not None:
                    continue
                chunk = chunk.removeprefix(_MARK)
            yield chunk
        if start:
            yield start

    async def aclose(self) -> None:
        await self._stream.aclose()


def limited_client(address: str, seconds: float, most_bytes: int) -> httpx2.AsyncClient:
    """Return a client that follows redirects on the host of `address` alone; bodies may have `most_bytes`.

    Every request through it raises `ServerFault` for a redirect elsewhere, a larger body, or a compressed one, which
    was not asked for and can be of any size once it is unpacked. `seconds` may pass between two bytes.
    """
    base_url = httpx2.URL(address)

    async def refuse_other_servers(request: httpx2.Request) -> None:
        if not _same_server(base_url, request.url):
            other = request.url.copy_with(username=None, password=None, path="/", query=None, fragment=None)
            raise ServerFault(
                f"redirects to another server ({other}), which is refused; give --endpoint the address that answers"
            )

    async def limit_body(response: httpx2.Response) -> None:
        packed = response.headers.get("Content-Encoding", "identity")
        if packed.strip().lower() not in ("", "identity"):
            raise ServerFault(f"compresses its answers ({packed[:40]}), which was not asked for; turn that off there")
        response.stream = _LimitedStream(response.stream, most_bytes)

    return httpx2.AsyncClient(
        timeout=seconds,
        headers={"Accept-Encoding": "identity"},
        follow_redirects=True,
        max_redirects=_MOST_REDIRECTS,
        event_hooks={"request": [refuse_other_servers], "response": [limit_body]},
    )


def _same_server(base_url: httpx2.URL, other: httpx2.URL) -> bool:
    """Return whether both are one scheme, host and port, or `other` is `base_url` by https on the usual ports."""
    if (base_url.scheme, base_url.host, _port(base_url)) == (other.scheme, other.host, _port(other)):
        return True
    upgraded = base_url.scheme == "http" and other.scheme == "https" and (_port(base_url), _port(other)) == (80, 443)
    return upgraded and base_url.host == other.host


def _port(url: httpx2.URL) -> int | None:
    return url.port or {"http": 80, "https": 443}.get(url.scheme)


def asked_pause(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After` asks to wait, as a number or a date; None where it says nothing of use."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else max(seconds, 0.0)
