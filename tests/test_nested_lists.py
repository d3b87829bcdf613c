"""A list inside a ticket never takes its place; a wrapper around a ticket does not hide it."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tickets.cleaning.clean import Cleaner
from tickets.flatten import flatten
from tickets.preparation.rows import Source

ASK, ANSWER = "It does not print", "Try port two"


def opened(tmp_path: Path, value: Any, name: str = "t.json") -> tuple[Source, list[dict[str, str]]]:
    text = "\n".join(map(json.dumps, value)) if name.endswith("l") else json.dumps(value)
    (tmp_path / name).write_text(text, encoding="utf-8")
    source = Source.open(str(tmp_path / name))
    return source, [source.cells(row).parts for row in source.rows]


INNER = [{"id": 1, "title": "t", "description": "another text", "status": "ok"}]


@pytest.mark.parametrize(
    "inside",
    [
        {"items": INNER},
        {"requests": INNER},
        {"linked": {"incidents": INNER}},
        {"subtasks": INNER},
        {"children": {"nodes": INNER}},
        {"associations": {"contacts": {"results": [{"id": "9", "type": "ticket_to_contact"}]}}},
    ],
)
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_a_list_inside_a_ticket_is_named_and_not_read(tmp_path: Path, inside: dict[str, Any], name: str) -> None:
    tickets = [{"id": n, "subject": "s", "description": ASK, "priority": "high", **inside} for n in range(4)]
    source, parts = opened(tmp_path, tickets, name)
    assert [part["body"] for part in parts] == [ASK] * 4
    named = "they lie inside tickets" in " ".join(source.notes())
    assert named or "associations" in inside


@pytest.mark.parametrize("field", ["title", "subject"])
def test_a_ticket_with_a_heading_alone_keeps_it(tmp_path: Path, field: str) -> None:
    tickets = [{"number": n, field: ASK, "requests": [{"id": n, "title": "t", "status": "open"}]} for n in range(4)]
    assert [part["subject"] for part in opened(tmp_path, tickets)[1]] == [ASK] * 4


def test_entries_of_a_thread_are_messages(tmp_path: Path) -> None:
    entries = [{"type": "M", "poster": "Ann", "body": ASK}, {"type": "N", "poster": "Bo", "body": "no"}]
    entries.append({"type": "R", "poster": "Bo", "body": ANSWER})
    tickets = [{"number": n, "subject": "s", "status": "x", "thread": {"entries": entries}} for n in range(4)]
    parts = opened(tmp_path, tickets)[1]
    assert [(part["body"], part["reply"]) for part in parts] == [(ASK, ANSWER)] * 4


@pytest.mark.parametrize("wrapper", ["helpdesk_ticket", "ticket", "request", "data", "issue", "payload"])
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_a_wrapped_ticket_keeps_its_own_text(tmp_path: Path, wrapper: str, name: str) -> None:
    notes = [{"body": "no", "private": True, "incoming": False}, {"body": ANSWER, "private": False, "incoming": False}]
    tickets = [{wrapper: {"id": n, "subject": "s", "description": ASK, "notes": notes}} for n in range(4)]
    parts = opened(tmp_path, tickets, name)[1]
    assert [(part["body"], part["reply"]) for part in parts] == [(ASK, ANSWER)] * 4


def test_a_ticket_beside_a_ticket_does_not_replace_it(tmp_path: Path) -> None:
    other = {"id": 7, "subject": "other", "description": "other text"}
    tickets = [{"id": n, "subject": "s", "description": ASK, "issue": other, "parent": other} for n in range(4)]
    assert [part["body"] for part in opened(tmp_path, tickets)[1]] == [ASK] * 4


@pytest.mark.parametrize(
    "page",
    [
        {"message": "OK", "status": "success", "data": []},
        {"title": "Export", "description": "All tickets of March", "items": []},
        {"id": 5, "title": "Project", "status": "active", "issues": []},
        {"data": {"project": {"name": "Desk", "issues": {"nodes": []}}}},
    ],
)
def test_pages_with_a_heading_are_still_pages(tmp_path: Path, page: dict[str, Any]) -> None:
    tickets = [{"id": n, "title": "s", "description": ASK} for n in range(4)]

    def filled(value: Any) -> Any:
        if isinstance(value, list):
            return tickets
        return {name: filled(inner) for name, inner in value.items()} if isinstance(value, dict) else value

    assert [part["body"] for part in opened(tmp_path, filled(page))[1]] == [ASK] * 4


def test_properties_of_hubspot_are_the_ticket(tmp_path: Path) -> None:
    rows = [{"id": str(n), "properties": {"subject": "s", "content": ASK, "createdate": "2024"}} for n in range(4)]
    source, parts = opened(tmp_path, {"results": rows, "paging": {}})
    assert [(part["subject"], part["body"]) for part in parts] == [("s", ASK)] * 4
    assert source.columns.body == "properties.content"


@pytest.mark.parametrize("written", [json.dumps, repr])
def test_messages_and_tags_in_a_cell_of_a_table(tmp_path: Path, written: Any) -> None:
    comments = [
        {"author_id": 5, "public": True, "body": ASK},
        {"author_id": 9, "public": False, "body": "no"},
        {"author_id": 9, "public": True, "body": ANSWER},
    ]
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out)
        table.writerow(["id", "subject", "requester_id", "comments", "tags"])
        table.writerows([n, "s", 5, written(comments), written([{"name": "vpn"}])] for n in range(4))
    source = Source.open(str(tmp_path / "t.csv"))
    cells = [source.cells(row) for row in source.rows]
    assert [(cell.parts["body"], cell.parts["reply"], cell.tags) for cell in cells] == [(ASK, ANSWER, ("vpn",))] * 4


def test_a_body_that_is_json_stays_a_text(tmp_path: Path) -> None:
    text = json.dumps([{"error": "boom", "body": "x"}])
    parts = opened(tmp_path, [{"id": n, "body": text} for n in range(4)])[1]
    assert [part["body"] for part in parts] == [text] * 4


def test_a_comment_of_unknown_author_is_the_text_when_asked_for(tmp_path: Path) -> None:
    comments = {"nodes": [{"author": {"login": "maint"}, "body": ANSWER}]}
    tickets = [{"number": n, "title": ASK, "comments": comments} for n in range(4)]
    source, parts = opened(tmp_path, tickets)
    assert [part["body"] for part in parts] == [""] * 4
    assert "--map body=comments.nodes.0.body takes it" in " ".join(source.notes())
    source = Source.open(str(tmp_path / "t.json"), maps=("body=comments.nodes.0.body",))
    assert [source.cells(row).parts["body"] for row in source.rows] == [ANSWER] * 4


def test_a_list_of_changes_is_no_conversation(tmp_path: Path) -> None:
    changes = [{"field": "status", "value": "open for all of us"}]
    source, parts = opened(tmp_path, [{"id": n, "subject": "s", "body": ASK, "updates": changes} for n in range(4)])
    assert (parts[0]["body"], bool(source.conversations)) == (ASK, False)


def test_a_list_of_texts_that_is_not_read_is_named(tmp_path: Path) -> None:
    notes = [{"body": "this is what we found out"}]
    source, _ = opened(tmp_path, [{"id": n, "subject": "s", "body": ASK, "work_logs": notes} for n in range(4)])
    assert "Texts that are not used: work_logs;" in " ".join(source.notes())


def test_fields_of_a_team_are_no_tickets_and_have_their_names(tmp_path: Path) -> None:
    request = {
        "issueKey": "IT-1",
        "requestFieldValues": [
            {"fieldId": "summary", "label": "What is it?", "value": "Printer"},
            {"fieldId": "description", "label": "Details", "value": ASK},
        ],
        "reporter": {"accountId": "k", "displayName": "Kim"},
        "comments": {"values": [{"body": ANSWER, "public": True, "author": {"accountId": "a", "displayName": "Ann"}}]},
    }
    _, parts = opened(tmp_path, {"values": [request, {**request, "issueKey": "IT-2"}]})
    assert [(part["id"], part["subject"], part["body"], part["reply"]) for part in parts] == [
        (name, "Printer", ASK, ANSWER) for name in ("IT-1", "IT-2")
    ]
    fields = [
        ([{"id": 1, "name": "Site", "value": "Berlin"}], "custom_fields.Site", "Berlin"),
        ([{"id": 1, "name": "Area", "value": "7", "text": "Network"}], "custom_fields.Area", "Network"),
        ([{"Name": "Floor", "Value": "3"}], "custom_fields.Floor", "3"),
        ([{"id": 360, "value": "x"}], "custom_fields.360", "x"),
        ([{"id": 1, "value": "x", "author": "kim"}], "custom_fields.0.value", "x"),
    ]
    for custom, name, value in fields:
        assert flatten({"custom_fields": custom})[name] == value


def test_a_ticket_of_glpi(tmp_path: Path) -> None:
    followups = [
        {"users_id": 2, "content": "&#60;p&#62;a note&#60;/p&#62;", "is_private": 1, "date": "2024-03-01 10:10:00"},
        {
            "users_id": 2,
            "content": "&#60;p&#62;Try port two&#60;/p&#62;",
            "is_private": 0,
            "date": "2024-03-01 10:20:00",
        },
    ]
    ticket = {
        "id": 4,
        "name": "Printer",
        "content": "&#60;p&#62;It does not print&#60;/p&#62;",
        "itilcategories_id": "Hardware",
        "_users_id_requester": 7,
        "ITILFollowup": followups,
    }
    (tmp_path / "t.json").write_text(json.dumps([ticket]), encoding="utf-8")
    source = Source.open(str(tmp_path / "t.json"))
    row = next(source.rows)
    made = source.ticket(source.cells(row), 1, Cleaner())
    assert (made.subject, made.body, made.reply, made.labels) == ("Printer", ASK, ANSWER, {"queue": "Hardware"})


def test_objects_that_stand_for_a_value() -> None:
    assert flatten({"_id": {"$oid": "65e0"}, "at": {"$date": "2024-03-01T10:00:00Z"}}) == {
        "_id": "65e0",
        "at": "2024-03-01T10:00:00Z",
    }
    assert flatten({"text": {"@lang": "en", "#text": ASK}}) == {"text.@lang": "en", "text": ASK}
    assert flatten({"visibility": {"$type": "UnlimitedVisibility"}}) == {"visibility.$type": "UnlimitedVisibility"}


def test_the_name_of_an_object_is_its_label(tmp_path: Path) -> None:
    request = {
        "id": 1,
        "subject": "P",
        "description": ASK,
        "priority": {"id": 3, "name": "High"},
        "category": {"label": "Hardware"},
        "group": {"title": "Network"},
        "created_time": {"display_value": "Mar 1, 2024 10:00 AM", "value": "1709287200000"},
        "resolution": {"content": ANSWER},
        "request": {"name": "Kim"},
    }
    source, parts = opened(tmp_path, {"requests": [request, {**request, "id": 2}]})
    assert source.columns.labels == {"queue": "group.title", "priority": "priority.name", "category": "category.label"}
    assert (parts[0]["body"], parts[0]["reply"], parts[0]["created"]) == (ASK, ANSWER, "Mar 1, 2024 10:00 AM")


def test_comments_of_a_case_of_salesforce(tmp_path: Path) -> None:
    comments = [
        {"CommentBody": "intern", "IsPublished": False, "CreatedBy": {"Name": "Ann Bo"}},
        {"CommentBody": ANSWER, "IsPublished": True, "CreatedBy": {"Name": "Ann Bo"}},
    ]
    case = {"Id": "5", "Subject": "P", "Description": ASK, "Contact": {"Name": "Kim Lee"}}
    case["CaseComments"] = {"totalSize": 2, "records": comments}
    _, parts = opened(tmp_path, {"totalSize": 1, "records": [case, {**case, "Id": "6"}]})
    assert [part["reply"] for part in parts] == [ANSWER, ANSWER]


def test_a_ticket_of_zoho_desk_without_its_threads(tmp_path: Path) -> None:
    ticket = {
        "ticketNumber": "1",
        "subject": "P",
        "description": None,
        "department": {"name": "IT"},
        "firstThread": {"content": f"<div>{ASK}</div>"},
        "threads": {"data": [{"direction": "out", "summary": "Only the first words of the answer"}]},
    }
    source, parts = opened(tmp_path, {"data": [ticket, {**ticket, "ticketNumber": "2"}]})
    assert (parts[0]["body"], parts[0].get("reply", "")) == (f"<div>{ASK}</div>", "")
    assert source.columns.labels == {"queue": "department.name"}
    assert "Texts that are not used: threads.data" in " ".join(source.notes())


@pytest.mark.parametrize(
    "record",
    [
        {"messages": [{"role": "system", "content": "Be kind"}, {"role": "user", "content": ASK}]},
        {"conversations": [{"from": "human", "value": ASK}]},
    ],
)
def test_a_chat_with_a_model_is_a_conversation(tmp_path: Path, record: dict[str, list[dict[str, str]]]) -> None:
    answer = {"messages": {"role": "assistant", "content": ANSWER}, "conversations": {"from": "gpt", "value": ANSWER}}
    chats = [{name: [*said, answer[name]] for name, said in record.items()}] * 3
    _, parts = opened(tmp_path, chats, "t.jsonl")
    assert [(part["body"], part["reply"]) for part in parts] == [(ASK, ANSWER)] * 3


@pytest.mark.parametrize("envelope", ["fields", "attributes", "custom_fields", "properties"])
def test_the_fields_of_a_record_in_an_envelope(tmp_path: Path, envelope: str) -> None:
    inner = {"Subject": "P", "Description": ASK, "Answer": ANSWER, "Tags": ["a", "b"], "Priority": "high"}
    source, parts = opened(tmp_path, {"records": [{"id": f"rec{n}", envelope: inner} for n in range(3)]})
    assert [(part["id"], part["subject"], part["body"]) for part in parts] == [(f"rec{n}", "P", ASK) for n in range(3)]
    assert source.columns.labels == {"priority": f"{envelope}.Priority"}
    own = {"id": 1, "description": ANSWER, envelope: inner}
    assert opened(tmp_path, [own, {**own, "id": 2}])[1][0]["body"] == ANSWER


TICKET = {"id": 1, "subject": "s", "description": ASK, "status": "open"}


@pytest.mark.parametrize(
    "value",
    [
        {"tickets": {"ticket": TICKET}},  # XML with one ticket
        {"cases": {"case": [TICKET]}},
        [{"json": TICKET, "pairedItem": {"item": 0}}],  # n8n
        {"total_rows": 1, "rows": [{"id": "a", "key": "a", "doc": TICKET}]},  # CouchDB
        {"found": 1, "hits": [{"document": TICKET, "highlights": []}]},  # Typesense
    ],
)
@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_more_envelopes_of_a_ticket(tmp_path: Path, value: Any, name: str) -> None:
    value = [value] if name.endswith("l") else value
    assert [(part["id"], part["body"]) for part in opened(tmp_path, value, name)[1]] == [("1", ASK)]


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ({"text": ASK, "html": f"<p>{ASK}</p>"}, "description.text"),
        ({"html": ASK, "plain": ASK}, "description.plain"),
        ({"contentType": "text", "content": ASK}, "description.content"),
        ({"rendered": ASK, "protected": False}, "description.rendered"),
        ({"raw": ASK, "rendered": f"<p>{ASK}</p>"}, "description.raw"),
        ([ASK], "description"),
    ],
)
def test_a_text_in_several_forms_is_read_once(tmp_path: Path, text: Any, column: str) -> None:
    urgency = {"value": 3, "name": "High"}
    source, parts = opened(
        tmp_path, [{"id": n, "subject": "s", "description": text, "priority": urgency} for n in range(4)]
    )
    assert (source.columns.body, source.columns.labels["priority"]) == (column, "priority.name")
    assert [part["body"] for part in parts] == [ASK] * 4


def test_a_text_in_a_list_has_a_line_for_each_item(tmp_path: Path) -> None:
    parts = opened(tmp_path, [{"id": n, "subject": "s", "description": [ASK, ANSWER]} for n in range(4)])[1]
    assert [part["body"] for part in parts] == [f"{ASK}\n{ANSWER}"] * 4
