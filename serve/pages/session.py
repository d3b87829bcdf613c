"""Signing in with a token, and who is signed in."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Form, HTTPException
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from serve.auth import COOKIE, check_form
from serve.context import serving
from serve.pages.language import local_path
from serve.pages.view import render
from store.incoming import without_nul
from store.tables import REVIEW
from store.tokens import Identity, find_token

router = APIRouter(include_in_schema=False)
_SECONDS = 12 * 3600  # a working day


class SignInFirst(Exception):
    """Nobody is signed in."""


def signed_in(request: Request) -> Identity:
    """Return who is signed in and may review.

    Raises:
        SignInFirst: nobody.
    """
    token = request.cookies.get(COOKIE)
    identity = find_token(serving(request).database, token) if token else None
    if identity is None or not identity.may(REVIEW):
        raise SignInFirst
    return identity


async def read_form(request: Request) -> FormData:
    """Return what a form holds.

    Raises:
        HTTPException: 400, it is in a charset that is no text.
    """
    try:
        return await request.form(max_fields=1_000)
    except ValueError:  # of the codec; UnicodeError is one
        raise HTTPException(400, "The form is in a charset that cannot be read; expected UTF-8.") from None


Person = Annotated[Identity, Depends(signed_in)]


async def sent_by(request: Request) -> Identity:
    """Return who sent a form, and check that it was sent from one of our pages."""
    identity = await run_in_threadpool(signed_in, request)  # it may wait for the store
    form = await read_form(request)
    check_form(request.cookies.get(COOKIE, ""), str(form.get("form_token", "")))
    return identity


Sender = Annotated[Identity, Depends(sent_by)]


def sign_in_first(request: Request, _error: Exception) -> Response:
    """Send somebody who is not signed in to the sign-in page, and back afterwards."""
    target = request.url.path if request.method == "GET" else "/review"
    return RedirectResponse(f"/login?to={quote(target)}", 303)


@router.get("/login")
def sign_in_page(request: Request, to: str = "/review") -> Response:
    """Show the sign-in page."""
    return render(request, "login.html", None, to=to, failed=False)


@router.post("/login")
def sign_in(request: Request, token: Annotated[str, Form()] = "", to: Annotated[str, Form()] = "/review") -> Response:
    """Keep the token in a cookie where it is valid and allows to review."""
    to = without_nul(to)
    identity = find_token(serving(request).database, token.strip())
    if identity is None or not identity.may(REVIEW):
        return render(request, "login.html", None, 403, to=to, failed=True)
    response = RedirectResponse(local_path(to), 303)
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token.strip(), _SECONDS, httponly=True, samesite="strict", secure=secure)
    return response


@router.post("/logout")
def sign_out(_request: Request, _who: Sender) -> Response:
    """Forget the token."""
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response


def page_problem(request: Request, status: int, detail: str) -> Response:
    """Show an error of a page as a page."""
    return render(request, "problem.html", None, status, detail=detail)
