"""Messages of a conversation by the date they were sent, whatever order and notation the export has."""

import re
from collections.abc import Iterable, Sequence

import numpy as np

from tickets.conversations.messages import Message
from tickets.dates import timestamps
from tickets.errors import InputError

_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?)?Z?")
_NUMERIC = re.compile(r"\s*(\d{1,2})([./-])(\d{1,2})\2\d{2,4}\b")
_HINTS = {True: "31/01/2024", False: "01/31/2024"}


def day_comes_first(dates: Iterable[str]) -> bool | None:
    """Return whether 03/04/2024 is in April, by all dates of a source; None where they do not tell or disagree."""
    found = {first for date in dates if (first := _day_first(date)) is not None}
    return found.pop() if len(found) == 1 else None


def in_order(messages: Sequence[Message], day_first: bool | None) -> list[Message] | None:
    """Return the messages, oldest first. Without all dates they stay as they are. None if dates have two meanings."""
    if len({message.sent for message in messages}) < 2 or not all(message.sent for message in messages):
        return list(messages)
    dates = [message.sent for message in messages]
    if all(_ISO.fullmatch(date) for date in dates) and len({len(date) for date in dates}) == 1:
        return _sorted(messages, dates)
    orders = [order for meaning in (True, False) if (order := _moments(dates, meaning)) is not None]
    if day_first is not None and (told := _moments(dates, day_first)) is not None:
        orders = [told]
    if not orders:
        return list(messages)
    found = [_sorted(messages, order) for order in orders]
    return found[0] if all(order == found[0] for order in found) else None


def _moments(dates: Sequence[str], day_first: bool) -> list[float] | None:
    """Return the seconds of every date if the day comes first, or second; None where one cannot be read so."""
    try:
        moments = timestamps([*dates, _HINTS[day_first]])[:-1]
    except InputError:
        return None
    return None if np.isnan(moments).any() else moments.tolist()


def _sorted(messages: Sequence[Message], keys: Sequence[str] | Sequence[float]) -> list[Message]:
    """Sort by key; of those that share one, the order stays, or turns where the newest comes first."""
    places = list(range(len(messages)))
    if keys[0] > keys[-1]:  # type: ignore[operator]
        places.reverse()
    return [messages[place] for place in sorted(places, key=lambda place: keys[place])]


def _day_first(date: str) -> bool | None:
    match = _NUMERIC.match(date)
    if not match:
        return None
    if match[2] == "." or int(match[1]) > 12:
        return True
    return False if int(match[3]) > 12 else None
