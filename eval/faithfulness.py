"""Whether a reply speaks of this ticket: does it repeat the product, number or date that its reference repeats?"""

import re
from collections.abc import Sequence

from tickets.schema import Ticket

_NUMBER = re.compile(r"\b(?:[A-Z]{1,4}-)?\d[\d.:,]*\d\b|\b\d\b")
_NAME = re.compile(r"(?<![.!?:\n] )(?<!\n)(?<!^)\b[A-Z][\w-]*[A-Za-z0-9](?: (?:[A-Z][\w-]*|\d+))*")


def own_facts_kept(tickets: Sequence[Ticket], replies: Sequence[str]) -> dict[str, float]:
    """Of the names and numbers that a ticket and its true reply share, the share that the generated reply has too.

    Names are capitalised words inside a sentence that stand in the ticket and in its true reply: product names, mostly.
    """
    shares = {}
    for kind, pattern in (("names", _NAME), ("numbers", _NUMBER)):
        kept = total = 0
        for ticket, reply in zip(tickets, replies, strict=True):
            own = {fact for fact in pattern.findall(ticket.reply) if fact in ticket.text}
            kept += sum(fact in reply for fact in own)
            total += len(own)
        if total:
            shares[f"own {kind} kept ({total})"] = kept / total
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
