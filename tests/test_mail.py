"""Mails as input: `.eml`, `.mbox`, folders and archives of them, and what mail programs get wrong."""

import gzip
import json
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.test_exports import prepared
from tickets.cleaning.clean import Cleaner
from tickets.errors import InputError
from tickets.formats.mail import mail_row, read_mailbox
from tickets.formats.text_file import read_text, read_ticket
from tickets.preparation.rows import Source
from tickets.schema import Ticket

HEAD = b"From: Ida Huber <ida@example.com>\r\nSubject: Drucker\r\nDate: Mon, 4 Mar 2024 09:12:00 +0100\r\n"
WORDS = [" ".join(f"word{n}x{k}" for k in range(12)) for n in range(16)]


def mail(text: str, number: int = 0, html: str = "") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["Subject"] = "Ida Huber <ida@example.com>", f"Drucker {number}"
    message["Date"], message["Message-ID"] = "Mon, 4 Mar 2024 09:12:00 +0100", f"<m{number}@example.com>"
    if text:
        message.set_content(text)
    if html and text:
        message.add_alternative(html, subtype="html")
    elif html:
        message.set_content(html, subtype="html")
    return message


def read(content: bytes, tmp_path: Path) -> Ticket:
    path = tmp_path / "m.eml"
    path.write_bytes(content)
    return read_ticket(path)


def as_prepare_reads(path: Path) -> tuple[str, str]:
    source, cleaner = Source.open(str(path)), Cleaner()
    cleaner.decide_escapes(source.sample)
    ticket = next(source.ticket(source.cells(row), 1, cleaner) for row in source.rows)
    return ticket.subject, ticket.body


@pytest.mark.parametrize(
    ("content", "subject", "body"),
    [
        (bytes(mail("Er druckt nicht. Größe?")), "Drucker 0", "Er druckt nicht. Größe?"),
        (bytes(mail("plain", html="<p>rich</p>")), "Drucker 0", "plain"),
        (bytes(mail("", html="<p>a<br>b &amp; c</p>")), "Drucker 0", "a\nb & c"),
        (bytes(mail(" \n ", html="<p>rich</p>")), "Drucker 0", "rich"),
        (HEAD + b"\r\nplain", "Drucker", "plain"),
        (HEAD.replace(b"\r\n", b"\n") + b"\nplain", "Drucker", "plain"),
        (HEAD + b"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xf6\xdfe", "Drucker", "Größe"),
        (HEAD + b"Content-Type: text/plain; charset=utf-8\r\n\r\nGr\xf6\xdfe", "Drucker", "Größe"),
        (HEAD + b"Content-Type: text/plain; charset=us-ascii\r\n\r\nGr\xc3\xb6\xc3\x9fe", "Drucker", "Größe"),
        (HEAD + b"Content-Type: text/plain; charset=x-nowhere\r\n\r\nGr\xc3\xb6\xc3\x9fe", "Drucker", "Größe"),
        (
            HEAD + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
            b"Gr=C3=B6=C3=9Fe und=\r\n mehr =3D",
            "Drucker",
            "Größe und mehr =",
        ),
        (HEAD.replace(b"Drucker", b"=?utf-8?q?Gr=C3=B6=C3=9Fe?=") + b"\r\nx", "Größe", "x"),
        (HEAD.replace(b"Drucker", b"=?iso-8859-1?B?R3L232U=?=\r\n =?utf-8?q?!?=") + b"\r\nx", "Größe!", "x"),
        (HEAD.replace(b"Drucker", "Größe".encode()) + b"\r\nx", "Größe", "x"),
        (HEAD.replace(b"Drucker", "Größe".encode("cp1252")) + b"\r\nx", "Größe", "x"),
        (HEAD + b"\r\n", "Drucker", ""),
        (
            HEAD + b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext",
            "Drucker",
            "text",
        ),
        (HEAD + b"\r\nAnswer\r\n\r\nOn Mon, 4 Mar 2024, Max <m@x.de> wrote:\r\n> old", "Drucker", "Answer"),
    ],
)
def test_a_mail_is_a_ticket_for_predict_and_prepare(content: bytes, subject: str, body: str, tmp_path: Path) -> None:
    ticket = read(content, tmp_path)
    assert (ticket.subject, ticket.body) == (subject, body)
    assert as_prepare_reads(tmp_path / "m.eml") == (subject, body)


def test_an_attached_mail_is_passed_on(tmp_path: Path) -> None:
    outer = mail("See below, please.", 1)
    outer.add_attachment(mail("The printer is broken.", 2))
    body = read(bytes(outer), tmp_path).body
    assert body.startswith("See below, please.")
    assert "From: Ida Huber" in body
    assert "Drucker 2" in body
    assert body.endswith("The printer is broken.")


def test_a_mail_on_stdin_is_told_by_its_header(tmp_path: Path) -> None:
    (tmp_path / "saved.txt").write_bytes(bytes(mail("plain")))
    assert read_ticket(tmp_path / "saved.txt").body == "plain"
    pasted = "From: Ida\nTo: Help\nSubject: printer\n\nIt is broken."
    (tmp_path / "pasted.txt").write_text(pasted)
    assert read_ticket(tmp_path / "pasted.txt").body.endswith("It is broken.")


@pytest.mark.parametrize("content", [b"", b"\r\n\r\n", b"just a text", b"\x00\xff\xfe\x01" * 50, b"To: x\n\ntext"])
def test_what_is_no_mail_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a mail") as caught:
        read(content, tmp_path)
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 60))
def test_damaged_mails_never_end_in_a_traceback(noise: bytes, place: int, cut: int) -> None:
    whole = bytes(mail("Er druckt nicht.", html="<p>Er druckt <b>nicht</b>.</p>"))
    row = mail_row(whole[:place] + noise + whole[place + cut :], 1)
    assert row.fault or row.fields["Body"].strip() or row.fields["Subject"]


def test_a_mailbox_is_split_at_its_separators_alone(tmp_path: Path) -> None:
    box = tmp_path / "support.mbox"
    head = HEAD.replace(b"\r\n", b"\n").decode()
    separator = "From ida@example.com Mon Mar  4 09:12:00 2024\n"
    bodies = ["One\n\nFrom here on it fails.\n>From the start\n", "Two\n", ""]
    box.write_text("".join(f"{separator}{head}\n{body}\n" for body in bodies) + separator + "garbage\n")
    rows = list(read_mailbox(box))
    assert [row.fields.get("Body", "").strip() for row in rows] == [
        "One\n\nFrom here on it fails.\nFrom the start",
        "Two",
        "",
        "",
    ]
    assert [row.line for row in rows] == [1, 11, 18, 24]
    assert [bool(row.fault) for row in rows] == [False, False, False, True]


def write_box(path: Path) -> Path:
    separator = b"From ida@example.com Mon Mar  4 09:12:00 2024\n"
    path.write_bytes(b"".join(separator + bytes(mail(text, n)) + b"\n" for n, text in enumerate(WORDS)))
    return path


def test_every_way_to_pack_mails_gives_the_same_tickets(tmp_path: Path) -> None:
    box = write_box(tmp_path / "a.mbox")
    (tmp_path / "a.mbox.gz").write_bytes(gzip.compress(box.read_bytes()))
    folder = tmp_path / "mails"
    folder.mkdir()
    for n, text in enumerate(WORDS):
        (folder / f"{n:02d}.eml").write_bytes(bytes(mail(text, n)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, file.name)
    expected = prepared(box)
    assert expected[0].columns == {"id": "id", "subject": "Subject", "body": "Body", "created": "Date"}
    assert {(t.id, t.subject, t.body) for t in expected[1]} == {
        (f"m{n}@example.com", f"Drucker {n}", text) for n, text in enumerate(WORDS)
    }
    for source in ("a.mbox.gz", "mails", "a.zip"):
        assert prepared(tmp_path / source)[1] == expected[1], source


def test_a_folder_accounts_for_mails_that_cannot_be_read_and_for_other_files(tmp_path: Path) -> None:
    for n, text in enumerate(WORDS):
        place = tmp_path / "mails" / ("sales" if n % 2 else "support")
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{n}.eml").write_bytes(bytes(mail(text, n)))
    (tmp_path / "mails" / "bad.eml").write_bytes(b"\x00\x01")
    (tmp_path / "mails" / "logo.png").write_bytes(b"\x89PNG")
    report, tickets = prepared(tmp_path / "mails", maps=("queue=folder",))
    assert (report.rows_in, report.kept, report.reasons) == (17, 16, {"not a mail": 1})
    assert {ticket.labels["queue"] for ticket in tickets} == {"sales", "support"}
    assert "Not read, because they are no mails: logo.png." in report.notes
    row = json.loads((tmp_path / "out" / "quarantine.jsonl").read_text())
    assert row["file"] == "bad.eml"


def test_the_sender_of_a_mail_is_redacted(tmp_path: Path) -> None:
    texts = [f"{text}\n\nRegards\nIda\nida@example.com" for text in WORDS]
    separator = b"From x Mon Mar  4 09:12:00 2024\n"
    box = tmp_path / "a.mbox"
    box.write_bytes(b"".join(separator + bytes(mail(text, n)) + b"\n" for n, text in enumerate(texts)))
    report, tickets = prepared(box, redact=True)
    assert report.private.counts == {"email": 16, "name": 16}
    assert all(ticket.body.endswith("Regards\n<name>\n<email>") for ticket in tickets)


@pytest.mark.parametrize("name", ["t.csv", "t.JSONL", "t.json", "t.xlsx", "t.parquet", "t.mbox"])
def test_a_file_of_many_tickets_is_not_read_as_one(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("subject,body\nVPN,It hangs\n")
    with pytest.raises(InputError, match=rf"duet predict-batch .*{name} --out answers.jsonl"):
        read_text(tmp_path / name)
