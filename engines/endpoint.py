"""Replies from any OpenAI-compatible server: vLLM, llama.cpp, Ollama and others."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from backbone.config import DecodingConfig
from backbone.prompts import PromptEncoder
from engines.base import OnToken
from tickets.errors import InputError, WorkError

try:
    import openai
except ImportError:
    raise InputError(
        "--endpoint needs the package openai, which is not installed; install ticket-duet[endpoint]"
    ) from None

_CONCURRENT = 8
_RETRIES = 4  # with growing pauses, after a lost connection, a time-out, 408, 409, 429 and 5xx
_SECONDS = 300.0  # for one reply
_KEY = "OPENAI_API_KEY"


class EndpointEngine:
    """Sends prompts as chat messages; the server's model has to be the merged generator or serve its adapter."""

    def __init__(
        self,
        url: str,
        model: str,
        encoder: PromptEncoder,
        concurrent: int = _CONCURRENT,
        retries: int = _RETRIES,
        seconds: float = _SECONDS,
    ) -> None:
        """Take the base URL, such as http://localhost:8000/v1; a key is read from OPENAI_API_KEY.

        Args:
            model: its name at the server.
            encoder: of the generator; turns token ids into messages and back.
            concurrent: requests under way at a time.
            seconds: until a request counts as lost.
        """
        if not url.startswith(("http://", "https://")):
            raise InputError(f"found --endpoint {url!r}, expected a URL such as http://localhost:8000/v1")
        self._client = openai.OpenAI(
            base_url=url, api_key=os.environ.get(_KEY) or "none", max_retries=retries, timeout=seconds
        )
        self._url, self._name, self._encoder, self._concurrent = url, model, encoder, concurrent

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        adapter: str,
        options: DecodingConfig,
        on_token: OnToken | None = None,
    ) -> list[list[int]]:
        """Ids written after every prompt, in order, without the end token.

        The server's text is encoded with our tokenizer, so ids may differ from those it drew; the text is the same.

        Raises:
            WorkError: no answer after the retries, or a refusal.
        """
        pool = ThreadPoolExecutor(max_workers=min(self._concurrent, len(prompts)) or 1)
        try:
            rows = [pool.submit(self._one, row, ids, options, on_token) for row, ids in enumerate(prompts)]
            return [row.result() for row in rows]
        except BaseException:
            self._client.close()  # else the interpreter waits for requests under way
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, row: int, ids: Sequence[int], options: DecodingConfig, on_token: OnToken | None) -> list[int]:
        """One reply; streamed only where somebody listens, because llama.cpp's Python server lets a new request cut
        a stream short."""
        request = self._request(ids, options)
        create: Any = self._client.chat.completions.create
        written: list[int] = []
        reason = None
        try:
            if on_token is None:
                choice = create(**request).choices[0]
                written, reason = self._encoder.encode_text(choice.message.content or ""), choice.finish_reason
            else:
                for choice in (chunk.choices[0] for chunk in create(**request, stream=True) if chunk.choices):
                    reason = choice.finish_reason or reason
                    for token in self._encoder.encode_text(choice.delta.content or ""):
                        written.append(token)
                        on_token(row, token)
        except openai.APIStatusError as error:
            raise WorkError(
                f"{self._url}: answered {error.status_code} ({_short(error)}); is model {self._name!r} served there?"
            ) from None
        except openai.OpenAIError as error:
            raise WorkError(f"{self._url}: no answer ({_short(error)}); is the server running?") from None
        except (AttributeError, IndexError, TypeError) as error:  # something else than the API answered
            raise WorkError(
                f"{self._url}: answered something that is no chat completion ({_short(error)}); expected an "
                "OpenAI-compatible server; mend --endpoint"
            ) from None
        if reason is None:
            raise WorkError(f"{self._url}: the reply broke off; does another client use the server?")
        return written

    def _request(self, ids: Sequence[int], options: DecodingConfig) -> dict[str, Any]:
        penalty = options.repetition_penalty
        # the first name is vLLM's, the second llama.cpp's and Ollama's; without a penalty neither is sent
        extra = {} if penalty == 1.0 else {"repetition_penalty": penalty, "repeat_penalty": penalty}
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
