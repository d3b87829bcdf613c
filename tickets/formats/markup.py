"""Web pages and XML under the name of a table: what some helpdesks call an Excel export."""

import re
from pathlib import Path

from tickets.errors import InputError

_KINDS = (
    (rb"<!doctype html|<(?:html|table|head|body|meta)\b", "a web page"),
    (rb"(?:<\?xml[^>]*>\s*)?(?:<\?mso[^>]*>\s*)?<(?:\w+:)?workbook\b", "an XML spreadsheet"),
    (rb"<\?xml|<rss\b", "XML"),
)
_START = 2_000


def refuse_markup(path: Path) -> None:
    """Refuse a file that begins as a web page or as XML.

    Raises:
        InputError: it does; the message says what helps.
    """
    with path.open("rb") as file:
        start = file.read(_START).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    kind = next((kind for pattern, kind in _KINDS if re.match(pattern, start)), None)
    if kind:
        raise InputError(
            f"{path}: found {kind}, expected a table with tickets; open it in a spreadsheet program and save it as "
            ".xlsx or CSV, or export the tickets as JSON or CSV"
        )
