"""Whether a reply speaks of this ticket: does it repeat the product, number or date that its reference repeats?"""

import re
from collections.abc import Sequence

from tickets.schema import Ticket

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|Mär|Mai|Okt|Dez)[a-z]*"
_PATTERNS = {
    # capitalised words inside a sentence that stand in the ticket and in its true reply: product names, mostly
    "names": re.compile(r"(?<![.!?:\n] )(?<!\n)(?<!^)\b[A-Z][\w-]*[A-Za-z0-9](?: (?:[A-Z][\w-]*|\d+))*"),
    "numbers": re.compile(r"\b(?:[A-Z]{1,4}-)?\d[\d.:,]*\d\b|\b\d\b"),
    "dates": re.compile(
        rf"\b(?:\d{{4}}-\d\d-\d\d|\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}|\d{{1,2}}\.? {_MONTH}|{_MONTH} \d{{1,2}})\b"
    ),
}


def shared_facts(ticket: Ticket, reply: str) -> dict[str, float]:
    """By kind: of the facts that a ticket and its true reply share, the share that `reply` has; NaN without any."""
    shares = {}
    for kind in _PATTERNS:
        kept, total = _kept(kind, ticket, reply)
        shares[kind] = kept / total if total else float("nan")
    return shares


def own_facts_kept(tickets: Sequence[Ticket], replies: Sequence[str]) -> dict[str, float]:
    """Of the names and numbers that tickets and their true replies share, the share that the written replies have."""
    shares = {}
    for kind in ("names", "numbers"):
        counts = [_kept(kind, ticket, reply) for ticket, reply in zip(tickets, replies, strict=True)]
        total = sum(total for _, total in counts)
        if total:
            shares[f"own {kind} kept ({total})"] = sum(kept for kept, _ in counts) / total
    return shares


def names_product(tickets: Sequence[Ticket], replies: Sequence[str], products: Sequence[str]) -> float:
    """Share of replies that name the product their ticket names, over tickets that name exactly one."""
    hits = total = 0
    for ticket, reply in zip(tickets, replies, strict=True):
        named = [product for product in products if product in ticket.text]
        if len(named) == 1:
            total += 1
            hits += named[0] in reply
    return hits / total if total else 0.0


def _kept(kind: str, ticket: Ticket, reply: str) -> tuple[int, int]:
    own = {fact for fact in _PATTERNS[kind].findall(ticket.reply) if fact in ticket.text}
    return sum(fact in reply for fact in own), len(own)
