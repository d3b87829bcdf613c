"""One OpenAI-compatible server, which is not trusted: deadlines, retries, limited answers, and one line per failure."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from engines.addresses import is_address, secrets_of, without_credentials
from engines.completion import ServerFailed
from tickets.errors import InputError, WorkError
from tickets.plain_reason import plain_reason
from tickets.secrets import without_secrets
from tickets.terminal import whole_characters

try:
    import openai as openai  # others take it from here

    from engines.http_limits import ServerFault, asked_pause, limited_client
except ImportError:
    raise InputError(
        "--endpoint needs the package openai, which is not installed; install ticket-duet[endpoint]"
    ) from None

RETRIES = 4  # with growing pauses, after a lost connection, a time-out and the statuses below
REFUSALS = (400, 413, 422)  # of a request for what it asks
_RETRIED = (408, 409, 429, *range(500, 600))
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 8.0  # seconds, where the server asks for none
_BODY, _BYTES_PER_TOKEN = 1 << 16, 4096  # a streamed token is a JSON object of its own
_LONG_SECRET = 12  # characters
_NOT_A_KEY = "none"  # servers without keys want to see one

T = TypeVar("T")


def check_model_name(name: str, option: str) -> str:
    """Return the name of a model at a server.

    Raises:
        InputError: it cannot be sent.
    """
    if name != whole_characters(name):
        raise InputError(f"{option} {name[:200]}: holds half a character, expected the model's name at that server")
    return name


@dataclass(frozen=True)
class ServerOptions:
    """How a command names what may have to be corrected.

    Attributes:
        key_variable: the environment variable that holds the API key.
        timeout: the option for the seconds until a request counts as lost.
        model: the option for the model's name.
        overload: what helps where the server refuses more requests for now.
    """

    key_variable: str = "OPENAI_API_KEY"
    timeout: str = "--endpoint-timeout"
    model: str = "--endpoint-model"
    overload: str = "come back later"

    @property
    def remedies(self) -> Mapping[int, str]:
        """The remedy of a refusal, by status."""
        key = f"set {self.key_variable} to a key of that server"
        return {401: key, 403: key, 404: self.wrong_address, 429: f"its limit of requests is reached; {self.overload}"}

    @property
    def wrong_address(self) -> str:
        """The remedy of an address or name that leads nowhere."""
        return f"correct --endpoint, whose path is /v1 at most servers, or {self.model}, the model's name there"


class Server:
    """Requests to one server, made again where that may help."""

    def __init__(self, url: str, seconds: float, retries: int, options: ServerOptions) -> None:
        """Take the base URL, such as http://localhost:8000/v1.

        Args:
            seconds: until a request counts as lost; with its retries it counts as lost after twice that.

        Raises:
            InputError: not a URL, or a key that none can be.
        """
        self.shown = without_credentials(url)
        if not is_address(url):
            raise InputError(
                f"found --endpoint {self.shown!r}, expected a URL such as http://localhost:8000/v1, without query and "
                f"fragment; a key belongs into the environment variable {options.key_variable}"
            )
        self._key = os.environ.get(options.key_variable, "").strip() or _NOT_A_KEY
        if not self._key.isascii() or not self._key.isprintable():
            raise InputError(f"{options.key_variable}: holds characters that no API key has; expected printable ASCII")
        self.seconds = seconds
        self._secrets = secrets_of(url) + ([self._key] if self._key != _NOT_A_KEY else [])
        self._address, self._retries, self._options = url, retries, options
        self._clients: dict[int, openai.AsyncOpenAI] = {}  # by the most tokens of an answer, which limit its size

    def client(self, most_tokens: int) -> openai.AsyncOpenAI:
        """Return the client whose answers are no larger than so many tokens need."""
        if most_tokens not in self._clients:
            self._clients[most_tokens] = openai.AsyncOpenAI(
                base_url=self._address,
                api_key=self._key,
                max_retries=0,
                timeout=self.seconds,
                http_client=limited_client(self._address, self.seconds, _BODY + _BYTES_PER_TOKEN * most_tokens),
            )
        return self._clients[most_tokens]

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()

    async def call(self, request: Callable[[], Awaitable[T]], may_repeat: Callable[[], bool] = lambda: True) -> T:
        """Make one request, and again where that may help as long as `may_repeat`.

        Raises:
            openai.APIStatusError: a status that is no success, at the last try; `status_error` words it.
            WorkError: anything else that is no answer.
        """
        clock = asyncio.get_running_loop().time
        last = clock() + 2 * self.seconds
        number = 0
        while True:
            try:
                async with asyncio.timeout_at(min(clock() + self.seconds, last)):
                    return await request()
            except ServerFault as fault:
                raise WorkError(f"{self.shown}: {self.without_secrets(str(fault))}") from None
            except (TimeoutError, openai.APIConnectionError) as error:
                failure: Exception = self._no_answer(error)
                asked = None
            except openai.APIStatusError as error:
                if error.status_code not in _RETRIED:
                    raise
                failure, asked = error, asked_pause(error.response.headers)
            except (openai.OpenAIError, ValueError, RecursionError, AttributeError, LookupError, TypeError) as error:
                raise self.no_completion(self.error_text(error)) from None  # something else than the API answered
            pause = asked if asked is not None else min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE)
            if asked is not None and clock() + asked >= last:
                raise self._waits_too_long(failure, asked) from None
            if not may_repeat() or number == self._retries or clock() + pause >= last:
                raise failure from None
            number += 1
            await asyncio.sleep(pause)

    def status_error(self, error: openai.APIStatusError) -> WorkError:
        """Return what a refusal means, and how to correct it."""
        remedy = self._options.remedies.get(error.status_code, "see the server's log")
        kind = WorkError if error.status_code not in range(500, 600) else ServerFailed
        return kind(f"{self.shown}: answered {error.status_code} ({self.error_text(error)}); {remedy}")

    def no_completion(self, reason: str) -> WorkError:
        """Return an answer of another kind."""
        return WorkError(
            f"{self.shown}: answered something that is no chat completion ({reason}); expected an OpenAI-compatible "
            f"server; {self._options.wrong_address}"
        )

    def error_text(self, error: Exception) -> str:
        """Return an error's text in one line of 200 characters at most, without what nobody else may see."""
        text = self.without_secrets(
            str(error) if isinstance(error, openai.OpenAIError) else plain_reason(error)
        )  # before it is cut: half a key is too much
        return " ".join(whole_characters(text).split())[:200]

    def without_secrets(self, text: str) -> str:
        """Take key, user and password out of a text: servers quote them in what they say of them."""
        return without_secrets(text, self._secrets)

    @property
    def long_secrets(self) -> list[str]:
        """What a server may not repeat in a reply; a shorter one may be a usual word, such as `none` or `ollama`."""
        return [secret for secret in self._secrets if len(secret) >= _LONG_SECRET]

    def _no_answer(self, error: Exception) -> WorkError:
        return WorkError(
            f"{self.shown}: no answer ({self.error_text(error) or 'timed out'}); is the server running, and "
            f"{self.seconds:g} s ({self._options.timeout}) enough for an answer?"
        )

    def _waits_too_long(self, failure: Exception, asked: float) -> WorkError:
        return WorkError(
            f"{self.shown}: no answer ({self.error_text(failure)}); it asks to wait {min(asked, 1e9):,.0f} s, longer "
            f"than {self._options.timeout} ({self.seconds:g} s) allows; raise that, or come back later"
        )
