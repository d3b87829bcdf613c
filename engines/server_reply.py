"""The reply of a server as it arrives, checked piece by piece."""

from collections.abc import Callable, Sequence
from typing import Any

from backbone.prompts import PromptEncoder
from tickets.plain_reason import kind_of
from tickets.secrets import SecretFilter

_WHOLE, _TOO_LONG = "stop", "length"  # reasons to finish; any but the first leaves the reply without its own end


class ServerReply:
    """A reply as it arrives: how long it is, and why it ended; no longer than was asked for."""

    def __init__(
        self, encoder: PromptEncoder, most: int, on_token: Callable[[int], None], secrets: Sequence[str] = ()
    ) -> None:
        """Tell every id of at most `most` to `on_token` as it arrives; `secrets` are taken out of the text."""
        self._encoder, self._most, self._on_token = encoder, most, on_token
        self._filter = SecretFilter(secrets)
        self.length = 0  # ids told
        self.reason: str | None = None

    @property
    def is_full(self) -> bool:
        """Whether a server that goes on is not listened to any more."""
        return self.length >= self._most

    @property
    def is_complete(self) -> bool:
        """Whether it is known why the reply ends."""
        return self.reason is not None or self.is_full

    @property
    def is_cut(self) -> bool:
        """Whether the reply stops before its own end."""
        return self.is_complete and self.reason != _WHOLE

    def take(self, content: Any, reason: Any) -> None:
        """Take the next piece of the text and, with the last one, why the reply ends there.

        Raises:
            TypeError, ValueError: not text.
        """
        if not isinstance(content, str | None) or not isinstance(reason, str | None):
            raise TypeError(f"found {kind_of(content)} and {kind_of(reason)}, expected text")
        if self.reason in (None, _WHOLE):  # what was cut stays cut, whatever is said of it later
            self.reason = reason or self.reason
        self._tell(self._filter.take(content or "", is_last=False))

    def start_over(self) -> None:
        """Forget an attempt of which nothing was told."""
        self.reason = None
        self._filter.start_over()

    def finish(self) -> None:
        """Tell what waited because it might have been the beginning of a secret."""
        self._tell(self._filter.take("", is_last=True))

    def _tell(self, text: str) -> None:
        ids = self._encoder.encode_text(text)
        room = self._most - self.length
        if len(ids) > room:
            self.reason = _TOO_LONG
        for token in ids[:room]:
            self.length += 1
            self._on_token(token)
