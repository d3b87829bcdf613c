"""Messages of machines are no reply: bots, rules, and automatic replies in many languages."""

from typing import Any

import pytest

from tests.test_message_authors import ANSWER, ASK, MORE, read, snow

AGENT = {"sender": "Agent", "internal": False}


def reply_behind(machine: dict[str, Any]) -> str:
    ask = {"sender": "Customer", "internal": False, "body": ASK}
    answer = {**AGENT, "body": ANSWER}
    conversation = read({"id": 1, "title": "s", "articles": [ask, machine, answer]})
    return str(conversation.turns[0].reply)


@pytest.mark.parametrize(
    "facts",
    [
        {"via": "rule"},
        {"via": {"channel": "system"}},
        {"rule_id": 4},
        {"preferences": {"is-auto-response": True, "send-auto-response": False}},
        {"headers": {"Auto-Submitted": "auto-replied"}},
        {"author": {"accountType": "app", "displayName": "Helper"}},
        {"author": {"login": "stale", "__typename": "Bot"}},
        {"author": {"login": "github-actions"}},
        {"author": {"login": "k8s-ci-robot"}},
        {"author": {"name": "Automation for Jira"}},
        {"user": {"type": "Bot", "login": "x"}},
        {"sender": {"type": "agent_bot"}},
        {"author": {"name": "Desk", "bot": True}},
    ],
)
def test_a_machine_is_known_by_what_its_message_says(facts: dict[str, Any]) -> None:
    assert reply_behind({**AGENT, **facts, "body": "We have your request"}) == ANSWER


@pytest.mark.parametrize(
    "subject",
    [
        *("Automatic reply: s", "Out of Office: s", "Automatische Antwort: s", "Abwesend: s", "Abwesenheitsnotiz: s"),
        *("Réponse automatique : s", "Absence du bureau : s", "Respuesta automática: s", "Fuera de la oficina: s"),
        *("Risposta automatica: s", "Fuori ufficio: s", "Automatisch antwoord: s", "Afwezig: s", "Autosvar: s"),
        *("Resposta automática: s", "Fora do escritório: s", "Odpowiedź automatyczna: s", "Autoodpowiedź: s"),
        *("Re: Automatic reply: s", "[Auto-Reply] s"),
    ],
)
def test_subjects_of_automatic_replies(subject: str) -> None:
    assert reply_behind({**AGENT, "subject": subject, "body": "I read this on Monday"}) == ANSWER


@pytest.mark.parametrize(
    "text",
    [
        "This is an automated message. Your request has been received.",
        "Thank you for your message. I am out of the office until 5 March.",
        "Vielen Dank für Ihre Nachricht. Ich bin bis 5. März nicht im Büro.",
        "Ich bin derzeit nicht im Haus.",
        "Dies ist eine automatisch generierte Nachricht, bitte nicht antworten.",
        "Ihre Anfrage ist bei uns eingegangen (automatische Eingangsbestätigung).",
        "[Auto-Response] We got your ticket",
        "Ceci est un message automatique, merci de ne pas y répondre",
        "Questo è un messaggio automatico",
        "Dit bericht is automatisch gegenereerd",
        "Esta é uma mensagem automática",
        "Ta wiadomość została wygenerowana automatycznie",
    ],
)
def test_texts_of_automatic_replies(text: str) -> None:
    assert reply_behind({**AGENT, "body": text}) == ANSWER


@pytest.mark.parametrize(
    "text", ["The automatic door is open again.", "Abbott restarted it.", "Afwezigheid is now a type of leave."]
)
def test_texts_of_people(text: str) -> None:
    message = {**AGENT, "author": {"name": "Lucy Abbot", "login": "abbot"}, "body": text}
    assert reply_behind(message) in (text, ANSWER)
    assert reply_behind({**AGENT, "author": {"login": "abbot"}, "body": ANSWER + "!"}) == ANSWER + "!"


def test_a_requester_who_is_away_still_has_a_ticket() -> None:
    text = "I am out of the office until Friday and cannot reach the VPN"
    conversation = read({"id": 1, "articles": [{"sender": "Customer", "internal": False, "body": text}]})
    assert conversation.text == text


def test_a_journal_entry_of_the_system_is_no_reply() -> None:
    kind = "Additional comments"
    record = snow(
        ("2024-03-04 12:00:00", "Bo Agent", kind, ANSWER),
        ("2024-03-04 10:00:00", "Ann User", kind, MORE),
        ("2024-03-04 09:00:00", "System", kind, "Your incident has been created"),
    )
    assert [turn.reply for turn in read(record, "description").turns] == [ANSWER]


@pytest.mark.parametrize("text", ["Out of office replies are not sent", "Abwesenheitsnotiz: wie stelle ich sie ein?"])
@pytest.mark.parametrize("facts", [{"sender": "Customer", "internal": False}, {"from": "ann@ex.com"}])
def test_a_ticket_about_automatic_replies_keeps_its_text(text: str, facts: dict[str, Any]) -> None:
    message = {**facts, "subject": text, "body": text}
    assert read({"id": 1, "articles": [message, {**AGENT, "body": ANSWER}]}).text == text


def test_a_ticket_that_a_machine_sent_keeps_its_text() -> None:
    alert = {"from": "Nagios <noreply@monitor.example>", "internal": False, "body": "Disk full"}
    assert read({"id": 1, "articles": [alert, {**AGENT, "body": ANSWER}]}).text == "Disk full"


@pytest.mark.parametrize(
    "text",
    [
        "Le rapport est envoyé automatiquement chaque lundi",
        "Ative a resposta automática nas definições",
        "Bitte schalten Sie die automatische Benachrichtigung aus",
        "Automatic reply settings are under File",
        "Il report viene inviato automaticamente",
        "De factuur wordt automatisch verzonden",
    ],
)
def test_answers_about_automatic_things_are_answers(text: str) -> None:
    assert reply_behind({**AGENT, "body": text}) == text
