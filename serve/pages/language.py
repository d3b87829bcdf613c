"""The language of the pages: German where a person chose it or the browser asks for it, else English."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Annotated

import yaml
from fastapi import APIRouter, Form
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

ENGLISH, GERMAN = LANGUAGES = ("en", "de")
NAMES = {ENGLISH: "English", GERMAN: "Deutsch"}
_COOKIE, _SECONDS = "duet_language", 365 * 24 * 3600
router = APIRouter(include_in_schema=False)


@cache
def texts(language: str) -> Mapping[str, str]:
    """Return the texts of a language by their English; what is missing stays English."""
    if language == ENGLISH:
        return {}
    source = (resources.files("serve.pages") / "german.yaml").read_text(encoding="utf-8")
    return {str(english): str(text) for english, text in yaml.safe_load(source).items()}


def language_of(request: Request) -> str:
    """Return the language that a person chose; else the first known one that the browser asks for."""
    chosen = request.cookies.get(_COOKIE)
    if chosen in LANGUAGES:
        return str(chosen)
    asked = (part.split(";")[0].strip()[:2].lower() for part in request.headers.get("accept-language", "").split(","))
    return next((language for language in asked if language in LANGUAGES), ENGLISH)


def local_path(path: str) -> str:
    """Return a path of this server; the review page in place of an address elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/review"


@router.post("/language")
def choose_language(language: Annotated[str, Form()] = "", to: Annotated[str, Form()] = "/review") -> Response:
    """Remember a language for a year and go back."""
    response = RedirectResponse(local_path(to), 303)
    if language in LANGUAGES:
        response.set_cookie(_COOKIE, language, _SECONDS, httponly=True, samesite="strict")
    return response
