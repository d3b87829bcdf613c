"""Documents of JSON:API: tickets are joined with what they name and what names them; the rest is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from tickets.preparation.rows import Source

ASK, NOTE, ANSWER = "It does not print", "INTERNAL: refuse", "Try port two"


def link(kind: str, number: int) -> dict[str, Any]:
    return {"data": {"type": kind, "id": str(number)}}


def links(kind: str, *numbers: int) -> dict[str, Any]:
    return {"data": [link(kind, number)["data"] for number in numbers], "links": {"related": "/x"}}


def resource(kind: str, number: int, relationships: dict[str, Any] | None = None, **attributes: Any) -> dict[str, Any]:
    related = {"relationships": relationships} if relationships else {}
    return {"type": kind, "id": str(number), "attributes": attributes, **related, "links": {"self": f"/{number}"}}


def ticket(number: int, **relationships: Any) -> dict[str, Any]:
    return resource("tickets", number, relationships, title="s", description=ASK, priority="high")


def comment(number: int, text: str, kind: str, author: int, public: bool, **related: Any) -> dict[str, Any]:
    attributes = {"body": text, "is-public": public, "created-at": f"2024-01-0{number}T00:00:00Z"}
    return resource("comments", number, {"author": link(kind, author), **related}, **attributes)


PEOPLE = [resource("users", 5, name="Ann Lee", email="ann@x.org"), resource("users", 9, name="Bo")]
COMMENTS = [
    comment(1, ASK, "users", 5, True),
    comment(2, NOTE, "users", 9, False),
    comment(3, ANSWER, "users", 9, True),
]
FIRST = ticket(
    1,
    requester=link("users", 5),
    comments=links("comments", 1, 2, 3),
    group=link("groups", 3),
    tags=links("tags", 1),
)
BESIDE = [*PEOPLE, *COMMENTS, resource("groups", 3, name="Network"), resource("tags", 1, name="vpn")]
EXPECTED = [(ASK, ANSWER, {"queue": "Network", "priority": "high"}, ("vpn",))]


def read(tmp_path: Path, value: Any, name: str = "t.json") -> tuple[Source, list[Any]]:
    (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value))
    source = Source.open(str(tmp_path / name))
    cells = [source.cells(row) for row in source.rows]
    return source, [(c.parts["body"], c.parts.get("reply", ""), dict(c.labels), c.tags) for c in cells]


@pytest.mark.parametrize(
    ("name", "data"),
    [("t.json", FIRST), ("t.json", [FIRST]), ("t.jsonl", FIRST), ("t.jsonl", [FIRST])],
)
def test_tickets_are_joined_with_what_they_name(tmp_path: Path, name: str, data: Any) -> None:
    page = json.dumps({"jsonapi": {"version": "1.1"}, "data": data, "included": BESIDE, "meta": {"total": 1}})
    pages = 2 if name.endswith("l") else 1
    source, tickets = read(tmp_path, "\n".join([page] * pages), name)
    assert tickets == EXPECTED * pages
    assert source.notes() == ("Joined to the tickets by type and id: users, comments, groups, tags.",)


def test_comments_that_name_their_ticket_are_its_conversation(tmp_path: Path) -> None:
    texts = [("users", 5, ASK), ("users", 9, ANSWER)]
    comments = [comment(n, t, k, a, True, ticket=link("tickets", 1)) for n, (k, a, t) in enumerate(texts, start=1)]
    comments[0]["relationships"]["parent"] = link("comments", 2)  # which is the ticket's own comment all the same
    page = {"data": [ticket(1, requester=link("users", 5)), ticket(2)], "included": [*comments, *PEOPLE]}
    assert [row[:2] for row in read(tmp_path, page)[1]] == [(ASK, ANSWER), (ASK, "")]


def test_the_type_of_an_author_is_a_role(tmp_path: Path) -> None:
    included = [comment(1, ASK, "customers", 5, True), comment(2, ANSWER, "agents", 5, True)]
    page = {"data": [ticket(1, comments=links("comments", 1, 2))], "included": included}
    assert read(tmp_path, page)[1][0][:2] == (ASK, ANSWER)


def test_what_nothing_names_is_said(tmp_path: Path) -> None:
    lost = comment(4, ANSWER, "users", 9, True, ticket=link("tickets", 99))
    source, _ = read(tmp_path, {"data": [FIRST], "included": [*BESIDE, resource("users", 77, name="Cy"), lost]})
    assert source.notes()[1] == (
        "Not read, because they are no lists of tickets: included users (1 object), included comments (1 object)."
    )


def test_resources_that_name_each_other_end(tmp_path: Path) -> None:
    answer = comment(1, ANSWER, "agents", 9, True, ticket=link("tickets", 1), parent=link("comments", 1))
    page = {"data": [ticket(1, comments=links("comments", 1))], "included": [answer]}
    assert read(tmp_path, page)[1][0][:2] == (ASK, ANSWER)


@pytest.mark.parametrize("included", [{}, {"included": []}, {"included": [resource("users", 8, name="Cy")]}])
def test_names_without_their_resources_are_numbers(tmp_path: Path, included: dict[str, Any]) -> None:
    watchers = links("users", 5, 6, 7)  # more of them than the ticket has parts
    source, tickets = read(tmp_path, {"data": [ticket(1, requester=link("users", 5), watchers=watchers)], **included})
    assert [row[0] for row in tickets] == [ASK]
    assert bool(source.notes()) == bool(included.get("included"))


def test_the_line_of_a_resource_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps({"data": [FIRST, ticket(2)], "included": BESIDE}, indent=1))
    first, second = (row.line for row in Source.open(str(tmp_path / "t.json")).rows)
    assert 1 < first < second
