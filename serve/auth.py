"""Who is asking: a bearer token for programs, a session cookie for people, and what each may do."""

import hashlib
import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from serve.context import serving
from store.tables import ADMIN, INGEST, REVIEW
from store.tokens import Identity, find_token

COOKIE = "duet_session"  # holds the token: HttpOnly, SameSite=Strict
_bearer = HTTPBearer(auto_error=False, description="A token of `duet serve token add`.")


def requires(role: str) -> Callable[..., Identity]:
    """Return a dependency that gives the caller's identity: 401 without a valid token, 403 without the rights."""

    def check(
        request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
    ) -> Identity:
        identity = find_token(serving(request).database, credentials.credentials) if credentials else None
        if identity is None:
            raise HTTPException(
                401, "expected a valid token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"}
            )
        if not identity.may(role):
            raise HTTPException(403, f"the token {identity.name!r} has the role {identity.role}; expected {role}")
        return identity

    return check


Ingest = Annotated[Identity, Depends(requires(INGEST))]
Reviewer = Annotated[Identity, Depends(requires(REVIEW))]
Admin = Annotated[Identity, Depends(requires(ADMIN))]


def form_token(session: str) -> str:
    """Return what the forms of a session carry, so that no other site can send them."""
    return hmac.new(session.encode("utf-8", "surrogatepass"), b"duet form", hashlib.sha256).hexdigest()


def check_form(session: str, given: str) -> None:
    """Raise HTTPException 403 where a form was not sent from a page of this session."""
    if not hmac.compare_digest(form_token(session).encode(), given.encode("utf-8", "replace")):
        raise HTTPException(403, "the form is of another session; go back, reload the page and send it again")
