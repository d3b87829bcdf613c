"""Keys and passwords in what others say, such as servers that quote them, are taken out before anybody reads it."""

import json
import re
from collections.abc import Sequence
from urllib.parse import quote

_INSTEAD = "[key]"


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """Return a text without these secrets, also where they are written as JSON, Python or URLs write them."""
    forms = {form for s in secrets if s for form in (s, json.dumps(s)[1:-1], repr(s)[1:-1], quote(s, safe=""))}
    if not forms:
        return text
    longest_first = sorted(map(re.escape, forms), key=len, reverse=True)  # one may be a part of another
    return re.sub("|".join(longest_first), _INSTEAD, text, flags=re.IGNORECASE)
