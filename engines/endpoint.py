"""Replies from any OpenAI-compatible server: vLLM, llama.cpp, Ollama and others.

The server is not trusted: what it answers has a deadline, a limited size and a known form, or is one line of error.
"""

import asyncio
import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from backbone.config import DecodingConfig
from backbone.prompts import PromptEncoder
from engines.protocols import Row, TicketRefused
from engines.server import REFUSALS, RETRIES, Server, ServerOptions, check_model_name, openai
from engines.server_reply import ServerReply
from tickets.errors import WorkError

CONCURRENT = 8
_POLL_SECONDS = 0.05  # seconds; what else is to do waits no longer
_PROBE: Any = [{"role": "user", "content": "Hello"}]


class EndpointEngine:
    """Sends prompts as chat messages; the server's model has to be the merged generator or serve its adapter."""

    def __init__(
        self,
        url: str,
        model: str,
        encoder: PromptEncoder,
        seconds: float,
        concurrent: int = CONCURRENT,
        retries: int = RETRIES,
    ) -> None:
        """Take the base URL, such as http://localhost:8000/v1; a key is read from OPENAI_API_KEY.

        Args:
            model: its name at the server.
            encoder: of the generator; turns token ids into messages and back.
            seconds: until a request counts as lost; with its retries it counts as lost after twice that.
            concurrent: requests under way at a time.
        """
        self._server = Server(url, seconds, retries, ServerOptions())
        self._name, self._encoder, self._concurrent = check_model_name(model, "--endpoint-model"), encoder, concurrent
        self._requests: dict[Row, Future[None]] = {}  # under way
        self._events: queue.SimpleQueue[tuple[Row, int | None, Exception | None]] = queue.SimpleQueue()  # None: the end
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True).start()

    def admit(self, row: Row) -> bool:
        """Send a row's request; False while as many as may be are under way.

        The server's text is encoded with our tokenizer, so ids may differ from those it drew; the text is the same.
        """
        assert not row.prefix_length, "a server has one adapter for the whole prompt"  # `engine_choice` refuses it
        if len(self._requests) == self._concurrent:
            return False
        self._requests[row] = asyncio.run_coroutine_threadsafe(self._answer(row), self._loop)
        return True

    def step(self) -> list[Row]:
        """Wait a moment for what the server writes; return the rows that ended.

        A row's `error` is a TicketRefused where the server refused it and answers others, else why there is no answer.
        """
        ended: list[Row] = []
        patience = _POLL_SECONDS if self._requests else 0
        try:
            while True:
                row, token, error = self._events.get(timeout=patience)
                patience = 0
                if row not in self._requests:
                    continue
                if token is not None:
                    row.write(token)
                else:
                    row.error = row.error or error
                if token is None or row.error:
                    self.end(row)
                    ended.append(row)
        except queue.Empty:
            return ended

    def end(self, row: Row) -> None:
        """Hang up."""
        request = self._requests.pop(row, None)
        if request:
            request.cancel()

    async def _answer(self, row: Row) -> None:
        """Make one request, and tell `step` what comes of it."""
        error: Exception | None = None
        client = self._server.client(row.options.max_new_tokens)
        try:
            await self._request_reply(client, row, self._request(row.prompt, row.options))
        except openai.APIStatusError as refusal:
            error = self._server.status_error(refusal)
            if refusal.status_code in REFUSALS and await self._serves(client):
                error = TicketRefused(str(error))
        except Exception as failure:
            error = failure
        self._events.put((row, None, error))

    async def _request_reply(self, client: openai.AsyncOpenAI, row: Row, request: dict[str, Any]) -> None:
        """Ask for one reply, again where that may help and none of it was told."""
        reply = ServerReply(
            self._encoder,
            row.options.max_new_tokens,
            lambda token: self._events.put((row, token, None)),
            self._server.long_secrets,
        )
        await self._server.call(
            lambda: self._ask(client, request, reply, streams=row.on_token is not None),
            may_repeat=lambda: not reply.length,
        )
        if not reply.is_complete:
            raise WorkError(
                f"{self._server.shown}: the reply broke off; run it again while no other client uses the server"
            )
        row.cut = reply.is_cut

    async def _ask(
        self, client: openai.AsyncOpenAI, request: dict[str, Any], reply: ServerReply, streams: bool
    ) -> None:
        """Send one request, streamed only where somebody listens.

        llama.cpp's Python server lets a new request cut a stream short.
        """
        reply.start_over()
        if not streams:
            choice = (await client.chat.completions.create(**request)).choices[0]
            reply.take(choice.message.content, choice.finish_reason)
            reply.finish()
            return
        stream = await client.chat.completions.create(**request, stream=True)
        has_choice = False
        try:
            while not reply.is_full and (chunk := await anext(stream, None)) is not None:
                for choice in chunk.choices:
                    has_choice = True
                    reply.take(choice.delta.content, choice.finish_reason)
        finally:
            await stream.close()
            with suppress(Exception):  # the stream's generators end here, or asyncio complains about them later
                while await anext(stream, None) is not None:
                    pass
        if not has_choice:
            raise ValueError("nothing in it")
        reply.finish()

    async def _serves(self, client: openai.AsyncOpenAI) -> bool:
        """Return whether a harmless request is answered: then those refused were refused for what they ask."""
        try:
            async with asyncio.timeout(self._server.seconds):
                await client.chat.completions.create(model=self._name, messages=_PROBE, max_tokens=1)
        except (TimeoutError, openai.OpenAIError, WorkError, ValueError, RecursionError):
            return False
        return True

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
        """Return the text with control-token literals broken by a space: servers parse them, wherever they stand."""
        for literal in self._encoder.control_literals:
            text = text.replace(literal, f"{literal[0]} {literal[1:]}")
        return text
