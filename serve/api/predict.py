"""POST /v1/predict: an answer to a ticket that is not kept."""

from fastapi import APIRouter, HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from serve.api.responses import engines, problems, wait_for_answer
from serve.auth import Ingest
from serve.context import serving
from serve.schemas import Answered, PredictIn
from tickets.schema import Answer

EMPTY = "the ticket is empty; expected text in subject or body"
router = APIRouter(prefix="/v1", tags=["answers"])


@router.post("/predict", responses=problems(501, 503))
async def predict(request: Request, ticket: PredictIn, _caller: Ingest) -> Answered:
    """Label a ticket and write a reply to it. Nothing is stored."""
    server = serving(request)
    found = await run_in_threadpool(ticket.to_ticket)
    if found is None:
        raise HTTPException(422, EMPTY)
    pending = await run_in_threadpool(engines(server).submit, found, labels_only=ticket.labels_only)
    return from_answer(await wait_for_answer(request, pending), server.model.fingerprint)


def from_answer(answer: Answer, model: str) -> Answered:
    """Return an answer as the API shows it."""
    said = answer.prediction
    return Answered(
        labels=dict(said.labels),
        confidence={column: round(value, 5) for column, value in said.confidence.items()},
        tags=list(said.tags),
        reply=answer.reply,
        apply=dict(answer.apply),
        masked=list(answer.masked),
        needs_review=answer.needs_review,
        truncated=answer.truncated,
        reply_cut=answer.reply_cut,
        model=model,
    )
