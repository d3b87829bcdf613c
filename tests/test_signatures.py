"""Signatures and disclaimers: what is cut, what stays, and that every later reading cuts the same."""

import json
from pathlib import Path

import pytest

from tests.test_exports import prepared
from tests.test_prepare import table, write_csv
from tickets.cleaning.clean import Cleaner
from tickets.cleaning.signatures import cut_signatures
from tickets.cleaning.steps import CleaningSteps
from tickets.formats.text_file import read_ticket
from tickets.preparation.report import render_report

TEXT = "The printer on floor 2 is jammed.\nPlease help."
CLOSED = f"{TEXT}\n\nBest regards,\nIda Huber"
CONTACTS = "Head of Sales\nACME GmbH\nTel. +49 30 1234567\nida@example.com"
DISCLAIMERS = [
    "This e-mail and any attachments are confidential and intended solely for the addressee.",
    "CONFIDENTIALITY NOTICE: The contents of this message are private.",
    "The information contained in this message is confidential.",
    "If you are not the intended recipient, please delete this mail.",
    "Diese E-Mail enthält vertrauliche und rechtlich geschützte Informationen.",
    "Der Inhalt dieser E-Mail ist vertraulich.",
    "Ce message est confidentiel et destiné à son destinataire.",
    "Este mensaje contiene información confidencial.",
    "Questo messaggio è riservato.",
    "Dit bericht is vertrouwelijk.",
    "Esta mensagem é confidencial.",
    "Ta wiadomość jest poufna.",
    "Please consider the environment before printing this mail.",
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{TEXT}\n-- \nIda\nACME", TEXT),
        (f"{CLOSED}\n{CONTACTS}", CLOSED),
        (
            f"{TEXT}\n\nMit freundlichen Grüßen\n\nIda Huber\n{CONTACTS}",
            f"{TEXT}\n\nMit freundlichen Grüßen\nIda Huber",
        ),
        (f"{TEXT}\n\nSent from my iPhone", TEXT),
        (f"{TEXT}\n\nVon meinem iPhone gesendet", TEXT),
        (f"{TEXT}\n\nGet Outlook for Android", TEXT),
        *((f"{TEXT}\n\n{disclaimer}", TEXT) for disclaimer in DISCLAIMERS),
        (f"{CLOSED}\n{CONTACTS}\n\n{DISCLAIMERS[0]}\n\n{DISCLAIMERS[3]}", CLOSED),
    ],
)
def test_what_is_cut(text: str, expected: str) -> None:
    assert cut_signatures(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        CLOSED,
        f"{CLOSED}\n\nPS: it is the blue one.",
        "-- \nonly a signature",
        DISCLAIMERS[0],  # the only text
        "This e-mail is confidential by mistake, please recall it.\nIt went to all.",
        "Run it with\n  tool -- file\nand\n--flag",
        "Thanks\n\n" + "\n".join(f"step {n}: open https://example.com/{n}" for n in range(20)),
        "Sent from my account, the mail bounces with 550 and the admin says that all is well.",
    ],
)
def test_what_stays(text: str) -> None:
    assert cut_signatures(text) == text


def test_a_mail_that_is_passed_on_below_a_signature_stays() -> None:
    passed_on = "---------- Forwarded message ---------\nFrom: Max <m@x.de>\nSubject: token\n\nMy token fails."
    assert cut_signatures(f"FYI\n-- \nIda\nACME\n\n{passed_on}\n-- \nMax") == f"FYI\n\n{passed_on}"


def signed_table() -> list[list[str]]:
    rows = table()
    for row in rows:
        row[2] = f"{row[2]}\n\nBest regards,\nIda Huber\n{CONTACTS}"
    return rows


def test_they_stay_unless_asked_and_the_folder_remembers(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "t.csv", signed_table())
    report, tickets = prepared(source, duplicate_threshold=0.5)
    assert report.cleaned["signatures"] == 0
    assert all(ticket.body.endswith("ida@example.com") for ticket in tickets)
    assert CleaningSteps.of_prepared(tmp_path / "out") == CleaningSteps()
    report, tickets = prepared(source, cut_signatures=True, duplicate_threshold=0.5)
    assert report.cleaned["signatures"] == 60
    assert all(ticket.body.endswith("Best regards,\nIda Huber") for ticket in tickets)
    assert CleaningSteps.of_prepared(tmp_path / "out") == CleaningSteps(signatures=True)


def test_predict_reads_as_the_training_data_was_read(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(f"Subject: printer\n\n{CLOSED}\n{CONTACTS}")
    assert read_ticket(tmp_path / "t.txt").body == f"{CLOSED}\n{CONTACTS}"
    assert read_ticket(tmp_path / "t.txt", CleaningSteps(signatures=True)).body == CLOSED


@pytest.mark.parametrize("record", [None, {}, {"signatures": "yes", "more": 1}, [], "x"])
def test_records_of_other_versions_mean_the_usual_reading(record: object, tmp_path: Path) -> None:
    assert CleaningSteps.from_record(record) == CleaningSteps()
    (tmp_path / "report.json").write_text(json.dumps({"reading": record}))
    assert CleaningSteps.of_prepared(tmp_path) == CleaningSteps()


def test_the_report_shows_what_cleaning_took_away(tmp_path: Path) -> None:
    rows = signed_table()
    for n in range(5):
        rows[n][2] = (
            f"<p>Hello &amp; thanks, {rows[n][2]}</p>\n\nOn Mon, 4 Mar 2024, Max{n} <m@x.de> wrote:\n> old text"
        )
    report, _ = prepared(write_csv(tmp_path / "t.csv", rows), cut_signatures=True)
    assert report.cleaned["quotes"] == report.cleaned["html"] == 5
    assert [text[:36] for text in report.removed["quotes"]] == [
        f"On Mon, 4 Mar 2024, Max{n} <m@x.de> wr" for n in range(3)
    ]
    assert all(text.startswith("<p>Hello &amp; thanks") for text in report.removed["html"])
    assert report.removed["signatures"][0].startswith("Head of Sales ACME GmbH")
    assert len(report.removed["signatures"]) == 3
    shown = render_report(report)
    assert "    On Mon, 4 Mar 2024, Max2 <m@x.de> wrote: > old text" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_examples_are_redacted_too(tmp_path: Path) -> None:
    rows = [[*row, "Ida Huber"] for row in signed_table()]
    header = ["id", "subject", "body", "queue", "priority", "language", "requester"]
    report, _ = prepared(write_csv(tmp_path / "t.csv", rows, header), cut_signatures=True, redact=True)
    assert "ida@example.com" not in "".join(report.removed["signatures"])
    assert "<email>" in report.removed["signatures"][0]


def test_what_is_off_is_said(tmp_path: Path) -> None:
    report, _ = prepared(write_csv(tmp_path / "t.csv", table()), clean_html=False)
    lines = [line.split() for line in render_report(report).splitlines()]
    assert ["html", "off"] in lines
    assert ["signatures", "off"] in lines
    assert ["quotes", "0"] in lines


def test_images_and_escapes_have_examples() -> None:
    cleaner = Cleaner(escapes=True)
    cleaner.clean(r"one\n\nTwo")
    cleaner.clean("a picture data:image/png;base64," + "A" * 300 + " here")
    assert cleaner.examples["escapes"] == [r"one\n\nTwo"]
    assert cleaner.examples["images"][0].startswith("data:image/png;base64,AAAA")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{TEXT}\n--\nIda\nACME", TEXT),
        (
            f"{CLOSED}\n{CONTACTS}\n\nPS: it is the blue one, tel. 030 123456.",
            f"{CLOSED}\n\nPS: it is the blue one, tel. 030 123456.",
        ),
        (f"{TEXT}\n-- \nIda\nACME\n\nP.S. It is blue.", f"{TEXT}\n\nP.S. It is blue."),
        (f"{TEXT}\n\nRegards\ni. A. Ida Huber\n{CONTACTS}", f"{TEXT}\n\nRegards\ni. A. Ida Huber"),
        (f"{TEXT}\n\nRegards\nida\n{CONTACTS}", f"{TEXT}\n\nRegards\nida"),
        (f"{TEXT}\n\nRegards\nvan der Berg\n{CONTACTS}", f"{TEXT}\n\nRegards\nvan der Berg"),
    ],
)
def test_postscripts_stay_where_signatures_go(text: str, expected: str) -> None:
    assert cut_signatures(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Command output:\n--\nError 17 at line 4\n--\nPlease help with this error.",
        "Output:\n\n--\nError 17 at line 4\nPlease help.",
        "first part\n--\nsecond part\n--\nthird part",
        f"{TEXT}\n--\n" + "\n".join(f"line {n} of the log" for n in range(20)),
        f"{TEXT}\n--\n" + "a long line that tells what happened and is no signature of anybody " * 3,
        f"{CLOSED}\n\nPS: call me on tel. 030 123456 please.",
        "Hello,\n\nThank you\n\nbut the address www.ex.com still fails\nand error 17 is shown at http://ex.com",
        "Hello,\n\nThis e-mail address is intended for invoices but receives none.\n\nPlease repair.",
        "Hallo,\n\ndiese E-Mail-Adresse ist für Rechnungen bestimmt und empfängt nichts.\n\nBitte prüfen.",
    ],
)
def test_output_and_texts_like_signatures_stay(text: str) -> None:
    assert cut_signatures(text) == text


@pytest.mark.parametrize(
    "line",
    [
        "Verstuurd vanaf mijn iPhone",
        "Get Outlook for Android<https://aka.ms/ghei36>",
        "Scarica Outlook per iOS",
        "Télécharger Outlook pour Android",
        "Outlook für Android herunterladen",
        "Le informazioni contenute in questo messaggio sono riservate e confidenziali.",
        "De informatie in dit e-mailbericht is vertrouwelijk en uitsluitend bestemd voor de geadresseerde.",
        "La información contenida en este correo es confidencial.",
        "As informações contidas nesta mensagem são confidenciais.",
        "Die in dieser E-Mail enthaltenen Informationen sind vertraulich.",
    ],
)
def test_lines_of_programs_and_of_lawyers(line: str) -> None:
    assert cut_signatures(f"Hello,\n\nthe export fails.\n\n{line}") == "Hello,\n\nthe export fails."


def test_a_text_about_outlook_stays() -> None:
    text = (
        "Hello,\n\nDownload Outlook\n\nis what the button says, and the information in this list is not confidential."
    )
    assert cut_signatures(text) == text
