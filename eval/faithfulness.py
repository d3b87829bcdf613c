"""Whether a reply speaks of this ticket: does it repeat the product, number or date that its reference repeats?"""

import re
from collections.abc import Sequence

from tickets.schema import Ticket

_MONTHS = (
    "January|February|March|April|May|June|July|August|September|October|November|December|"
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec|"
    "Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember"
)
_PATTERNS = {
    # capitalised words inside a sentence that stand in the ticket and in its true reply: product names, mostly
    "names": re.compile(r"(?<![.!?:\n] )(?<!\n)(?<!^)\b[A-Z][\w-]*[A-Za-z0-9](?: (?:[A-Z][\w-]*|\d+))*"),
    "numbers": re.compile(r"\b(?:[A-Z]{1,4}-)?\d[\d.:,]*\d\b|\b\d\b"),
    "dates": re.compile(
        rf"\b(?:\d{{4}}-\d\d-\d\d|\d{{1,2}}[./]\d{{1,2}}[./]\d{{2,4}}|\d{{1,2}}(?:st|nd|rd|th|\.)? (?:{_MONTHS})\b|"
        rf"(?:{_MONTHS}) \d{{1,2}}\b)"
    ),
}


def shared_facts(ticket: Ticket, reply: str) -> dict[str, float]:
    """Return by kind: of the facts that a ticket and its true reply share, the share that `reply` has; NaN without any.

    In German every noun is capitalised, so names are not counted there.
    """
    shares = {}
    for kind in _PATTERNS:
        kept, total = _kept(kind, ticket, reply)
        judged = total and not (kind == "names" and ticket.language.lower().startswith("de"))
        shares[kind] = kept / total if judged else float("nan")
    return shares


def names_own_fact(ticket: Ticket, reply: str) -> float:
    """Return 1 where the reply repeats a name, number or date of its ticket, else 0; NaN where the ticket has none."""
    kinds = [kind for kind in _PATTERNS if kind != "names" or not ticket.language.lower().startswith("de")]
    own = {(kind, fact) for kind in kinds for fact in _PATTERNS[kind].findall(ticket.text)}
    return float(any(_stands_in(kind, fact, reply) for kind, fact in own)) if own else float("nan")


def own_facts_kept(tickets: Sequence[Ticket], replies: Sequence[str]) -> dict[str, float]:
    """Return how many of the names and numbers that tickets and true replies share the written replies have, 0 to 1."""
    shares = {}
    for kind in ("names", "numbers"):
        counts = [_kept(kind, ticket, reply) for ticket, reply in zip(tickets, replies, strict=True)]
        total = sum(total for _, total in counts)
        if total:
            shares[f"own {kind} kept ({total})"] = sum(kept for kept, _ in counts) / total
    return shares


def names_product(tickets: Sequence[Ticket], replies: Sequence[str], products: Sequence[str]) -> float:
    """Return the share of replies that name the product their ticket names, over tickets that name exactly one."""
    hits = total = 0
    for ticket, reply in zip(tickets, replies, strict=True):
        named = [product for product in products if product in ticket.text]
        if len(named) == 1:
            total += 1
            hits += named[0] in reply
    return hits / total if total else 0.0


def names_other_product(tickets: Sequence[Ticket], replies: Sequence[str], products: Sequence[str]) -> float:
    """Return the share of replies that name a product of the list which their ticket does not name."""
    wrong = [
        any(product in reply and product not in ticket.text for product in products)
        for ticket, reply in zip(tickets, replies, strict=True)
    ]
    return sum(wrong) / len(wrong) if wrong else 0.0


def states_unknown_fact(tickets: Sequence[Ticket], replies: Sequence[str]) -> float:
    """Return the share of replies with a number, code or date that their ticket does not have."""
    wrong = [
        any(
            not _stands_in(kind, fact, ticket.text)
            for kind in ("numbers", "dates")
            for fact in _PATTERNS[kind].findall(reply)
        )
        for ticket, reply in zip(tickets, replies, strict=True)
    ]
    return sum(wrong) / len(wrong) if wrong else 0.0


def _kept(kind: str, ticket: Ticket, reply: str) -> tuple[int, int]:
    own = {fact for fact in _PATTERNS[kind].findall(ticket.reply) if _stands_in(kind, fact, ticket.text)}
    return sum(_stands_in(kind, fact, reply) for fact in own), len(own)


def _stands_in(kind: str, fact: str, text: str) -> bool:
    """Return whether a text has a name; it may stand inside a longer one, but the 5 of 2025 is not a 5."""
    return fact in text if kind == "names" else fact in _PATTERNS[kind].findall(text)
