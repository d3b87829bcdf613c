"""Exports of helpdesks rebuilt field by field, with invented texts: Redmine, Bugzilla, Request Tracker and others."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tickets.preparation.rows import Cells, Source

ASK = "The printer on floor three prints nothing since this morning."
NOTE, ANSWER = "INTERNAL: he broke it again, do not tell.", "Please choose the second port in the settings."
MORE = "That did not help, it still prints nothing."
TIMES = [f"2024-03-04T10:{minute}0:00Z" for minute in range(6)]


def read(tmp_path: Path, value: Any, name: str = "t.json") -> tuple[Source, list[Cells]]:
    (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value))
    source = Source.open(str(tmp_path / name))
    return source, [source.cells(row) for row in source.rows]


def table(row: Mapping[str, str], separator: str = ",") -> str:
    """Nine rows with these cells, and a number in place of `{n}`."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator)
    writer.writerow(row)
    writer.writerows([cell.format(n=n) for cell in row.values()] for n in range(9))
    return out.getvalue()


def named(number: int, name: str) -> dict[str, Any]:
    return {"id": number, "name": name}


def journal(user: int, notes: str, time: str, private: bool = False) -> dict[str, Any]:
    change = {"property": "attr", "name": "status_id", "old_value": "1", "new_value": "2"}
    record = {"user": named(user, "x"), "notes": notes, "created_on": time, "private_notes": private}
    return {**record, "details": [] if private else [change]}


REDMINE = {
    "issues": [
        {
            "id": 4711,
            "project": named(1, "Help desk"),
            "tracker": named(3, "Support"),
            "status": {**named(5, "Closed"), "is_closed": True},
            "priority": named(4, "Normal"),
            "author": named(5, "Ann Lee"),
            "assigned_to": named(9, "Bo"),
            "category": named(2, "Printing"),
            "subject": "Printer",
            "description": ASK,
            "is_private": False,
            "custom_fields": [{**named(1, "Site"), "value": "Berlin"}],
            "created_on": TIMES[0],
            "journals": [
                journal(9, "", TIMES[1]),
                journal(9, NOTE, TIMES[2], private=True),
                journal(9, ANSWER, TIMES[3]),
                journal(5, MORE, TIMES[4]),
            ],
        }
    ],
    "total_count": 1,
    "offset": 0,
    "limit": 25,
}


def bug_comments(number: int) -> list[dict[str, Any]]:
    said = [("ann@x.org", ASK, False), ("bo@d.org", NOTE, True), ("bo@d.org", ANSWER, False)]
    return [
        {"id": n, "bug_id": number, "count": n, "creator": who, "time": TIMES[n], "is_private": private, "text": text}
        for n, (who, text, private) in enumerate(said)
    ]


BUGZILLA = {
    "bugs": [
        {
            "id": 4711,
            "summary": "Printer",
            "product": "Desktop",
            "component": "Printing",
            "status": "RESOLVED",
            "resolution": "FIXED",
            "severity": "normal",
            "priority": "P2",
            "type": "defect",
            "creator": "ann@x.org",
            "creator_detail": {"id": 5, "name": "ann@x.org", "email": "ann@x.org", "real_name": "Ann Lee"},
            "keywords": ["regression"],
            "creation_time": TIMES[0],
            "is_open": False,
            "cc": [],
            "comments": bug_comments(4711),
        }
    ],
    "faults": [],
}


def transaction(kind: str, who: str, time: str, content: str | None = None) -> dict[str, Any]:
    text = {"Content": content} if content else {"Field": "Status", "OldValue": "new", "NewValue": "open"}
    return {"id": time, "Type": kind, "Creator": {"id": who, "type": "user"}, "Created": time, **text}


REQUEST_TRACKER = {
    "total": 1,
    "page": 1,
    "items": [
        {
            "id": "4711",
            "type": "ticket",
            "Subject": "Printer",
            "Status": "resolved",
            "Queue": {"id": "3", "type": "queue", "Name": "Printing"},
            "Owner": {"id": "bo", "type": "user"},
            "Creator": {"id": "bo", "type": "user"},
            "Requestor": [{"id": "ann", "type": "user", "_url": "https://rt.example.org/REST/2.0/user/ann"}],
            "Priority": "20",
            "Created": TIMES[0],
            "CustomFields": [{"id": "1", "name": "Site", "type": "customfield", "values": ["Berlin"]}],
            "_hyperlinks": [{"ref": "self", "type": "ticket", "id": "4711"}],
            "Transactions": [
                transaction("Create", "ann", TIMES[0], ASK),
                transaction("Status", "RT_System", TIMES[1]),
                transaction("Comment", "bo", TIMES[2], NOTE),
                transaction("Correspond", "bo", TIMES[3], ANSWER),
                transaction("Correspond", "ann", TIMES[4], MORE),
            ],
        }
    ],
}


def person(number: int, kind: str) -> dict[str, Any]:
    return {"id": number, "type": kind, "firstName": "A", "lastName": "B", "email": f"{kind}@x.org"}


def thread(kind: str, who: dict[str, Any], body: str, time: str) -> dict[str, Any]:
    return {"type": kind, "state": "published", "body": body, "createdBy": who, "createdAt": time}


FREESCOUT = {
    "_embedded": {
        "conversations": [
            {
                "id": 4711,
                "number": 3,
                "threadsCount": 3,
                "status": "closed",
                "subject": "Printer",
                "preview": ASK[:30],
                "createdBy": person(5, "customer"),
                "createdAt": TIMES[0],
                "customer": person(5, "customer"),
                "_embedded": {
                    "threads": [
                        thread("message", person(9, "user"), ANSWER, TIMES[3]),
                        thread("note", person(9, "user"), NOTE, TIMES[2]),
                        thread("lineitem", person(9, "user"), "", TIMES[1]),
                        thread("customer", person(5, "customer"), ASK, TIMES[0]),
                    ],
                    "timelogs": [],
                    "tags": [{"id": 8, "name": "printer"}],
                },
            }
        ]
    },
    "page": {"size": 50, "totalElements": 1},
}


def spiceworks_comment(body: str, public: bool) -> dict[str, Any]:
    return {"body": body, "created_by": 9, "is_public": public}


SPICEWORKS = {
    "users": [
        {"id": 5, "first_name": "Ann", "last_name": "Lee", "email": "ann@x.org", "role": "end_user"},
        {"id": 9, "first_name": "Bo", "email": "bo@d.org", "role": "admin"},
    ],
    "tickets": [
        {
            "id": 4711,
            "summary": "Printer",
            "description": ASK,
            "status": "closed",
            "priority": 2,
            "category": "Hardware",
            "created_by": 5,
            "assigned_to": 9,
            "comments": [spiceworks_comment(NOTE, False), spiceworks_comment(ANSWER, True)],
        }
    ],
}


@pytest.mark.parametrize(
    ("export", "preset", "labels", "tags"),
    [
        (
            REDMINE,
            "redmine",
            {"type": "Support", "queue": "Help desk", "priority": "Normal", "category": "Printing"},
            (),
        ),
        (BUGZILLA, "bugzilla", {"type": "defect", "queue": "Printing", "priority": "P2"}, ("regression",)),
        (REQUEST_TRACKER, "rt", {"type": "ticket", "queue": "Printing", "priority": "20"}, ()),
        (FREESCOUT, None, {}, ("printer",)),
        (SPICEWORKS, "zendesk", {"priority": "2", "category": "Hardware"}, ()),
    ],
    ids=["redmine", "bugzilla", "rt", "freescout", "spiceworks"],
)
def test_a_conversation_of_another_helpdesk(
    tmp_path: Path, export: Any, preset: str | None, labels: dict[str, str], tags: tuple[str, ...]
) -> None:
    source, (cells,) = read(tmp_path, export)
    parts = cells.parts
    assert (parts["id"], parts["subject"], parts["body"], parts["reply"]) == ("4711", "Printer", ASK, ANSWER)
    assert (source.columns.preset, dict(cells.labels), cells.tags) == (preset, labels, tags)
    assert [turn.reply for turn in cells.turns] == [ANSWER]
    assert not any("No reply was taken" in note for note in source.notes())


def test_the_comments_of_several_bugs_are_several_tickets(tmp_path: Path) -> None:
    bugs = {str(number): {"comments": bug_comments(number)} for number in (4711, 4712)}
    cells = read(tmp_path, {"bugs": bugs, "comments": {}})[1]
    assert [(c.parts["id"], c.parts["body"], [t.reply for t in c.turns]) for c in cells] == [
        ("4711", ASK, [ANSWER]),
        ("4712", ASK, [ANSWER]),
    ]


def test_words_are_no_reply_where_there_are_comments(tmp_path: Path) -> None:
    source, _ = read(tmp_path, BUGZILLA)  # one row, too few to tell a status by its repeats
    assert source.columns.reply is None
    assert any("'resolution' is not taken for the reply" in note for note in source.notes())


REDMINE_ROW = {
    "#": "471{n}",
    "Project": "Help desk",
    "Tracker": "Support",
    "Status": "Closed",
    "Priority": "Normal",
    "Subject": "Printer {n}",
    "Author": "Ann Lee",
    "Assignee": "Bo",
    "Created": "03/04/2024 10:00 AM",
    "Category": "Printing",
    "% Done": "0",
    "Private": "No",
    "Description": ASK,
    "Last notes": ANSWER + " {n}",
}
BUGZILLA_ROW = {
    "bug_id": "471{n}",
    "product": "Desktop",
    "component": "Printing",
    "bug_status": "RESOLVED",
    "resolution": "FIXED",
    "short_desc": "Printer {n} prints nothing",
    "changeddate": "2024-03-05 10:00:00",
}
RT_ROW = {
    "id": "471{n}",
    "Subject": "Printer {n} prints nothing",
    "Status": "resolved",
    "QueueName": "Printing",
    "Owner": "bo",
    "Priority": "20",
    "Requestors": "ann@x.org",
    "Created": "Mon Mar 04 10:00:00 2024",
}
OSTICKET_ROW = {
    "Ticket Number": "471{n}",
    "Date Created": "2024-03-04 10:00:00",
    "Subject": "Printer {n}",
    "From": "Ann Lee",
    "From Email": "ann@x.org",
    "Priority": "Normal",
    "Department": "Support",
    "Help Topic": "Report a Problem",
    "Source": "Web",
    "Current Status": "Open",
    "Overdue": "No",
    "Thread Count": "2",
}
TRAC_ROW = {
    "id": "471{n}",
    "Summary": "Printer {n}",
    "Reporter": "ann",
    "Owner": "bo",
    "Description": ASK + " {n}",
    "Type": "defect",
    "Status": "closed",
    "Priority": "major",
    "Milestone": "",
    "Component": "Printing",
    "Version": "1.0",
    "Resolution": "fixed",
    "Keywords": "printer lpr",
    "Cc": "",
}


@pytest.mark.parametrize(
    ("row", "separator", "labels", "tags"),
    [
        (REDMINE_ROW, ",", "Support/Help desk/Normal/Printing", ()),
        (BUGZILLA_ROW, ",", "/Printing//", ()),
        (RT_ROW, "\t", "/Printing/20/", ()),
        (OSTICKET_ROW, ",", "/Support/Normal/Report a Problem", ()),
        (TRAC_ROW, ",", "defect/Printing/major/", ("printer", "lpr")),
    ],
    ids=["redmine", "bugzilla", "rt", "osticket", "trac"],
)
def test_a_table_of_another_helpdesk(
    tmp_path: Path, row: dict[str, str], separator: str, labels: str, tags: tuple[str, ...]
) -> None:
    cells = read(tmp_path, table(row, separator), "t.csv")[1]
    first = cells[3]
    assert (len(cells), first.parts["id"], first.tags) == (9, "4713", tags)
    assert first.parts["subject"].startswith("Printer 3")
    assert first.parts.get("reply", "") == ""
    assert "/".join(first.labels.get(name, "") for name in ("type", "queue", "priority", "category")) == labels
