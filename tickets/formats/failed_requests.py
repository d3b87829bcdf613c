"""Answers of failed requests: what a server says instead of tickets, saved as if it were an export."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_NAMES = re.compile(r"\S+")
_ERRORS = frozenset(
    _NAMES.findall("error errors fault exception errormessage errormessages errordescription errorcode errorhuman")
)
_TEXTS = ("message", "msg", "faultstring", "detail", "details", "title", "description", "reason", "text")
_NUMBERS = frozenset(("status", "statuscode", "code", "httpcode", "httpstatus", "errorcode", "responsecode"))
_BESIDE = frozenset(
    _NAMES.findall(
        "timestamp path success ok result data help type instance traceid requestid documentationurl correlationid "
        "category logref embedded links context subcategory policyname meta jsonapi extensions "
        "innererror reasonphrase name"
    )
)
_STATED = frozenset(_NAMES.findall("error failure failed fail false unauthorized forbidden notfound badrequest"))
_CODE = re.compile(r"[A-Za-z]+(?:[_.-][A-Za-z]+)+")  # invalid_credentials
_PHRASE = re.compile(
    r"(?:(?:http )?[45]\d\d:? ?-? ?)?(?:unauthori[sz]ed|forbidden|(?:page |resource )?not found"
    r"|bad (?:credentials|request|gateway)|(?:internal )?server error"
    r"|service unavailable|gateway timeout|too many requests|access denied"
    r"|(?:request )?unauthenticated|(?:api )?rate limit exceeded.*|authentication (?:is )?required"
    r"|missing authentication token|authentication credentials were not provided"
    r"|(?:invalid|expired) (?:api )?(?:token|key|credentials|session))[.!]?",
    re.I | re.S,
)
_LONGEST = 200
_MOST_PARTS = 12
_OF_TICKETS = frozenset(("title", "category", "name", "text"))


def failure_of(value: object) -> str:
    """Return what a server says of a request that failed; empty for any other value."""
    if not isinstance(value, Mapping) or not 0 < len(value) <= _MOST_PARTS:
        return ""
    parts = {_plain(name): content for name, content in value.items()}
    if not parts.keys() <= _ERRORS | _NUMBERS | _BESIDE | set(_TEXTS):
        return ""
    stated = {name for name in _NUMBERS & parts.keys() if _means_failure(name, parts)}
    named = any(parts.get(name) for name in _ERRORS)
    if not (named or stated or "documentationurl" in parts or _is_phrase(parts)):
        return ""
    if not stated and (parts.get("status") or not _OF_TICKETS.isdisjoint(parts)):
        return ""
    if any(parts.get(name) for name in ("data", "result")):
        return ""
    if not stated and "error" not in str(parts.get("type", "error")).lower():
        return ""
    return " ".join(next(_texts(value), "it gives no reason").split())[:_LONGEST].rstrip(".")


def _texts(value: object) -> Iterator[str]:
    """Yield the messages of an answer, the best first: those in its errors, its own, then whatever else it says."""
    if isinstance(value, str) and value.strip():
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, Mapping):
        parts = {_plain(name): content for name, content in value.items()}
        for name in (*_TEXTS, *sorted(_ERRORS), "code", "status"):
            yield from _texts(parts.get(name))
        yield from (
            text for content in value.values() if isinstance(content, (Mapping, list)) for text in _texts(content)
        )


def _is_phrase(parts: Mapping[str, Any]) -> bool:
    """Return whether an object says nothing but `Not found` or the like."""
    texts = [str(parts[name]).strip() for name in _TEXTS if parts.get(name)]
    return bool(texts) and all(_PHRASE.fullmatch(text) for text in texts)


def _means_failure(name: str, parts: Mapping[str, Any]) -> bool:
    """Return whether a status or code is that of a failure; a code beside no message may be a ticket's own."""
    value, is_code = parts[name], name.endswith("code") and name != "statuscode"
    if is_code and not parts.get("message"):
        return False
    if _is_number(value):
        return 400 <= int(str(value)) < 600
    return _plain(value) in _STATED or (is_code and _CODE.fullmatch(str(value)) is not None)


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and re.fullmatch(r"\d{1,6}", str(value)) is not None


def _plain(name: object) -> str:
    return re.sub(r"[_\s.-]", "", str(name)).lower()
