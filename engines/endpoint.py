"""Replies from any OpenAI-compatible server: vLLM, llama.cpp, Ollama and others."""

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from backbone.config import DecodingConfig
from backbone.prompts import PromptEncoder
from engines.addresses import without_credentials
from engines.protocols import OnDone, OnToken, SharedPrefix, TicketsRefused
from tickets.errors import InputError, WorkError

try:
    import openai
except ImportError:
    raise InputError(
        "--endpoint needs the package openai, which is not installed; install ticket-duet[endpoint]"
    ) from None

_CONCURRENT = 8
_RETRIES = 4  # with growing pauses, after a lost connection, a time-out, 408, 409, 429 and 5xx
_KEY = "OPENAI_API_KEY"
_REFUSALS = (400, 413, 422)  # of a request for what it asks
_MENDS = {
    401: f"set {_KEY} to a key of that server",
    403: f"set {_KEY} to a key of that server",
    404: "mend --endpoint, whose path is /v1 at most servers, or --endpoint-model, the model's name there",
}
_PROBE = [{"role": "user", "content": "Hello"}]


class EndpointEngine:
    """Sends prompts as chat messages; the server's model has to be the merged generator or serve its adapter."""

    def __init__(
        self,
        url: str,
        model: str,
        encoder: PromptEncoder,
        seconds: float,
        concurrent: int = _CONCURRENT,
        retries: int = _RETRIES,
    ) -> None:
        """Take the base URL, such as http://localhost:8000/v1; a key is read from OPENAI_API_KEY.

        Args:
            model: its name at the server.
            encoder: of the generator; turns token ids into messages and back.
            seconds: until a request counts as lost.
            concurrent: requests under way at a time.
        """
        if not url.startswith(("http://", "https://")):
            raise InputError(
                f"found --endpoint {without_credentials(url)!r}, expected a URL such as http://localhost:8000/v1"
            )
        self._address, self._name, self._encoder = url, model, encoder
        self._url = without_credentials(url)  # as it is shown
        self._seconds, self._concurrent, self._retries = seconds, concurrent, retries

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        adapter: str,
        options: DecodingConfig,
        on_token: OnToken | None = None,
        on_done: OnDone | None = None,
        shared_prefix: SharedPrefix | None = None,
    ) -> list[list[int]]:
        """Ids written after every prompt, in order, without the end token.

        The server's text is encoded with our tokenizer, so ids may differ from those it drew; the text is the same.

        Raises:
            WorkError: no answer after the retries, or the server serves no request.
            TicketsRefused: it refused some, and answered all others.
        """
        assert shared_prefix is None, (
            "a server has one adapter for the whole prompt"
        )  # `pipeline.engine_choice` refuses it
        return asyncio.run(self._all(prompts, options, on_token, on_done))

    async def _all(
        self,
        prompts: Sequence[Sequence[int]],
        options: DecodingConfig,
        on_token: OnToken | None,
        on_done: OnDone | None,
    ) -> list[list[int]]:
        places = asyncio.Semaphore(self._concurrent)
        refused: dict[int, str] = {}
        key = os.environ.get(_KEY) or "none"
        async with openai.AsyncOpenAI(
            base_url=self._address, api_key=key, max_retries=self._retries, timeout=self._seconds
        ) as client:

            async def one(row: int, ids: Sequence[int]) -> list[int]:
                async with places:
                    try:
                        written = await self._one(client, row, self._request(ids, options), on_token)
                    except openai.APIStatusError as error:
                        if error.status_code not in _REFUSALS:
                            raise self._status_error(error) from None
                        refused[row] = str(self._status_error(error))
                        return []
                if on_done:
                    on_done(row, written)
                return written

            tasks = [asyncio.ensure_future(one(row, ids)) for row, ids in enumerate(prompts)]
            try:
                written = await asyncio.gather(*tasks)
            except BaseException:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                raise
            if refused and not await self._serves(client):
                raise WorkError(next(iter(refused.values())))
        if refused:
            raise TicketsRefused(refused)
        return written

    async def _one(self, client: Any, row: int, request: dict[str, Any], on_token: OnToken | None) -> list[int]:
        """One reply; streamed only where somebody listens, because llama.cpp's Python server lets a new request cut
        a stream short."""
        written: list[int] = []
        reason = None
        has_choice = on_token is None  # a whole reply has its choice, or fails
        try:
            if on_token is None:
                choice = (await client.chat.completions.create(**request)).choices[0]
                written, reason = self._encoder.encode_text(choice.message.content or ""), choice.finish_reason
            else:
                async for chunk in await client.chat.completions.create(**request, stream=True):
                    for choice in chunk.choices:
                        has_choice = True
                        reason = choice.finish_reason or reason
                        for token in self._encoder.encode_text(choice.delta.content or ""):
                            written.append(token)
                            on_token(row, token)
        except openai.APIStatusError:
            raise
        except openai.OpenAIError as error:
            raise WorkError(
                f"{self._url}: no answer ({_short(error)}); is the server running, and {self._seconds:g} s "
                "(--endpoint-timeout) enough for a reply?"
            ) from None
        except (AttributeError, IndexError, TypeError) as error:  # something else than the API answered
            raise self._no_completion(_short(error)) from None
        if not has_choice:
            raise self._no_completion("nothing in it")
        if reason is None:
            raise WorkError(f"{self._url}: the reply broke off; does another client use the server?")
        return written

    async def _serves(self, client: Any) -> bool:
        """Whether a harmless request is answered: then those refused were refused for what they ask."""
        try:
            await client.chat.completions.create(model=self._name, messages=_PROBE, max_tokens=1)
        except openai.OpenAIError:
            return False
        return True

    def _no_completion(self, reason: str) -> WorkError:
        return WorkError(
            f"{self._url}: answered something that is no chat completion ({reason}); expected an OpenAI-compatible "
            f"server; {_MENDS[404]}"
        )

    def _status_error(self, error: openai.APIStatusError) -> WorkError:
        mend = _MENDS.get(error.status_code, "see the server's log")
        return WorkError(f"{self._url}: answered {error.status_code} ({_short(error)}); {mend}")

    def _request(self, ids: Sequence[int], options: DecodingConfig) -> dict[str, Any]:
        penalty = options.repetition_penalty
        # the first name is vLLM's, the second llama.cpp's and Ollama's; without a penalty neither is sent
        extra: dict[str, Any] = {}
        if penalty != 1.0:
            extra |= {"repetition_penalty": penalty, "repeat_penalty": penalty}
        if self._encoder.thinks:
            extra["chat_template_kwargs"] = {"enable_thinking": False}
        turns = self._encoder.turns(ids)
        return {
            "model": self._name,
            "messages": [{"role": turn.role, "content": self._harmless(turn.text)} for turn in turns],
            "max_tokens": options.max_new_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "seed": options.seed,
            "extra_body": extra,
        }

    def _harmless(self, text: str) -> str:
        """Text whose control-token literals are broken by a space: servers parse them, wherever they stand."""
        for literal in self._encoder.control_literals:
            text = text.replace(literal, f"{literal[0]} {literal[1:]}")
        return text


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
