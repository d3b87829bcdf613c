"""A base on this machine, without an adapter, in the place of a server: it writes several answers at a time."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backbone.base import find_base
from backbone.config import BaseConfig, DecodingConfig
from backbone.prompts import PromptEncoder, Turn
from engines.completion import Completion
from engines.torch import TorchEngine
from engines.torch_generate import GENERATE_ROWS

_NO_ADAPTER = ""
_BEGINNING = '{"subject": "'  # of every answer: a small model would write prose


@dataclass(frozen=True)
class _Waiting:
    """A prompt with the future that gets its answer."""

    ids: list[int]
    options: DecodingConfig
    answer: "asyncio.Future[Completion]"


class LocalChat:
    """A base that answers as `ChatEndpoint` does. Requests that wait together are written in one batch."""

    def __init__(self, name: str) -> None:
        """Load `mini`, `smollm2`, a folder or a hub id.

        Raises:
            InputError: not there, or no supported model.
        """
        folder = find_base(name)
        self._name = name
        self._encoder = PromptEncoder(folder, "")
        self._engine = TorchEngine(folder, {}, BaseConfig(path=name), self._encoder.pad_id, self._encoder.end_id)
        self._beginning = self._encoder.encode_text(_BEGINNING)
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def complete(
        self, messages: Sequence[Mapping[str, str]], settings: Mapping[str, Any], most_tokens: int
    ) -> Completion:
        """Return the answer to some messages, of at most `most_tokens` tokens."""
        turns = [Turn(message["role"], message["content"]) for message in messages]
        options = DecodingConfig(
            max_new_tokens=most_tokens, temperature=settings["temperature"], top_p=0.95, seed=settings["seed"]
        )
        answer: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting([*self._encoder.chat_prompt(turns), *self._beginning], options, answer))
        if self._writer is None:
            self._writer = asyncio.ensure_future(self._write_all())
        return await answer

    async def _write_all(self) -> None:
        await asyncio.sleep(0)  # those that are asked at the same time come first
        while self._waiting:
            first = self._waiting[0].options
            batch = [one for one in self._waiting if one.options == first][:GENERATE_ROWS]
            self._waiting = [one for one in self._waiting if one not in batch]
            try:
                answers = await asyncio.to_thread(self._write, batch, first)
            except Exception as error:
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(error)
                continue
            for one, answer in zip(batch, answers, strict=True):
                if not one.answer.done():  # else nobody waits for it any more
                    one.answer.set_result(answer)
        self._writer = None

    def _write(self, batch: Sequence[_Waiting], options: DecodingConfig) -> list[Completion]:
        written = self._engine.generate([one.ids for one in batch], _NO_ADAPTER, options)
        return [
            Completion(
                text=_first_object(_BEGINNING + self._encoder.decode(ids)),
                model=self._name,
                read=len(one.ids),
                written=len(ids),
                is_cut=len(ids) >= options.max_new_tokens,
            )
            for one, ids in zip(batch, written, strict=True)
        ]


def _first_object(text: str) -> str:
    """Return the JSON object that a text begins with, or all of it: small models go on after they have answered."""
    try:
        return text[: json.JSONDecoder().raw_decode(text)[1]]
    except (ValueError, RecursionError):
        return text
