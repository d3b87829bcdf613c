"""Requests that no page and no helpdesk of good will sends: a 4xx status with one line, never a 500."""

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")

from serve.hooks.generic import Generic
from serve.hooks.helpdesk import Settings
from serve.hooks.zammad import Zammad
from serve.run import _listen
from store.database import open_database
from store.tokens import add_token, remove_token
from tests.postgres import postgres_server
from tests.serving import Running, running, sqlite_url
from tickets.errors import InputError
from tickets.numbers import whole_number

# values in JSON as somebody else may write them
VALUES = (
    '"\\ud800"', '"\\udcff\\ud83d"', '"a\\u0000b"', '"\\u0000"', "NaN", "Infinity", "1e400", "1" * 5000, "-1", "null",
    "true", "[]", "{}", '""', '"\u00b2"', '["\\ud800"]', '{"\\ud800": "x"}', '{"\\u0000": "\\u0000"}', "[" * 2000,
)  # fmt: skip
FIELDS = {
    "/v1/predict": ("subject", "body", "language", "labels_only", "more"),
    "/v1/tickets": ("source", "external_id"),
    "/v1/chat/completions": ("model", "messages", "stream", "user", "more", "\\ud800"),
    "/v1/tickets/{}/reviews": ("action", "labels", "tags", "reply", "reason", "seconds"),
}
GIVEN = {"/v1/chat/completions": '"model": "duet", "messages": [{"role": "user", "content": "x"}], '}
DIGITS = ("\u00b2", "\u0661", "9" * 5000, "-1", "1e9", "NaN", "", " ")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    is_file = request.param == "sqlite"
    url = sqlite_url(tmp_path_factory.mktemp("hostile")) if is_file else request.getfixturevalue("postgres")
    desks: Any = {
        "zammad": Zammad(Settings("zammad", secret="s", fields={"queue": "group"})),
        "generic": Generic(Settings("generic", secret="s")),
    }
    with running(url, desks) as found:
        found.client._transport.raise_server_exceptions = False  # type: ignore[attr-defined]  # a 500, as outside
        found.sign_in()
        yield found


def refused(response: Any) -> bool:
    """Whether a request was refused in one line, and not for a fault of ours."""
    detail = json.dumps(response.json().get("detail", ""))
    return 400 <= response.status_code < 500 and "\\n" not in detail


def post(server: Running, path: str, body: str) -> Any:
    headers = {"Content-Type": "application/json", "If-Match": "0"}
    return server.ask("POST", path, content=body.encode(), headers=headers)


@pytest.mark.parametrize("path", FIELDS)
def test_strange_values_in_json_are_refused_or_taken(server: Running, path: str) -> None:
    ticket = server.add(body=f"for {path}")["ticket"]
    for value in VALUES:
        for field in FIELDS[path]:
            body = f'{{{GIVEN.get(path, "")}"{field}": {value}}}'
            response = post(server, path.format(ticket), body)
            assert response.status_code < 300 or refused(response), (body[:200], response.text[:200])


@pytest.mark.parametrize("model", ["duet", "duet-labels"])
@pytest.mark.parametrize("stream", ["true", "false"])
def test_half_a_character_in_the_chat_is_400(server: Running, model: str, stream: str) -> None:
    for content in ('"\\ud800"', '[{"type": "text", "text": "\\ud800"}]'):
        message = f'{{"role": "user", "content": {content}}}'
        body = f'{{"model": "{model}", "stream": {stream}, "messages": [{message}]}}'
        response = post(server, "/v1/chat/completions", body)
        assert response.status_code == 400 and refused(response), response.text


@pytest.mark.parametrize("value", VALUES)
def test_strange_values_from_helpdesks_are_refused_or_taken(server: Running, value: str) -> None:
    texts = [f'{{"id": "1", "subject": "s", "body": "b", "{f}": {value}}}' for f in ("id", "subject", "body")]
    deliveries = [("generic", text, "X-Duet-Signature", "sha256") for text in texts]
    article = '"article": {"body": "b"}'
    texts = [f'{{"ticket": {{"id": 1, "title": "t", "{f}": {value}}}, {article}}}' for f in ("id", "title", "group")]
    deliveries += [("zammad", text, "X-Hub-Signature", "sha1") for text in texts]
    for name, text, header, method in deliveries:
        signature = f"{method}={hmac.new(b's', text.encode(), getattr(hashlib, method)).hexdigest()}"
        response = server.client.post(f"/hooks/{name}", content=text.encode(), headers={header: signature})
        assert response.status_code == 202 or refused(response), (text[:200], response.text[:200])


def form(server: Running, ticket: str) -> dict[str, Any]:
    page = server.client.get(f"/tickets/{ticket}").text
    token = re.search(r'name="form_token" value="([^"]*)"', page)
    assert token is not None
    return {"form_token": token[1], "action": "save", "version": "0", "tags_shown": "1", "tag": ["printer"]}


@pytest.mark.parametrize("changes", [*({"version": text} for text in DIGITS), {"tag": [""]}, {"tag": ["\0"]}])
def test_a_form_that_no_page_of_ours_sends_is_422(server: Running, changes: dict[str, Any]) -> None:
    ticket = server.add(body=repr(changes))["ticket"]
    data = {**form(server, ticket), **changes}
    response = server.client.post(f"/tickets/{ticket}", data=data, follow_redirects=False)
    assert response.status_code == 422 and "reload the page" in response.text
    assert server.ask("GET", f"/v1/tickets/{ticket}").json()["version"] == 0


@pytest.mark.parametrize("charset", ["unicode_escape", "punycode", "undefined", "utf-16-le", "zlib"])
@pytest.mark.parametrize("name", ["version", "tag", "reply", "reason", "action", "form_token", "order", "to"])
def test_a_form_in_a_charset_of_its_own_is_no_fault_of_ours(server: Running, charset: str, name: str) -> None:
    """Some of them give half a character."""
    ticket = server.add(body=f"{charset} {name}")["ticket"]
    values = {**form(server, ticket), "tag": "printer", name: "\\ud800\\u0000"}
    parts = [f'--B\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in values.items()]
    headers = {"Content-Type": f"multipart/form-data; boundary=B; charset={charset}"}
    for path in (f"/tickets/{ticket}", "/login"):
        content = ("".join(parts) + "--B--\r\n").encode()
        assert server.client.post(path, content=content, headers=headers, follow_redirects=False).status_code < 500


@pytest.mark.parametrize("text", [*DIGITS, "+1", "1_0", "0x1", "65536"])
def test_a_whole_number_is_of_ascii_digits_and_bounded(text: str) -> None:
    assert whole_number(text, 65_535) is None
    with pytest.raises(InputError, match="--listen") as error:
        _listen(f"127.0.0.1:{text}")
    assert "\n" not in str(error.value)


def test_whole_numbers() -> None:
    assert [whole_number(text, 65_535) for text in ("0", "007", "65535", "0" * 5000)] == [0, 7, 65_535, 0]


def test_a_host_that_is_no_text_is_one_line() -> None:
    with pytest.raises(InputError, match="--listen"):
        _listen("\udcff:8077")


@pytest.mark.parametrize("name", ["a\udcff", "\x1b[2J", "\u202ea", "a\0", "", " ", "x" * 101])
def test_a_token_has_a_name_that_can_be_read(name: str, tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path))
    with pytest.raises(InputError, match="expected 1 to 100 printable characters"):
        add_token(database, name, "review")
    with pytest.raises(InputError, match="no token is named"):
        remove_token(database, name)
    database.close()
