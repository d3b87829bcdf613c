"""/v1/models and /v1/chat/completions: a door for programs that speak that protocol.

The model was trained to answer tickets, not to follow instructions. What it does not support is refused, never ignored.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, Field, StringConstraints, ValidatorFunctionWrapHandler, WrapValidator
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from pipeline.service import PendingAnswer
from serve.api.predict import EMPTY, from_answer
from serve.api.responses import engines, problems, wait_for_answer
from serve.auth import Ingest
from serve.context import Serving, serving
from serve.schemas import Strict, TicketIn
from store.ids import new_id
from tickets.schema import Answer, Ticket

REPLY, LABELS = "duet", "duet-labels"
_WHOLE, _CUT = "stop", "length"  # reasons to finish
router = APIRouter(prefix="/v1", tags=["OpenAI protocol"])
_INSTRUCTION = (
    "a system or developer message is not supported: this model answers tickets and follows no instructions; send the "
    "ticket as the only user message, or set up a webhook (docs/helpdesks.md)"
)


class TextPart(Strict):
    """A part of a message; pictures and sound are not supported."""

    type: Literal["text"]
    text: str = Field(max_length=500_000, pattern=r"\S")


class Message(Strict):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, StringConstraints(pattern=r"\S")] | Annotated[list[TextPart], Field(min_length=1)]


class ResponseFormat(Strict):
    """Text alone for `duet`; `duet-labels` always gives JSON."""

    type: Literal["text", "json_object"]


class Completion(Strict):
    """A request. The last user message is the ticket."""

    model: Literal["duet", "duet-labels"]
    messages: Annotated[list[Message], Field(min_length=1, max_length=100)]
    stream: bool = False
    n: Literal[1] = 1
    response_format: ResponseFormat | None = None
    user: Annotated[str, StringConstraints(max_length=200)] | None = None  # who asks; it changes nothing


def _as_sent(value: Any, _: ValidatorFunctionWrapHandler) -> dict[str, Any]:
    """Leave a request as it is: what it gets wrong is answered with 400, as the protocol has it."""
    if not isinstance(value, dict):
        raise ValueError("expected an object")
    return value


Sent = Annotated[Completion, WrapValidator(_as_sent)]  # described as a Completion, and a dictionary


class ModelEntry(BaseModel):
    """A model."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str


class ModelList(BaseModel):
    """The models."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


@router.get("/models", responses=problems())
def models(request: Request, _caller: Ingest) -> ModelList:
    """List `duet`, which gives the reply, and `duet-labels`, which gives labels as JSON."""
    model = serving(request).model
    names = (REPLY, LABELS) if model.writes else (LABELS,)
    return ModelList(data=[ModelEntry(id=name, owned_by=model.fingerprint) for name in names])


@router.post("/chat/completions", response_class=Response, responses=problems(501, 503))
async def complete(request: Request, body: Sent, _caller: Ingest) -> Response:
    """Answer the last user message as a ticket."""
    server = serving(request)
    completion = _parse(cast(dict[str, Any], body), server)
    ticket = await run_in_threadpool(_ticket, completion)
    if completion.stream and completion.model == REPLY:
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[str | None]()

        def put(piece: str | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)

        pending = await run_in_threadpool(engines(server).submit, ticket, on_token=put)
        pending.add_done_callback(lambda _done: put(None))
        return StreamingResponse(_stream(request, pending, pieces), media_type="text/event-stream")
    pending = await run_in_threadpool(engines(server).submit, ticket, labels_only=completion.model == LABELS)
    answer = await wait_for_answer(request, pending)
    text = _text(answer, completion.model, server)
    if completion.stream:
        events = [_chunk(new_id(), LABELS, {"role": "assistant", "content": text}, None)]
        events += [_chunk(new_id(), LABELS, {}, _WHOLE), "data: [DONE]\n\n"]
        return Response("".join(events), media_type="text/event-stream")
    finish = _finish(answer) if completion.model == REPLY else _WHOLE
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    head = {"id": f"chatcmpl-{new_id()}", "object": "chat.completion", "created": int(time.time())}
    return JSONResponse({**head, "model": completion.model, "choices": [choice]})


def _parse(body: dict[str, Any], server: Serving) -> Completion:
    """Check a request.

    Raises:
        HTTPException: 400 with the first thing that is not supported.
    """
    given = {key: value for key, value in body.items() if value is not None}
    try:
        completion = Completion.model_validate(given)
    except ValueError as error:
        first = error.errors()[0]  # type: ignore[attr-defined]  # pydantic's
        place = ".".join(str(part) for part in first["loc"])
        what = "is not supported" if first["type"] == "extra_forbidden" else first["msg"]
        raise HTTPException(400, f"{place}: {what}".encode("utf-8", "replace").decode()) from None
    if completion.model == REPLY and not server.model.writes:
        raise HTTPException(400, "model: this server has no generator; use duet-labels")
    if completion.model == REPLY and completion.response_format and completion.response_format.type != "text":
        raise HTTPException(400, "response_format: duet writes text; duet-labels gives JSON")
    if any(message.role in ("system", "developer") for message in completion.messages):
        raise HTTPException(400, _INSTRUCTION)
    return completion


def _ticket(completion: Completion) -> Ticket:
    last = completion.messages[-1]
    if last.role != "user":
        raise HTTPException(400, "messages: expected a user message with the ticket at the end")
    parts = [last.content] if isinstance(last.content, str) else [part.text for part in last.content]
    text = "\n".join(parts)
    if len(text) > 500_000:
        raise HTTPException(400, "messages: the ticket is longer than 500,000 characters")
    try:
        found = TicketIn(body=text).to_ticket()
    except ValueError:
        raise HTTPException(400, "messages: holds half a character (a lone surrogate); expected text") from None
    if found is None:
        raise HTTPException(400, f"messages: {EMPTY}")
    return found


def _text(answer: Answer, model: str, server: Serving) -> str:
    if model == REPLY:
        return answer.reply or ""
    said = from_answer(answer, server.model.fingerprint).model_dump(exclude={"reply", "truncated", "reply_cut"})
    return json.dumps(said, ensure_ascii=False)


def _finish(answer: Answer) -> str:
    """Return the protocol's reason for the end of a reply; an empty one is not whole either."""
    return _WHOLE if answer.reply_is_whole else _CUT


async def _stream(request: Request, pending: PendingAnswer, pieces: asyncio.Queue[str | None]) -> AsyncIterator[str]:
    """Yield the events of an answer; `pieces` are those of its reply, with None at the end."""
    name, delta = f"chatcmpl-{new_id()}", {"role": "assistant", "content": ""}
    try:
        yield _chunk(name, REPLY, delta, None)
        while (piece := await pieces.get()) is not None:
            yield _chunk(name, REPLY, {"content": piece}, None)
        answer = await wait_for_answer(request, pending)
        yield _chunk(name, REPLY, {}, _finish(answer))
        yield "data: [DONE]\n\n"
    except HTTPException as error:  # the status has been sent
        yield f"data: {json.dumps({'error': {'message': error.detail}})}\n\n"
    finally:
        pending.cancel()


def _chunk(name: str, model: str, delta: dict[str, str], finish: str | None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    head = {"id": name, "object": "chat.completion.chunk", "created": int(time.time()), "model": model}
    return f"data: {json.dumps({**head, 'choices': [choice]}, ensure_ascii=False)}\n\n"
