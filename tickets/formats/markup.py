"""Web pages and XML under the name of a table: what some helpdesks call an Excel export."""

import re
from pathlib import Path

from tickets.errors import InputError

_KINDS = (
    (rb"<!doctype html|<(?:html|table|head|body|meta)\b", "a web page"),
    (rb"(?:<\?xml[^>]*>\s*)?(?:<\?mso[^>]*>\s*)?<(?:\w+:)?workbook\b", "an XML spreadsheet"),
    (rb"<\?xml|<rss\b", "XML"),
)
_START = 1 << 16
_COMMENTS = re.compile(rb"(?:\s*<!--.*?-->)+\s*", re.S)
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.I)
_TABLE, _LOGIN = b"<table", re.compile(rb"type\s*=\s*[\"']?password", re.I)


def refuse_markup(path: Path) -> None:
    """Refuse a file that begins as a web page or as XML.

    Raises:
        InputError: it does; the message says what helps.
    """
    with path.open("rb") as file:
        content = file.read(_START).lstrip(b"\xef\xbb\xbf \t\r\n")
    start = (_COMMENTS.sub(b"", content, count=1) if content.startswith(b"<!--") else content).lower()
    if re.match(_KINDS[0][0], start) and (_TABLE not in start or _LOGIN.search(start)):
        title = _TITLE.search(content)
        named = f" ({' '.join(title[1].decode('utf-8', 'replace').split())!r})" if title else ""
        raise InputError(
            f"{path}: found a web page{named} without a table of tickets, which a server sends when a login or a "
            "request fails; expected tickets; log in and export again"
        )
    kind = next((kind for pattern, kind in _KINDS if re.match(pattern, start)), None)
    if kind:
        raise InputError(
            f"{path}: found {kind}, expected a table with tickets; open it in a spreadsheet program and save it as "
            ".xlsx or CSV, or export the tickets as JSON or CSV"
        )
