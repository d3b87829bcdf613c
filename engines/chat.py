"""Single chat requests to any OpenAI-compatible server: messages in, text and token counts out."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from engines.completion import Completion, RequestRefused
from engines.server import REFUSALS, RETRIES, Server, ServerOptions, check_model_name, openai
from tickets.plain_reason import kind_of
from tickets.terminal import whole_characters

_LONGEST_NAME = 200  # characters of a model's name that are kept
_THINKING = 8192  # tokens that a server may add to an answer, beside those asked for
_ADDED = 16_384  # tokens that its template may add to what it reads; besides, no token is shorter than a byte


class ChatEndpoint:
    """One server and model, used in `async with`."""

    def __init__(self, url: str, model: str, key_variable: str, seconds: float, retries: int = RETRIES) -> None:
        """Take the base URL, such as http://localhost:8000/v1.

        Args:
            key_variable: the environment variable that holds the API key.
            seconds: until a request counts as lost; with its retries it counts as lost after twice that.

        Raises:
            InputError: not a URL, or a key that none can be.
        """
        overload = "run the same command later or with a lower --concurrent"
        self._server = Server(url, seconds, retries, ServerOptions(key_variable, "--timeout", "--model", overload))
        self._model = check_model_name(model, "--model")

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        await self._server.close()

    async def complete(
        self, messages: Sequence[Mapping[str, str]], settings: Mapping[str, Any], most_tokens: int
    ) -> Completion:
        """Send messages; `settings` are further fields of the request, which asks for `most_tokens`.

        Raises:
            RequestRefused: the server does not take this request.
            WorkError: no answer after the retries, or no chat completion.
        """
        most_read = _ADDED + sum(len(message["content"].encode()) for message in messages)
        client: Any = self._server.client(most_tokens + _THINKING)  # the request's type needs more than dictionaries

        async def ask() -> Completion:
            answer = await client.chat.completions.create(model=self._model, messages=list(messages), **settings)
            text, usage = answer.choices[0].message.content or "", answer.usage
            if not isinstance(text, str):
                raise TypeError(f"found {kind_of(text)}, expected text")
            text.encode()  # half a character cannot be kept in a file
            name = answer.model if isinstance(answer.model, str) else ""
            clean = self._server.without_secrets
            return Completion(
                clean(text),
                clean(whole_characters(name))[:_LONGEST_NAME],
                _count(usage, "prompt_tokens", most_read),
                _count(usage, "completion_tokens", most_tokens + _THINKING),
                answer.choices[0].finish_reason == "length",
            )

        try:
            return await self._server.call(ask)
        except openai.APIStatusError as error:
            if error.status_code in REFUSALS:
                raise RequestRefused(f"{error.status_code}: {self._server.error_text(error)}") from None
            raise self._server.status_error(error) from None


def _count(usage: object, name: str, most: int) -> int | None:
    """Return a number of tokens as the server says it; None where it is no number, or none that can be."""
    count = getattr(usage, name, None)
    return count if type(count) is int and 0 <= count <= most else None
