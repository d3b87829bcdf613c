"""Kinds of private data and the placeholders that stand for them; most are those of the public data set."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

PLACEHOLDERS = {
    "url": "<url>",  # with a token or password in it
    "token": "<token>",  # a JSON Web Token
    "email": "<email>",
    "iban": "<acc_num>",
    "card": "<card_num>",
    "ip": "<ip_addr>",
    "phone": "<tel_num>",
    "name": "<name>",
    "address": "<address>",
    "company": "<organization>",
}


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of a text, which are of `kind`."""

    start: int
    end: int
    kind: str


def without_overlaps(spans: Iterable[Span]) -> list[Span]:
    """Return the spans in order of their place; of those that overlap the longest stays."""
    kept: list[Span] = []
    add_spans(kept, sorted(spans, key=lambda span: span.start - span.end))
    return kept


def add_spans(kept: list[Span], spans: Iterable[Span]) -> None:
    """Add spans to those that are `kept`, in order of their place, unless they overlap one that is there."""
    for span in spans:
        place = bisect_right(kept, span.start, key=lambda other: other.start)
        free = (not place or kept[place - 1].end <= span.start) and (
            place == len(kept) or span.end <= kept[place].start
        )
        if free:
            kept.insert(place, span)
