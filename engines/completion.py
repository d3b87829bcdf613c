"""The answer to a chat request, and what may come in its place; free of the client's package."""

from dataclasses import dataclass

from tickets.errors import WorkError


@dataclass(frozen=True)
class Completion:
    """What a model wrote, under the name that its server gave; token counts where it said them.

    `is_cut` tells that the limit of tokens ended it.
    """

    text: str
    model: str
    read: int | None
    written: int | None
    is_cut: bool = False


class RequestRefused(Exception):
    """The server refused a request for what it asks, such as a response format that it does not know."""


class ServerFailed(WorkError):
    """The server answered with an error of its own, after all retries; some do so to a request they do not know."""
