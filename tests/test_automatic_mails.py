"""Automatic replies and reports of mail servers are no tickets; what people write about them is one."""

from pathlib import Path

import pytest

from tickets.errors import InputError
from tickets.formats.readers import read_rows
from tickets.formats.text_file import read_text

ASK, AWAY = "It does not print", "I am away until Monday"


def mail(header: str = "", subject: str = "Printer", body: str = ASK, sender: str = "Ida <i@example.com>") -> str:
    return f"Message-ID: <1@example.com>\nFrom: {sender}\nSubject: {subject}\n{header}\n{body}\n"


REPORT = "Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: text/plain\n\nfailed\n--x--\n"
AUTOMATIC = [
    (mail("Auto-Submitted: auto-replied (vacation)\n"), "automatic reply: Auto-Submitted: auto-replied (vacation)"),
    (mail("X-Autoreply: yes\n"), "automatic reply: X-Autoreply: yes"),
    (mail("Precedence: auto_reply\n"), "automatic reply: Precedence: auto_reply"),
    (mail("Precedence: bulk\n"), "automatic reply: Precedence: bulk"),
    (mail("Return-Path: <>\n"), "automatic reply: Return-Path: <>"),
    (mail(subject="Automatic reply: Hello", body="Thanks"), "automatic reply: Subject: Automatic reply: Hello"),
    (mail(subject="Automatische Antwort: x", body="bin weg"), "automatic reply: Subject: Automatische Antwort: x"),
    (mail(subject="Out of office", body=AWAY), "automatic reply: Subject: Out of office"),
    (mail(subject="Abwesenheitsnotiz", body="Ich bin im Urlaub."), "automatic reply: Subject: Abwesenheitsnotiz"),
    (mail(sender="MAILER-DAEMON@example.com"), "report of a mail server: From: MAILER-DAEMON@example.com"),
    (f"Message-ID: <1@x>\nFrom: a@example.com\n{REPORT}", "report of a mail server: multipart/report"),
]
WRITTEN = [
    mail(),
    mail("Auto-Submitted: no\n"),
    mail("Auto-Submitted: auto-generated\n"),
    mail("X-Autoreply: no\n"),
    mail("Precedence: list\n"),
    mail("Precedence: bulk\nList-Post: <mailto:list@example.com>\n"),
    mail("Return-Path: <i@example.com>\n"),
    mail(subject="Re: Automatic reply: Hello", body="It still does not print"),
    mail(subject="Fwd: Out of office", body="What is this?"),
    mail(subject="Out of office", body="How do I set this up?"),
    mail(subject="Abwesenheitsnotiz", body="Ich kann sie nicht einrichten"),
    mail(subject="Out of office assistant does not start"),
]


@pytest.mark.parametrize(("text", "reason"), AUTOMATIC)
def test_an_automatic_mail_is_set_aside_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "m.eml").write_text(text, encoding="utf-8")
    [row] = read_rows(str(tmp_path))
    assert (row.fault, "Body" in row.fields) == (reason, True)
    with pytest.raises(InputError, match="expected a mail of a person"):
        read_text(tmp_path / "m.eml")


@pytest.mark.parametrize("text", WRITTEN)
def test_a_mail_that_a_person_may_have_written_is_a_ticket(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.eml").write_text(text, encoding="utf-8")
    assert [row.fault for row in read_rows(str(tmp_path))] == [None]


def test_the_mails_of_a_box_add_up(tmp_path: Path) -> None:
    texts = [*(text for text, _ in AUTOMATIC), *WRITTEN]
    box = "".join(f"From ida@example.com Mon Mar  4 09:12:00 2024\n{text}\n" for text in texts)
    (tmp_path / "a.mbox").write_text(box, encoding="utf-8")
    faults = [row.fault for row in read_rows(str(tmp_path / "a.mbox"))]
    assert faults == [*(reason for _, reason in AUTOMATIC), *(None for _ in WRITTEN)]
