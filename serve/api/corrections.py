"""GET /v1/corrections.FORMAT: what people confirmed or corrected, ready for `duet prepare`."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BeforeValidator
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from serve.api.responses import problems
from serve.auth import Admin
from serve.context import serving
from store.corrections import OWN_OUTPUT_SHARE, corrections
from tickets.cell_text import as_text, without_formula

router = APIRouter(prefix="/v1", tags=["review"])
Format = Literal["csv", "jsonl", "parquet"]
_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson", "parquet": "application/vnd.apache.parquet"}


def _no_number(value: Any) -> Any:
    """Refuse the seconds since 1970 that pydantic would take: 2026 is no moment."""
    if isinstance(value, str) and value.strip().lstrip("+-").replace(".", "", 1).isdigit():
        raise ValueError("expected a date such as 2026-11-26 or 2026-11-26T08:00:00Z")
    return value


Moment = Annotated[datetime, BeforeValidator(_no_number)]


@router.get("/corrections.{form}", response_class=Response, responses=problems())
def export_corrections(
    request: Request,
    form: Format,
    _caller: Admin,
    since: Annotated[Moment | None, Query(description="Reviews from then on, ISO 8601.")] = None,
    source: Literal["confirmed", "corrected"] | None = None,
    own_output_share: Annotated[float, Query(ge=0, le=1, description="Of unedited drafts among replies.")] = (
        OWN_OUTPUT_SHARE
    ),
) -> Response:
    """Give a row for every ticket that a person saw: `confirmed` as the model said it, or `corrected`."""
    try:
        start = (since if since is None or since.tzinfo else since.replace(tzinfo=UTC)).timestamp() if since else 0.0
    except (OverflowError, ValueError):
        raise HTTPException(422, "since: expected a date after 1970") from None
    with serving(request).database.read() as connection:
        rows = list(corrections(connection, start, source, own_output_share))
    headers = {"Content-Disposition": f'attachment; filename="corrections.{form}"'}
    if form == "parquet":
        return Response(_parquet(rows), media_type=_TYPES[form], headers=headers)
    lines = _csv(rows) if form == "csv" else (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return StreamingResponse(lines, media_type=_TYPES[form], headers=headers)


def _csv(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the rows as CSV for spreadsheets, no cell a formula; tags as a JSON list in their cell."""
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["id", "subject", "body", "reply"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for cells in (columns, *([as_text(row.get(name)) for name in columns] for row in rows)):
        writer.writerow([without_formula(cell) for cell in cells])
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: [row.get(name) for row in rows] for name in columns})
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()
