"""Keys and passwords in what others say, such as servers that quote them, are taken out before anybody reads it."""

import json
import re
from collections.abc import Sequence
from urllib.parse import quote

_INSTEAD = "[key]"
_SHORTEST = 4  # characters of a secret that is taken out of words, too


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """Return a text without these secrets, also where they are written as JSON, Python or URLs write them."""
    return _without(text, _forms(secrets))


class SecretFilter:
    """Takes secrets out of a text that arrives in pieces; a piece that may begin a secret waits for the next one."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._forms = _forms(secrets)
        self._waiting = ""

    def start_over(self) -> None:
        """Drop what waits."""
        self._waiting = ""

    def take(self, piece: str, is_last: bool) -> str:
        """Return what is known to hold no secret, of this piece and those before it."""
        text = _without(self._waiting + piece, self._forms)
        kept = 0 if is_last else self._begun(text)
        self._waiting = text[len(text) - kept :]
        return text[: len(text) - kept]

    def _begun(self, text: str) -> int:
        """Return how many characters at the end of a text may be the beginning of a secret."""
        if not self._forms:
            return 0
        end = text[-len(self._forms[0]) :].lower()
        starts = (len(end) - place for place in range(len(end)))
        return next((n for n in starts if any(form.lower().startswith(end[-n:]) for form in self._forms)), 0)


def _forms(secrets: Sequence[str]) -> list[str]:
    """Return the ways to write secrets, the longest first: one may be a part of another."""
    forms = {form for s in secrets if s for form in (s, json.dumps(s)[1:-1], repr(s)[1:-1], quote(s, safe=""))}
    return sorted(forms, key=len, reverse=True)


def _without(text: str, forms: Sequence[str]) -> str:
    return re.sub("|".join(map(_pattern, forms)), _INSTEAD, text, flags=re.IGNORECASE) if forms else text


def _pattern(form: str) -> str:
    """Return a regular expression for a secret; a short one counts only as a word of its own: it is in many others."""
    pattern = re.escape(form)
    return pattern if len(form) >= _SHORTEST else rf"(?<!\w){pattern}(?!\w)"
