"""Users, groups and comments that lie beside the tickets of a page are joined to them by number."""

import json
from pathlib import Path
from typing import Any

import pytest

from tickets.preparation.rows import Source
from tickets.redact.known import Known

ASK, NOTE, ANSWER = "It does not print", "INTERNAL: refuse", "Try port two"
PAGE: dict[str, Any] = {
    "tickets": [
        {"id": 1, "subject": "P", "description": ASK, "requester_id": 7, "group_id": 3, "organization_id": 4},
        {"id": 2, "subject": "Q", "description": ASK, "requester_id": 7, "group_id": 5},
    ],
    "users": [
        {"id": 7, "name": "Ida Huber", "email": "ida@example.com", "role": "end-user"},
        {"id": 8, "name": "Bo Lee", "role": "end-user"},
        {"id": 9, "name": "Ann", "role": "agent"},
    ],
    "groups": [{"id": 3, "name": "Network"}],
    "organizations": [{"id": 4, "name": "ACME"}],
    "comments": [
        {"id": 1, "ticket_id": 1, "author_id": 7, "body": ASK, "public": True},
        {"id": 2, "ticket_id": 1, "author_id": 8, "body": "me too", "public": True},
        {"id": 3, "ticket_id": 1, "author_id": 9, "body": NOTE, "public": False},
        {"id": 4, "ticket_id": 1, "author_id": 9, "body": ANSWER, "public": True},
        {"id": 5, "ticket_id": 99, "author_id": 9, "body": "of another page", "public": True},
    ],
}


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_names_and_messages_are_joined(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(json.dumps(PAGE) + ("\n" + json.dumps(PAGE) if name == "t.jsonl" else ""), encoding="utf-8")
    source = Source.open(str(path))
    rows = list(source.rows)
    first, second = (source.cells(row) for row in rows[:2])
    assert (first.parts["body"], first.parts["reply"]) == (ASK, ANSWER)  # no reply of a colleague: roles are known
    assert (first.labels, second.labels) == ({"queue": "Network"}, {"queue": ""})
    assert second.parts["reply"] == ""
    known = source.people.known(rows[0].fields)
    assert isinstance(known, Known) and "Ida Huber" in known.names and known.companies == ("ACME",)
    notes = " ".join(source.notes())
    assert "Joined to the tickets by number: users, groups, organizations, comments." in notes
    assert f"comments ({'1 object' if name == 't.json' else '2 objects'})" in notes  # the ticket is not there


def test_what_a_ticket_says_itself_goes_first(tmp_path: Path) -> None:
    ticket = {"id": 1, "subject": "P", "description": ASK, "group_id": 3, "group": "Own", "comments": []}
    (tmp_path / "t.json").write_text(json.dumps({**PAGE, "tickets": [ticket, {**ticket, "id": 2}]}), encoding="utf-8")
    source = Source.open(str(tmp_path / "t.json"))
    cells = source.cells(next(source.rows))
    assert (cells.labels, cells.parts.get("reply", "")) == ({"queue": "Own"}, "")


def test_assets_of_zammad(tmp_path: Path) -> None:
    articles = [
        {"id": 1, "ticket_id": 5, "sender_id": 2, "created_by_id": 7, "body": ASK, "internal": False},
        {"id": 2, "ticket_id": 5, "sender_id": 1, "created_by_id": 9, "body": NOTE, "internal": True},
        {"id": 3, "ticket_id": 5, "sender_id": 1, "created_by_id": 9, "body": ANSWER, "internal": False},
    ]
    tickets = [{"id": n, "number": f"9{n}", "title": "P", "group_id": 3, "customer_id": 7} for n in (5, 6)]
    assets = {
        "Ticket": {str(ticket["id"]): ticket for ticket in tickets},
        "User": {"7": {"id": 7, "firstname": "Ida", "lastname": "Huber"}, "9": {"id": 9, "firstname": "Ann"}},
        "Group": {"3": {"id": 3, "name": "Network"}},
        "TicketArticle": {str(article["id"]): article for article in articles},
    }
    (tmp_path / "t.json").write_text(json.dumps({"tickets": [5, 6], "assets": assets}), encoding="utf-8")
    source = Source.open(str(tmp_path / "t.json"))
    row = next(source.rows)
    cells = source.cells(row)
    assert (cells.parts["body"], cells.parts["reply"], cells.labels["queue"]) == (ASK, ANSWER, "Network")
    assert "Ida Huber" in source.people.known(row.fields).names
