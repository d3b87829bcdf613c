"""What a server says of a failed request is no ticket; a source without tickets says what is true of its format."""

import json
from pathlib import Path
from typing import Any

import pytest

from tickets.errors import InputError
from tickets.preparation.rows import Source

TICKET = {"id": 1, "subject": "Printer", "description": "It does not print"}


def opened(tmp_path: Path, value: Any, name: str = "t.json") -> Source:
    path = tmp_path / name
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return Source.open(str(path))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": "Unauthorized", "message": "Token expired", "status": 401}, "Token expired"),
        ({"errors": [{"message": "Bad", "code": 1}], "data": None}, "Bad"),
        ({"fault": {"faultstring": "Invalid key", "detail": {"errorcode": "x"}}}, "Invalid key"),
        ({"message": "Not Found", "documentation_url": "here"}, "Not Found"),
        ({"error": "Couldn't authenticate you"}, "Couldn't authenticate you"),
        ({"error": {"title": "Invalid", "message": "no such view"}}, "no such view"),
        ({"error": "RecordNotFound", "description": "Not found"}, "Not found"),
        ({"errorMessages": ["Issue does not exist"], "errors": {}}, "Issue does not exist"),
        ({"error": {"message": "User Not Authenticated"}, "status": "failure"}, "User Not Authenticated"),
        ({"code": "invalid_credentials", "message": "You have to be logged in"}, "You have to be logged in"),
        (
            {"description": "Validation failed", "errors": [{"field": "page", "message": "must be"}]},
            "Validation failed",
        ),
        ({"type": "about:blank", "title": "Unauthorized", "status": 401, "detail": "no key"}, "no key"),
        ([{"message": "Session expired", "errorCode": "INVALID_SESSION_ID"}], "Session expired"),
        ({"message": "Unauthorized"}, "Unauthorized"),
        ({"detail": "Authentication credentials were not provided."}, "credentials were not provided"),
        ({"type": "error.list", "errors": [{"code": "unauthorized", "message": "Token invalid"}]}, "Token invalid"),
        ({"_error": {"status": 404, "title": "Not Found", "message": "gone"}}, "gone"),
        ({"ok": False, "error": "not_authed"}, "not_authed"),
    ],
)
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_the_answer_of_a_failed_request_is_one(tmp_path: Path, answer: Any, reason: str, name: str) -> None:
    with pytest.raises(InputError, match=f"answer of a failed request: .*{reason}; expected tickets"):
        opened(tmp_path, answer, name)


@pytest.mark.parametrize(
    "ticket",
    [
        {"title": "Access denied", "description": "I cannot open the share"},
        {"message": "My printer is broken"},
        {"error": "E42", "message": "The printer shows it", "status": "open"},
        {"title": "Login", "description": "It fails", "status": "in_progress"},
        {"code": 404, "description": "It does not print"},
        {"subject": "error", "description": "It shows an error", "error": "E4"},
        {"title": "Login", "description": "It fails", "error": "E4", "type": "bug"},
    ],
)
def test_a_ticket_about_an_error_is_a_ticket(tmp_path: Path, ticket: dict[str, str]) -> None:
    source = opened(tmp_path, [ticket] * 3)
    assert [row.fault for row in source.rows] == [None] * 3


def test_a_failed_page_is_set_aside_with_its_line(tmp_path: Path) -> None:
    source = opened(
        tmp_path, f"{json.dumps({'tickets': [TICKET]})}\n{json.dumps({'error': 'rate limit'})}\n", "t.jsonl"
    )
    assert [(row.line, row.fault) for row in source.rows] == [(1, None), (2, "answer of a failed request: rate limit")]


@pytest.mark.parametrize("name", ["t.json", "t.csv", "t.jsonl"])
@pytest.mark.parametrize(
    "page", ["<!DOCTYPE html><title>Sign in</title>", "<!-- x -->\n<html><head><title>Sign\nin</title></head></html>"]
)
def test_a_login_page_is_no_table(tmp_path: Path, name: str, page: str) -> None:
    with pytest.raises(InputError, match=r"found a web page \('Sign in'\) without a table.*log in and export again"):
        opened(tmp_path, page, name)


def test_a_web_page_with_a_table_is_to_be_saved_as_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"save it as \.xlsx or CSV"):
        opened(tmp_path, "<html><table><tr><td>Subject</td></tr></table></html>", "t.xls")


@pytest.mark.parametrize(
    ("content", "name", "found"),
    [
        ("[]", "t.json", "no ticket in its JSON, only empty lists; expected"),
        ('{"tickets": []}', "t.json", "no ticket in its JSON, only empty lists; expected"),
        ("[]\n[]\n", "t.jsonl", "no ticket in its JSON, only empty lists; expected"),
        ('{"tickets": [], "users": [{"id": 1, "name": "Ida"}]}', "t.json", "only empty lists, but users beside it"),
        ("id,subject,body\n", "t.csv", "no rows below the header; expected"),
    ],
)
def test_a_source_without_tickets_says_what_is_there(tmp_path: Path, content: str, name: str, found: str) -> None:
    with pytest.raises(InputError, match=found):
        opened(tmp_path, content, name)
