"""What the names and values of fields say of who sees a message, in the words of many helpdesks and eight languages."""

import re
from functools import lru_cache

from tickets.cell_text import bare

_INTERNAL = (
    r"internal|private|confidential|intern|interno|interne?s?|privat|privado|privato|privé|wewnętrzn[ya]|prywatn[ya]"
)
_PUBLIC = r"public|external|extern|öffentlich|publique|público|pubblico|publiczn[ya]|openbaar|publiek"
_THING = r"(?:only|flag|note|comment|message|reply|post|entry|notiz|kommentar)?"
_READER = r"(?:customer|requester|enduser|client|portal|caller|contact|user|selfservice|kunden?)s?(?:portal)?"
_SEEN = r"visible|viewable|shown?|displayed|sichtbar"
_INTERNAL_FLAG = re.compile(rf"(?:is)?(?:(?:{_INTERNAL}){_THING}|(?:hidden|invisible)(?:from|to|for)(?:the)?{_READER})")
_PUBLIC_FLAG = re.compile(
    rf"ispublished|(?:is)?(?:(?:{_PUBLIC}){_THING}|(?:{_SEEN})(?:to|for|on|in|für)?(?:the)?{_READER}|{_READER}(?:{_SEEN}|facing))"
)
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-zà-ÿ])(?=[A-Z])")
_MOST_WORDS = 6
_INTERNAL_WORDS = re.compile(
    rf"{_INTERNAL}|restricted|hidden|invisible|not|nicht|agents?|staff|team|technicians?|employees?|mitarbeiter|"
    "vertraulich|interner|privée|interna|privada|privata"
)
_PUBLIC_WORDS = re.compile(rf"{_PUBLIC}|öffentliche[rs]?|externe[rs]?|pública|pubblica")
_READER_WORDS = re.compile(rf"{_READER}|everyone|everybody|all|alle|kund(?:e|en|in)|clientes?|cliente|klant|klient")


@lru_cache(maxsize=10_000)
def flag_meaning(name: str) -> bool | None:
    """Return whether a flag of this plain name says that a message is public (True) or internal; None for others."""
    if _INTERNAL_FLAG.fullmatch(name):
        return False
    return True if _PUBLIC_FLAG.fullmatch(name) else None


@lru_cache(maxsize=10_000)
def audience_of(value: str) -> bool | None:
    """Return whether the value of a field such as `visibility` names the requester, or only support."""
    said = _words(value)
    if any(map(_INTERNAL_WORDS.fullmatch, said)):
        return False
    return True if any(_PUBLIC_WORDS.fullmatch(word) or _READER_WORDS.fullmatch(word) for word in said) else None


@lru_cache(maxsize=10_000)
def audience_of_kind(value: str) -> bool | None:
    """Return whether a kind of message, or the name of a list of them, is public or internal by its words."""
    said = _words(value)
    if any(re.fullmatch(rf"{_INTERNAL}|interner|work|team", word) for word in said):
        return False
    return True if any(map(_PUBLIC_WORDS.fullmatch, said)) else None


def _words(value: str) -> list[str]:
    words = [bare(word) for word in _WORD.findall(_CAMEL.sub(" ", value))]
    return words if len(words) <= _MOST_WORDS else []
