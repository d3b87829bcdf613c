"""Which message is the ticket and which the reply: never an internal note, a machine's or the requester's own."""

import json
from pathlib import Path
from typing import Any

import pytest

from tickets.conversations.assemble import find_conversations, read_conversation
from tickets.flatten import flatten
from tickets.preparation.rows import Source

ASK, MORE, NOTE, ANSWER, LATER = "It does not print", "It is urgent", "INTERNAL: refuse", "Try port two", "Solved now"


def zendesk() -> dict[str, Any]:
    comments = [
        (5, True, ASK),
        (9, False, NOTE),
        (5, True, MORE),
        (9, True, ANSWER),
        (5, True, "Thanks"),
        (8, True, LATER),
    ]
    return {
        "id": 1,
        "description": ASK,
        "comments": [{"id": n, "author_id": a, "public": p, "plain_body": t} for n, (a, p, t) in enumerate(comments)],
    }


def zammad() -> dict[str, Any]:
    articles = [
        ("Customer", False, ASK),
        ("System", False, "We have your request"),
        ("Agent", True, NOTE),
        ("Customer", False, MORE),
        ("Agent", False, ANSWER),
        ("Agent", False, LATER),
    ]
    return {"number": 1, "title": "s", "articles": [{"sender": s, "internal": i, "body": b} for s, i, b in articles]}


def freshdesk() -> dict[str, Any]:
    messages = [(False, True, NOTE), (True, False, MORE), (False, False, ANSWER), (False, False, LATER)]
    return {
        "id": 1,
        "description_text": ASK,
        "conversations": [{"incoming": i, "private": p, "body_text": t} for i, p, t in messages],
    }


def jira() -> dict[str, Any]:
    def document(text: str) -> dict[str, Any]:
        return {"type": "doc", "content": [{"type": "paragraph", "content": [{"type": "text", "text": text}]}]}

    comments = [("a9", False, NOTE), ("a5", True, MORE), ("a9", True, ANSWER), ("a8", True, LATER)]
    messages = [{"author": {"accountId": a}, "jsdPublic": p, "body": document(t)} for a, p, t in comments]
    fields = {"summary": "s", "description": document(ASK), "reporter": {"accountId": "a5"}}
    return {"key": "S-1", "fields": {**fields, "comment": {"comments": messages}}}


def otrs() -> dict[str, Any]:
    articles = [
        ("customer", 1, ASK),
        ("system", 1, "We have your request"),
        ("agent", 0, NOTE),
        ("customer", 1, MORE),
        ("agent", 1, ANSWER),
        ("agent", 1, LATER),
    ]
    return {"Article": [{"SenderType": s, "IsVisibleForCustomer": v, "Body": b} for s, v, b in articles]}


def servicenow() -> dict[str, Any]:
    entries = [
        f"2024-03-04 12:00:00 - Bo Agent (Additional comments)\n{LATER}\n",
        f"2024-03-04 11:00:00 - Bo Agent (Additional comments)\n{ANSWER}\n",
        f"2024-03-04 10:30:00 - Ann User (Additional comments)\n{MORE}\n",
        f"2024-03-04 10:00:00 - Bo Agent (Work notes)\n{NOTE}\n",
    ]
    return {"caller_id": "Ann User", "description": ASK, "comments_and_work_notes": "\n".join(entries)}


def github() -> dict[str, Any]:
    people = [("ann", MORE), ("ci[bot]", "Built"), ("bo", ANSWER), ("cy", LATER)]
    comments = [{"author": {"login": p}, "authorAssociation": "NONE", "body": t} for p, t in people]
    return {"number": 1, "title": "s", "body": ASK, "author": {"login": "ann"}, "comments": comments}


BODY = {
    zendesk: "description",
    freshdesk: "description_text",
    jira: "fields.description",
    servicenow: "description",
    github: "body",
}


def read(record: dict[str, Any], body: str = "", trusted: str = "") -> Any:
    fields = flatten(record)
    columns = find_conversations(list(fields), [fields])
    if trusted:
        columns = columns.trust(trusted) or columns
    return read_conversation(fields, columns, fields.get(body, ""))


@pytest.mark.parametrize("export", [zendesk, zammad, freshdesk, jira, otrs, servicenow, github])
def test_the_first_public_message_of_somebody_else_is_the_reply(export: Any) -> None:
    conversation = read(export(), BODY.get(export, ""))
    assert conversation.text == ASK
    assert [turn.reply for turn in conversation.turns] == [ANSWER, LATER]
    spoken = [text for _, text in conversation.turns[1].before]
    assert spoken[:3] == [ASK, MORE, ANSWER]
    assert NOTE not in spoken and "We have your request" not in spoken


@pytest.mark.parametrize("export", [zendesk, zammad, freshdesk, jira, otrs, servicenow, github])
def test_prepare_finds_text_and_reply_without_a_preset(export: Any, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([export()]), encoding="utf-8")
    source = Source.open(str(path))
    parts = source.cells(next(source.rows)).parts
    assert (parts["body"], parts["reply"]) == (ASK, ANSWER)


def test_without_a_requester_of_its_own_the_author_of_the_first_message_is_the_requester() -> None:
    record = zendesk()
    assert "requester_id" not in record
    record["comments"] = record["comments"][:3]
    assert read(record, "description").turns == ()


@pytest.mark.parametrize("missing", ["public", "author_id"])
def test_no_reply_is_guessed_where_author_or_audience_is_unknown(missing: str) -> None:
    record = zendesk()
    for comment in record["comments"]:
        del comment[missing]
    record["requester_id"] = 5
    conversation = read(record, "description")
    assert conversation.turns == ()
    assert conversation.unknown


def test_jira_csv_comments_are_a_reply_only_when_asked_for() -> None:
    record = {"Description": ASK, "Reporter": "ann", "Comment": f"04/Mar/24 9:12 AM;ann;{MORE}"}
    record["Comment.2"] = f"04/Mar/24 10:12 AM;agent1;{ANSWER}"
    assert read(record, "Description").unknown == "it is unknown whether the requester sees a message"
    assert [turn.reply for turn in read(record, "Description", "Comment").turns] == [ANSWER]


def test_automatic_replies_are_no_reply() -> None:
    record = zammad()
    record["articles"][4]["body"] = "Out of office: back on Monday"
    assert read(record).turns[0].reply == LATER


def test_a_ticket_that_an_agent_opened_is_not_its_own_reply() -> None:
    record = zendesk()
    record["requester_id"], record["comments"][0]["author_id"] = 5, 9
    assert read(record, "description").turns[0].reply == ANSWER
