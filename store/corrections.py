"""What people confirmed or corrected, as rows that `duet prepare` reads: the next training set."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from store.reviews import valid_reviews
from store.tables import ACCEPT, REJECT

CONFIRMED, CORRECTED = SOURCES = ("confirmed", "corrected")
OWN_OUTPUT_SHARE = 0.2  # of the replies at most: a generator that trains on its own words narrows


def corrections(
    connection: Connection,
    since: float = 0.0,
    source: str | None = None,
    own_output_share: float = OWN_OUTPUT_SHARE,
) -> Iterator[dict[str, Any]]:
    """Yield a row for every ticket whose review holds and gives labels; rejected ones give none.

    Drafts that were accepted as they stood are marked `own_output`. Of them as many keep their reply as make up
    `own_output_share` of all replies; the others give their labels alone. Which ones is fixed by their ids.

    Args:
        since: seconds since 1970; earlier reviews are left out.
        source: `confirmed` or `corrected` alone.
    """
    rows = [dict(row._mapping) for row in connection.execute(valid_reviews()) if row.created_at >= since]
    rows = [row for row in rows if row["action"] != REJECT and source in (None, _source(row))]
    own = sorted((row["ticket_id"] for row in rows if _is_own_output(row)), key=_hash)
    others = sum(1 for row in rows if row["reply"] and not _is_own_output(row))
    room = int(others * own_output_share / (1 - own_output_share)) if own_output_share < 1 else len(own)
    kept = set(own[:room])
    for row in rows:
        yield _to_row(row, keep_reply=not _is_own_output(row) or row["ticket_id"] in kept)


def _to_row(row: Mapping[str, Any], keep_reply: bool) -> dict[str, Any]:
    probability = row["draw_probability"]
    return {
        "id": row["ticket_id"],
        "subject": row["subject"],
        "body": row["body"],
        **row["final"],
        "tags": list(row["tags"]),
        "reply": (row["reply"] or "") if keep_reply else "",
        "language": row["language"],
        "source": _source(row),
        "own_output": _is_own_output(row),
        "reviewer": row["reviewer"],
        "reviewed_at": datetime.fromtimestamp(row["created_at"], UTC).isoformat(timespec="seconds"),
        "model": row["model"],
        "draw": row["draw"],
        "draw_probability": probability,
        "weight": round(1 / probability, 3) if probability else None,
    }


def _source(row: Mapping[str, Any]) -> str:
    return CONFIRMED if row["action"] == ACCEPT else CORRECTED


def _is_own_output(row: Mapping[str, Any]) -> bool:
    return bool(row["reply"]) and row["reply"] == row["draft"]


def _hash(ticket_id: str) -> str:
    return hashlib.sha256(ticket_id.encode()).hexdigest()
