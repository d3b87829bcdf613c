"""Who wrote a message and who may see it, in the words of many helpdesks; what is not known gives no reply."""

from typing import Any

import pytest

from tickets.conversations.acknowledgements import acknowledges
from tickets.conversations.assemble import (
    NO_AUDIENCE,
    NO_AUTHOR,
    NO_MATCH,
    NO_NAME,
    NO_ORDER,
    find_conversations,
    read_conversation,
)
from tickets.flatten import flatten

ASK, MORE, NOTE, ANSWER, LATER = "It does not print", "It is urgent", "INTERNAL: refuse", "Try port two", "Solved now"


def read(record: dict[str, Any], body: str = "", trusted: str = "", subject: str = "s") -> Any:
    fields = flatten(record)
    columns = find_conversations(list(fields), [fields])
    if trusted:
        columns = columns.trust(trusted) or columns
    return read_conversation(fields, columns, str(fields.get(body, "")), subject)


def replies(record: dict[str, Any], body: str = "", trusted: str = "") -> list[str]:
    return [turn.reply for turn in read(record, body, trusted).turns]


def journal(*entries: tuple[str, str, str, str]) -> str:
    return "\n\n".join(f"{date} - {name} ({kind})\n{text}" for date, name, kind, text in entries)


def snow(*entries: tuple[str, str, str, str]) -> dict[str, Any]:
    return {"caller_id": "Ann User", "description": ASK, "comments_and_work_notes": journal(*entries)}


@pytest.mark.parametrize(
    ("public", "internal"),
    [
        ("Additional comments", "Work notes"),
        ("Additional comments (Customer visible)", "Work notes"),
        ("Zusätzliche Kommentare", "Arbeitsnotizen"),
        ("Commentaires supplémentaires", "Notes de travail"),
        ("Comentarios adicionales", "Notas de trabajo"),
        ("Commenti aggiuntivi", "Note di lavoro"),
        ("Aanvullende opmerkingen", "Werknotities"),
        ("Comentários adicionais", "Anotações de trabalho"),
        ("Dodatkowe komentarze", "Notatki robocze"),
    ],
)
def test_work_notes_are_internal_in_every_language(public: str, internal: str) -> None:
    record = snow(
        ("2024-03-04 12:00:00", "Bo Agent", public, ANSWER), ("2024-03-04 10:00:00", "Bo Agent", internal, NOTE)
    )
    assert replies(record, "description") == [ANSWER]


def test_a_journal_of_unknown_name_is_no_reply() -> None:
    record = snow(("2024-03-04 10:00:00", "Bo Agent", "Sisäiset merkinnät", NOTE))
    conversation = read(record, "description")
    assert (conversation.turns, conversation.unknown) == ((), NO_AUDIENCE)


@pytest.mark.parametrize("date", ["{:02d}.03.2024 09:00:00", "03/{:02d}/2024 09:00:00 AM", "2024-03-{:02d} 09:00:00"])
def test_newest_first_is_turned_whatever_the_date(date: str) -> None:
    days = [(21, LATER), (14, ANSWER), (13, MORE)]
    kind = "Additional comments"
    names = {MORE: "Ann User"}
    record = snow(*((date.format(day), names.get(text, "Bo Agent"), kind, text) for day, text in days))
    assert replies(record, "description") == [ANSWER, LATER]


def test_epoch_seconds_order_messages() -> None:
    messages = [
        {"is_inbound": False, "created_at": 1709544520.5, "text": ANSWER},
        {"is_inbound": True, "created_at": 1709543520, "text": ASK},
    ]
    conversation = read({"id": 1, "messages": messages})
    assert (conversation.text, [t.reply for t in conversation.turns]) == (ASK, [ANSWER])


def test_dates_with_two_meanings_give_no_reply() -> None:
    kind = "Additional comments"
    record = snow(("03/04/2024 09:00:00", "Bo Agent", kind, ANSWER), ("02/05/2024 09:00:00", "Bo Agent", kind, LATER))
    conversation = read(record, "description")
    assert (conversation.turns, conversation.unknown) == ((), NO_ORDER)


@pytest.mark.parametrize(
    "note",
    [
        {"type": "note", "createdBy": {"id": 9, "type": "user"}},
        {"part_type": "note", "author": {"id": 9, "type": "admin"}},
        {"channel": "internal-note", "from_agent": True},
        {"visibility": "private", "author_type": "AGENT"},
        {"visibility": "internal", "author_type": "AGENT"},
        {"type": "N", "poster": "Bo"},
        {"author": {"id": 9, "type": "agent"}, "public": False},
        {"author": {"id": 9, "type": "agent"}, "is_draft": True, "public": True},
        {"createdBy": {"id": 9, "type": "user"}, "type": "message", "state": "draft"},
    ],
)
def test_an_internal_note_is_neither_ticket_nor_reply(note: dict[str, Any]) -> None:
    ask = {"author": {"id": 5, "type": "customer"}, "public": True, "body": ASK}
    answer = {"author": {"id": 9, "type": "agent"}, "public": True, "body": ANSWER}
    for messages in ([{**note, "body": NOTE}, ask, answer], [ask, {**note, "body": NOTE}, answer]):
        conversation = read({"id": 1, "messages": messages})
        assert (conversation.text, [turn.reply for turn in conversation.turns]) == (ASK, [ANSWER])


@pytest.mark.parametrize(
    ("ask", "answer"),
    [
        (
            {"type": "customer", "createdBy": {"id": 5, "type": "customer"}},
            {"type": "message", "createdBy": {"id": 9, "type": "user"}},
        ),
        ({"type": "M", "poster": "Ann"}, {"type": "R", "poster": "Bo"}),
        ({"from_agent": False, "public": True}, {"from_agent": True, "public": True}),
        ({"visibility": "public", "author_type": "END_USER"}, {"visibility": "public", "author_type": "AGENT"}),
        ({"direction": "inbound", "public": True}, {"direction": "outbound", "public": True}),
        (
            {"author": {"type": "user"}, "part_type": "comment"},
            {"author": {"type": "admin"}, "part_type": "comment"},
        ),
        (
            {"message_type": 0, "private": False, "sender": {"id": 5, "type": "contact"}},
            {"message_type": 1, "private": False, "sender": {"id": 5, "type": "user"}},
        ),
        (
            {"sender_id": 2, "created_by_id": 5, "internal": False},
            {"sender_id": 1, "created_by_id": 9, "internal": False},
        ),
        ({"SenderTypeID": 3, "IsVisibleForCustomer": 1}, {"SenderTypeID": 1, "IsVisibleForCustomer": 1}),
        ({"by": {"type": "user"}, "public": True}, {"by": {"type": "staff"}, "public": True}),
        ({"is_requester": True, "public": True}, {"is_requester": False, "public": True}),
        ({"role": "customer", "public": True}, {"role": "support", "public": True}),
        (
            {"direction": "in", "visibility": "public", "author": {"id": 5}},
            {"direction": "out", "visibility": "public", "author": {"id": 9}},
        ),
    ],
)
def test_roles_are_read_as_each_helpdesk_states_them(ask: dict[str, Any], answer: dict[str, Any]) -> None:
    texts = [(ask, ASK), (ask, MORE), (answer, ANSWER)]
    conversation = read({"id": 1, "messages": [{**facts, "body": text} for facts, text in texts]})
    assert (conversation.text, [turn.reply for turn in conversation.turns]) == (ASK, [ANSWER])


def test_comments_beside_messages_with_a_direction_are_not_the_ticket() -> None:
    comments = [{"author": {"id": "t2", "email": "boss@desk.com"}, "body": NOTE, "posted_at": 1709543400}]
    messages = [
        {"is_inbound": True, "created_at": 1709543520, "text": ASK},
        {"is_inbound": False, "created_at": 1709544520, "author": {"id": "t1"}, "text": ANSWER},
    ]
    record = {"id": 1, "subject": "s", "comments": comments, "messages": messages}
    conversation = read(record)
    assert (conversation.text, [turn.reply for turn in conversation.turns]) == (ASK, [ANSWER])
    assert replies(record, trusted="messages") == [ANSWER]


def test_a_customer_that_is_a_company_does_not_make_the_writer_an_agent() -> None:
    comments = [("Ann Lee", ASK), ("Ann Lee", MORE), ("Bo Agent", ANSWER)]
    record: dict[str, Any] = {"customer": "ACME GmbH", "description": ASK}
    record |= {"comments": [{"author": name, "public": True, "body": text} for name, text in comments]}
    assert replies(record, "description") == [ANSWER]
    record["comments"] = record["comments"][1:]
    conversation = read(record, "description")
    assert (conversation.turns, conversation.unknown) == ((), NO_MATCH)


def test_a_customer_number_counts_where_some_message_has_it() -> None:
    comments = [{"author_id": 9, "public": True, "body": ANSWER}]
    fields = [flatten({"customer_id": 5, "description": ASK, "comments": comments}) for _ in range(2)]
    fields[1]["comments.0.author_id"] = 5
    columns = find_conversations(list(fields[0]), fields)
    assert [t.reply for t in read_conversation(fields[0], columns, ASK).turns] == [ANSWER]
    columns = find_conversations(list(fields[0]), fields[:1])
    assert read_conversation(fields[0], columns, ASK).turns == ()


@pytest.mark.parametrize(
    ("requester", "author"),
    [
        ("Ida Example", "5b10ac8d82e05b22cc7d0000"),
        ("Ida Example", "712020:0b6d6f60-7d5c-4ae1-8a4e-0f1f3a9d9d11"),
        ("Ida Example", "iexample"),
        ("Example, Ida", "Ida Example"),
        ("Ida", "Ida Example"),
    ],
)
def test_the_requester_under_another_name_is_no_agent(requester: str, author: str) -> None:
    cells = {"Comment": f"04/Mar/24 9:30 AM;{author};{MORE}", "Description": ASK, "Reporter": requester}
    assert replies(cells, "Description", "Comment") == []


def test_names_of_two_people_tell_who_is_who() -> None:
    cells = {"Description": ASK, "Reporter": "Ida Example", "Comment": f"04/Mar/24 9:30 AM;Bo Agent;{ANSWER}"}
    assert replies(cells, "Description", "Comment") == [ANSWER]


def test_an_agents_answer_is_never_the_ticket() -> None:
    answer = {"author": {"type": "agent"}, "public": True, "body": ANSWER}
    assert read({"id": 1, "messages": [answer]}).text == ""
    comments = {"nodes": [{"author": {"login": "maint"}, "body": ANSWER}]}
    conversation = read({"number": 1, "title": ASK, "comments": comments})
    assert (conversation.text, conversation.turns, conversation.unknown) == ("", (), NO_AUTHOR)


def test_an_object_in_place_of_a_list_of_one_is_a_message() -> None:
    article = {"SenderType": "customer", "IsVisibleForCustomer": 1, "Body": ASK}
    assert read({"Title": "s", "Article": article}).text == ASK


def test_a_rendered_copy_is_not_a_second_reply() -> None:
    comments = [{"author": {"accountId": "a9"}, "jsdPublic": True, "body": ANSWER}]
    rendered = [{**comments[0], "body": f"<p>{ANSWER}</p>"}]
    record = {
        "fields": {"description": ASK, "reporter": {"accountId": "a5"}, "comment": {"comments": comments}},
        "renderedFields": {"comment": {"comments": rendered}},
    }
    assert replies(record, "fields.description") == [ANSWER]


@pytest.mark.parametrize(
    "message",
    [
        {"notes": ANSWER, "private_notes": False},
        {"contents": ANSWER, "public": True},
        {"description": ANSWER, "show_to_requester": True},
        {"text": ANSWER, "visibility": {"$type": "UnlimitedVisibility"}},
        {"comment": ANSWER, "public": "1"},
    ],
)
@pytest.mark.parametrize("name", ["journals", "posts", "notes", "comments"])
def test_texts_and_audience_under_many_names(name: str, message: dict[str, Any]) -> None:
    record = {"requester": {"id": 5}, "description": ASK, name: [{**message, "user": {"id": 9}}]}
    assert replies(record, "description") == [ANSWER]


def test_numbers_tell_two_people_apart_whose_names_cannot_be_compared() -> None:
    journals = [{"user": {"id": 9, "name": "Bo"}, "notes": ANSWER, "private_notes": False}]
    record = {"author": {"id": 5, "name": "Ann Lee"}, "description": ASK, "journals": journals}
    assert replies(record, "description") == [ANSWER]


def test_advice_is_given_only_where_it_helps() -> None:
    comment = {"public": True, "body": ANSWER}
    nobody = {"subject": "s", "description": ASK, "comments": [comment]}
    assert read(nobody, "description").unknown == NO_AUTHOR
    assert replies(nobody, "description", "comments") == [ANSWER]
    named = {**nobody, "requester_id": 5}
    assert read(named, "description").unknown == NO_NAME
    assert replies(named, "description", "comments") == []


@pytest.mark.parametrize(
    ("internal", "public"),
    [
        ({"internal_only": True}, {"internal_only": False}),
        ({"public_flag": "N"}, {"public_flag": "Y"}),
        ({"isVisibleToEndUser": False}, {"isVisibleToEndUser": True}),
        ({"showOnPortal": 0}, {"showOnPortal": 1}),
        ({"invisibleForCaller": True}, {"invisibleForCaller": False}),
        ({"intern": "ja"}, {"intern": "nein"}),
        ({"visibility": "INTERNAL_USERS"}, {"visibility": "ALL_USERS"}),
        ({"visibility": "Not visible to customer"}, {"visibility": "Customer visible"}),
        ({"Sichtbarkeit": "intern"}, {"Sichtbarkeit": "öffentlich"}),
        ({"type": "Interne Notiz"}, {"type": "Öffentliche Antwort"}),
        ({"type": "note"}, {"type": "reply"}),
        ({"original": {"resource_type": "note"}}, {"original": {"resource_type": "case_message"}}),
        (
            {"properties": [{"key": "sd.public.comment", "value": {"internal": True}}]},
            {"properties": [{"key": "sd.public.comment", "value": {"internal": False}}]},
        ),
    ],
)
@pytest.mark.parametrize("name", ["comments", "ticket_comments", "ticketComments", "ITILFollowup", "EmailMessages"])
def test_flags_and_lists_of_many_names(name: str, internal: dict[str, Any], public: dict[str, Any]) -> None:
    messages = [
        {"author": "kim", "body": ASK, **public},
        {"author": "ann", "body": NOTE, **internal},
        {"author": "ann", "body": ANSWER, **public},
    ]
    conversation = read({"requester": "kim", name: messages})
    assert (conversation.text, [turn.reply for turn in conversation.turns]) == (ASK, [ANSWER])


def test_the_name_of_a_list_tells_its_audience() -> None:
    record = {
        "requester": "kim",
        "description": ASK,
        "internal_comments": [{"author": "ann", "body": NOTE}],
        "public_comments": [{"author": "ann", "body": ANSWER}],
    }
    assert replies(record, "description") == [ANSWER]


@pytest.mark.parametrize(
    "fields", [{"external_id": 1}, {"public_id": 1}, {"channel": "twitter private message"}, {"type": "question"}]
)
def test_other_fields_do_not_tell_the_audience(fields: dict[str, Any]) -> None:
    record = {"requester": "kim", "description": ASK, "comments": [{"author": "ann", "body": NOTE, **fields}]}
    assert read(record, "description").unknown == NO_AUDIENCE


ACKNOWLEDGEMENTS = [
    "Thank you for contacting us. Your request (123) has been received and is being reviewed by our support staff.\n\n"
    "To add additional comments, reply to this email.",
    "Hello Kim,\n\nWe have received your request and a ticket #123 has been created. We will get back to you within "
    "24 hours.\n\nBest regards\nThe Acme Support Team",
    "##- Please type your reply above this line -##\n\nYour request (5) has been updated.",
    "Vielen Dank für Ihre Anfrage. Ihr Ticket wurde unter der Nummer 123 erfasst. Wir melden uns bei Ihnen.",
    "Bonjour,\nVotre demande n° 123 a bien été enregistrée. Notre équipe vous répondra dans les plus brefs délais.",
    "Su solicitud ha sido registrada con el número 55. Le responderemos lo antes posible.",
    "La tua richiesta è stata ricevuta e sarà presa in carico al più presto.",
    "Uw melding is geregistreerd onder nummer 12. Wij nemen zo spoedig mogelijk contact met u op.",
    "Sua solicitação foi recebida. Responderemos em breve.",
    "Twoje zgłoszenie zostało zarejestrowane pod numerem 5. Odpowiemy najszybciej jak to możliwe.",
]


@pytest.mark.parametrize("text", ACKNOWLEDGEMENTS)
def test_that_a_request_has_arrived_is_no_reply(text: str) -> None:
    record = {
        "requester": "kim",
        "description": ASK,
        "comments": [
            {"author": "ann", "body": text, "public": True},
            {"author": "ann", "body": ANSWER, "public": True},
        ],
    }
    assert replies(record, "description") == [ANSWER]


@pytest.mark.parametrize(
    "text",
    [
        "We have received your request and shipped a replacement today.",
        "We received your message. Could you send us the invoice number?",
        "Please send us the ticket number of the request that was created.",
        "Ich habe Ihre Anfrage erhalten und das Passwort zurückgesetzt.",
        "Your account has been created. You can log in now.",
        "We have opened a case with the vendor and will get back to you within two business days.",
    ],
)
def test_a_reply_that_says_more_is_one(text: str) -> None:
    assert not acknowledges(text)


def test_without_dates_the_ticket_tells_the_order() -> None:
    comments = [{"author": "ann", "body": ANSWER, "public": True}, {"author": "kim", "body": ASK, "public": True}]
    assert replies({"requester": "kim", "description": ASK, "comments": comments}, "description") == [ANSWER]


@pytest.mark.parametrize("name", ["latest_comment", "lastComment", "first_thread"])
def test_a_message_that_is_repeated_is_no_conversation(name: str) -> None:
    record = {"requester": "kim", "description": ASK, name: {"author": "ann", "body": LATER, "public": True}}
    assert not find_conversations(list(flatten(record)), [flatten(record)])
    comments = [{"author": "ann", "body": ANSWER, "public": True}, {"author": "ann", "body": LATER, "public": True}]
    assert replies({**record, "comments": comments}, "description") == [ANSWER, LATER]


@pytest.mark.parametrize("name", ["suggested_articles", "relatedComments", "canned_replies", "merged_notes"])
def test_texts_that_are_only_offered_are_no_replies(name: str) -> None:
    record = {"requester": "kim", "description": ASK, name: [{"author": "ann", "body": LATER, "public": True}]}
    assert not find_conversations(list(flatten(record)), [flatten(record)])
