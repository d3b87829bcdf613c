"""Histories, timelines and lists of mails: what people said in them is the conversation, what happened is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from tickets.conversations.assemble import NO_AUDIENCE, NO_AUTHOR, find_conversations, read_conversation
from tickets.flatten import flatten
from tickets.preparation.rows import Source

ASK, NOTE, ANSWER = "It does not print", "INTERNAL: refuse", "Try port two"
NAMES = ["history", "activities", "events", "emails", "answers", "responses", "replies", "thread", "threads"]
NAMES += ["notes", "timeline", "activity", "feed", "ticket_history", "caseEvents", "communications"]
NAMES += ["interactions"]


def read(record: dict[str, Any], body: str = "description") -> Any:
    fields = flatten(record)
    return read_conversation(fields, find_conversations(list(fields), [fields]), str(fields.get(body, "")), "s")


def said(record: dict[str, Any]) -> tuple[str, list[str]]:
    conversation = read(record)
    return conversation.text, [turn.reply for turn in conversation.turns]


def message(author: int, text: str, **more: Any) -> dict[str, Any]:
    return {"author": {"id": author}, "text": text, "public": True, **more}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("with_body", [True, False])
def test_members_with_author_and_text_are_a_conversation(name: str, with_body: bool) -> None:
    listed = [message(5, ASK), message(9, NOTE, public=False), message(9, ANSWER)]
    record = {"id": 1, "requester_id": 5, name: listed, **({"description": ASK} if with_body else {})}
    assert said(record) == (ASK, [ANSWER])


@pytest.mark.parametrize("name", ["history", "timeline", "emails", "answers"])
@pytest.mark.parametrize(
    ("hidden", "reason"),
    [
        ({"author": {"id": 9}, "text": ANSWER}, NO_AUDIENCE),
        ({"author": {"login": "bo"}, "text": ANSWER, "public": True}, NO_AUTHOR),
    ],
)
def test_no_reply_is_guessed(name: str, hidden: dict[str, Any], reason: str) -> None:
    requester = {"requester_id": 5} if reason == NO_AUDIENCE else {}
    conversation = read({"id": 1, "description": ASK, **requester, name: [hidden]})
    assert (conversation.turns, conversation.unknown) == ((), reason)


@pytest.mark.parametrize("field", ["action", "event", "event_type", "activityType", "type", "kind"])
@pytest.mark.parametrize(
    ("internal", "public"),
    [("internal note", "public reply"), ("private_comment", "public_comment"), ("note", "reply")],
)
def test_the_kind_of_a_member_says_who_sees_it(field: str, internal: str, public: str) -> None:
    asked = {"author": {"id": 5}, "text": ASK, field: "comment"}
    told = [{"author": {"id": 9}, "text": t, field: kind} for t, kind in ((NOTE, internal), (ANSWER, public))]
    assert said({"id": 1, "requester_id": 5, "history": [asked, *told]}) == (ASK, [ANSWER])


@pytest.mark.parametrize(
    "change",
    [
        {"type": "status_change", "text": "From new to open because of the holidays"},
        {"event": "assigned", "text": "to the second line, please hurry"},
        {"action": "priority", "text": "High since the customer waits"},
        {"activity_type": "comment_edited", "text": "An earlier wording of it"},
        {"text": "Status changed from New to Open"},
        {"text": "Ticket #4711 was assigned to Bo Lee"},
        {"text": "Priorität wurde geändert auf hoch"},
        {"text": "Assigned to Bo"},
        {"field": "status", "old_value": "new", "new_value": "open", "value": "open"},
    ],
)
@pytest.mark.parametrize("author", [5, 9])
def test_changes_are_no_messages(change: dict[str, Any], author: int) -> None:
    listed = [
        {"author": {"id": author}, "public": True, **change},
        message(5, ASK, type="comment"),
        message(9, ANSWER, type="comment_added"),
    ]
    assert said({"id": 1, "requester_id": 5, "history": listed}) == (ASK, [ANSWER])


def test_words_about_a_status_are_a_message() -> None:
    text = "Status changed to error on my printer, and now nothing comes out of it any more."
    assert said({"id": 1, "requester_id": 5, "history": [message(5, text), message(9, ANSWER)]}) == (text, [ANSWER])


def test_a_list_of_changes_alone_is_no_conversation(tmp_path: Path) -> None:
    changes = [{"author": "Bo", "field": "status", "new_value": "open", "text": "Status set to open"}]
    records = [{"id": n, "subject": "s", "description": ASK, "history": changes} for n in range(4)]
    (tmp_path / "t.json").write_text(json.dumps(records))
    source = Source.open(str(tmp_path / "t.json"))
    assert [source.cells(row).parts.get("reply", "") for row in source.rows] == [""] * 4
    assert not source.conversations


@pytest.mark.parametrize(
    "mail",
    [
        {"from": "bo@d.org", "to": ["ann@x.org"]},
        {"from": "Bo <bo@d.org>", "to": "Ann Lee <Ann@X.org>, chef@d.org"},
        {
            "from": {"emailAddress": {"address": "bo@d.org"}},
            "toRecipients": [{"emailAddress": {"address": "ann@x.org"}}],
        },
        {"senderEmail": "bo@d.org", "recipients": [{"email": "ann@x.org"}]},
    ],
)
def test_a_mail_to_the_requester_is_public(mail: dict[str, Any]) -> None:
    ask = {"from": "ann@x.org", "to": ["desk@d.org"], "body": ASK}
    inside = {"from": "bo@d.org", "to": ["chef@d.org"], "body": NOTE}
    record = {"id": 1, "requester": {"email": "ann@x.org"}, "emails": [ask, inside, {**mail, "body": ANSWER}]}
    assert said(record) == (ASK, [ANSWER])


def test_what_a_history_repeats_of_the_comments_counts_once() -> None:
    comments = [message(5, ASK), message(9, ANSWER)]
    record = {"id": 1, "requester_id": 5, "history": [*comments, message(9, "And port three")], "comments": comments}
    assert said(record) == (ASK, [ANSWER, "And port three"])


def test_the_edits_of_a_message_are_no_messages() -> None:
    edits = [{"author": {"id": 9}, "text": "Try port one", "public": True}]
    record = {"id": 1, "requester_id": 5, "comments": [message(5, ASK), {**message(9, ANSWER), "history": edits}]}
    assert said(record) == (ASK, [ANSWER])


def test_events_in_the_audits_of_zendesk_are_one_conversation() -> None:
    audits = [
        [{"type": "Comment", "author_id": 5, "body": ASK, "public": True}, {"type": "Change", "value": "open"}],
        [{"type": "Comment", "author_id": 9, "body": NOTE, "public": False}],
        [
            {"type": "Notification", "body": "We got it"},
            {"type": "Comment", "author_id": 9, "body": ANSWER, "public": True},
        ],
    ]
    record = {"id": 1, "requester_id": 5, "audits": [{"author_id": 9, "events": events} for events in audits]}
    assert said(record) == (ASK, [ANSWER])


@pytest.mark.parametrize("name", ["worklogs", "status_history", "work_log", "change_history"])
def test_lists_of_work_are_no_conversation(name: str) -> None:
    record = {"id": 1, "requester_id": 5, "description": ASK, name: [message(9, NOTE)]}
    assert said(record) == (ASK, [])


@pytest.mark.parametrize("name", ["emails", "activities", "timeline", "responses"])
def test_the_same_names_hold_tickets_in_a_page_and_messages_in_a_ticket(tmp_path: Path, name: str) -> None:
    page = {"total": 2, name: [{"id": n, "subject": f"s{n}", "body": ASK} for n in range(2)]}
    tickets = [{"id": n, "customer": "ann", name: [message(5, ASK), message(9, ANSWER)]} for n in range(3)]
    counts = []
    for value in (page, tickets):
        (tmp_path / "t.json").write_text(json.dumps(value))
        source = Source.open(str(tmp_path / "t.json"))
        counts.append([source.cells(row).parts["body"] for row in source.rows])
    assert counts == [[ASK] * 2, [ASK] * 3]
