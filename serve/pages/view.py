"""The pages' templates, and what every page is given."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from serve.auth import COOKIE, form_token
from serve.context import serving
from serve.pages.language import ENGLISH, LANGUAGES, NAMES, language_of, texts
from store.reviews import open_cards
from store.tokens import Identity
from tickets.terminal import escape_controls

CONTENT_SECURITY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Accept-Language, Cookie",
}
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def _editable(text: str) -> Markup:
    """Return the text of a field, which gives it back unchanged; marks that turn its direction have no effect."""
    return Markup(_DIRECTION.sub(lambda mark: f"&#{ord(mark[0])};", str(escape(text))))


def _environment(language: str) -> jinja2.Environment:
    own = texts(language)

    def translated(text: str, **values: Any) -> Markup:
        return Markup(escape(own.get(text, text))).format(**values)  # which escapes the values

    loader = jinja2.FunctionLoader(
        lambda name: (resources.files("serve.pages") / "templates" / name).read_text(encoding="utf-8")
    )
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    percent = "%" if language == ENGLISH else "\N{NO-BREAK SPACE}%"
    environment.globals |= {"_": translated, "language": language, "languages": NAMES}
    environment.filters["translated"] = lambda text: own.get(text, text)  # of a text that is not ours, itself
    environment.filters["percent"] = lambda value: "–" if value is None else f"{value * 100:.0f}{percent}"
    environment.filters["day"] = lambda value: datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M")
    # characters that turn the direction of the text around would let a ticket write over the page
    environment.filters["visible"] = escape_controls
    environment.filters["editable"] = _editable
    return environment


_ENVIRONMENTS = {language: _environment(language) for language in LANGUAGES}


def render(
    request: Request, template: str, who: Identity | None, http_status: int = 200, **values: Any
) -> HTMLResponse:
    """Return a page."""
    server = serving(request)
    common: Mapping[str, Any] = {
        "who": who,
        "form_token": form_token(request.cookies.get(COOKIE, "")),
        "model": server.model,
        "single_keys": server.single_keys,
        "path": request.url.path,
        "to_review": _to_review(request) if who else 0,
    }
    text = _ENVIRONMENTS[language_of(request)].get_template(template).render(**common, **values)
    return HTMLResponse(text, http_status, HEADERS)


def _to_review(request: Request) -> int:
    with serving(request).database.read() as connection:
        return open_cards(connection)
