"""Quoted mails that have to go, in the ways of many mail programs, and texts like them that have to stay."""

import time

import pytest

from tickets.cleaning.clean import Cleaner
from tickets.cleaning.quotes import strip_quotes

NEW = "The problem is back since this morning.\nThe display stays dark.\nPlease have another look at it today."
EARLY = "Thank you for calling.\nWe restarted the old server yesterday and closed the case."
QUOTED = "\n".join(f"> {line}" for line in EARLY.split("\n"))
MAIL = "Support <help@desk.com>"
ATTRIBUTIONS = [
    f"On Mon, Mar 4, 2024 at 9:12 AM {MAIL} wrote:",
    f"On Mon, Mar 4, 2024 at 9:12 AM Support Team of the very long name\n<{MAIL.split('<')[1]} wrote:",
    f"> On 4 Mar 2024, at 09:12, {MAIL} wrote:",
    f"> Am 04.03.2024 um 09:12 schrieb {MAIL}:",
    f"{MAIL} wrote on Monday 4 March 2024:",
    "Support wrote on 3/4/24 9:12 AM:",
    "On 04/03/2024 09:12, support wrote:",
    "On 04/03/2024 09:12, Support Team wrote:",
    f"Am Mo., 4. März 2024 um 09:12 Uhr schrieb {MAIL}:",
    "Am Mo., 4. März 2024 um 09:12 Uhr schrieb Support Team\n<help@desk.com>:",
    "Am 04.03.24 um 09:12 schrieb Support:",
    "Support schrieb am 04.03.2024 um 09:12:",
    '"Support" <help@desk.com> schrieb am Montag, 4. März 2024:',
    f"Le lun. 4 mars 2024 à 09:12, {MAIL} a écrit :",
    f"Le lun. 4 mars 2024 à 09:12, {MAIL} a écrit\u202f:",
    "Support a écrit le 04/03/2024 09:12 :",
    "El lun, 4 mar 2024 a las 9:12, Support (<help@desk.com>) escribió:",
    f"Il giorno lun 4 mar 2024 alle ore 09:12 {MAIL} ha scritto:",
    f"Op ma 4 mrt 2024 om 09:12 schreef {MAIL}:",
    "Support schreef op 4-3-2024 om 09:12:",
    f"Em seg., 4 de mar. de 2024 às 09:12, {MAIL} escreveu:",
    "Às 09:12 de 04/03/2024, Support escreveu:",
    f"pon., 4 mar 2024 o 09:12 {MAIL} napisał(a):",
    f"pon., 4 mar 2024 o 09:12 {MAIL} napisała:",
    "W dniu 04.03.2024 o 09:12, Support pisze:",
    f"Wiadomość napisana przez {MAIL} w dniu 4 mar 2024, o godz. 09:12:",
    f"2024-03-04 9:12 GMT+01:00 {MAIL}:",
    "##- Please type your reply above this line -##",
]
BLOCKS = [
    "________________________________\nFrom: Support\nSent: Monday, March 4, 2024 9:12 AM\nTo: Ida\nSubject: RE",
    'Gesendet: Montag, 04. März 2024 um 09:12 Uhr\nVon: "Support" <help@desk.com>\nAn: Ida\nBetreff: AW: x',
    f"**From:** {MAIL}\n**Sent:** Monday, March 4, 2024 9:12 AM\n**To:** Ida\n**Subject:** RE: display",
    f"*Von:* {MAIL}\n*Gesendet:* Montag, 4. März 2024 09:12\n*An:* Ida\n*Betreff:* AW: Anzeige",
    f"-----Message d’origine-----\nDe : {MAIL}\nEnvoyé : lundi 4 mars 2024 09:12\nÀ : Ida\nObjet : RE: écran",
    f"De\u202f: {MAIL}\nEnvoyé\u202f: lundi 4 mars 2024 09:12\nÀ\u202f: Ida\nObjet\u202f: RE: écran",
    f"Od: {MAIL}\nWysłano: poniedziałek, 4 marca 2024 09:12\nDo: Ida\nDW: Bo\nTemat: RE: ekran",
    f"De : {MAIL}\nDate : lundi 4 mars 2024 à 09:12\nPour : Ida\nSujet : RE: écran",
]
FORWARDS = [
    "Początek przekazywanej wiadomości:\n\nOd: Ida <ida@ex.com>\nTemat: token\nData: 4 marca 2024\nDo: Help",
    "-------- Przekazana wiadomość --------\nTemat: token\nData: 4 Mar 2024\nNadawca: Ida <ida@ex.com>\nAdresat: h@x",
    "-------- Message transféré --------\nSujet : token\nDate : Mon, 4 Mar 2024\nDe : Ida <ida@ex.com>\nPour : h@x.com",
]


@pytest.mark.parametrize("line", ATTRIBUTIONS)
def test_a_mail_below_such_a_line_is_cut(line: str) -> None:
    for below in (QUOTED, EARLY):
        for gap in ("\n", "\n\n"):
            assert strip_quotes(f"{NEW}\n\n{line}{gap}{below}").strip() == NEW
    assert strip_quotes(f"{line}\n{QUOTED}\n\n{NEW}").strip() == NEW, "an answer below the quoted mail"


@pytest.mark.parametrize("block", BLOCKS)
def test_a_mail_below_such_a_header_is_cut(block: str) -> None:
    assert strip_quotes(f"{NEW}\n\n{block}\n\n{EARLY}").strip() == NEW


@pytest.mark.parametrize("marker", FORWARDS)
def test_a_mail_that_is_passed_on_stays_with_its_sender(marker: str) -> None:
    kept = strip_quotes(f"{NEW}\n\n{marker}\n\nMy token fails.")
    assert kept.startswith(NEW) and kept.endswith("From: Ida <ida@ex.com>\nSubject: token\n\nMy token fails.")


@pytest.mark.parametrize(
    "text",
    [
        "Hello,\n\nOn 3 March at 10:00 your technician wrote:\n\nPlease reinstall it.\n\nI did, but error 7 remains.",
        "On 3 March 2024 your technician wrote:\nreinstall it\nThat did not help.",
        "On 4 March 2024 he wrote:\nIt works.\nIt does not.",
        "Am 3. März 2024 um 9 Uhr schrieb Ihr Techniker:\nBitte neu starten.\nDas half nicht.",
        "Am Montag schrieb mir 1 Kollege: es geht\nEs geht nicht.",
        "In 2024 somebody wrote:\nhello\nand more",
        "The report says what I wrote:\n1 error\n2 errors",
        "Op 3 maart 2024 schreef uw monteur:\nhet werkt\nNiet dus.",
        "Please change my flight:\nFrom: Berlin\nTo: Madrid\nDate: 4 March, 10:00\nThe traveller needs a window seat.",
        "I would like to move.\nPlease read on.\nIt is a lot.\nVon: Berlin, Ring 5\nAn: München, Ring 7\nDatum: 4.3.",
        "Our meeting.\nIt is late.\nAnd long.\nDate: 4 March\nFrom: 10:00\nTo: 11:00\nRoom: 5",
        "The log says:\n> connect failed\n> retry 3\nWhat is that?",
    ],
)
def test_what_people_tell_stays(text: str) -> None:
    assert strip_quotes(text) == text


def gmail(quoted: str, below: str) -> str:
    attribution = "On Mon, Mar 4, 2024 at 9:12 AM Support &lt;help@desk.com&gt; wrote:<br>"
    return f"<p>Hi,</p><div><div>{attribution}</div><blockquote>{quoted}</blockquote></div>{below}"


def test_an_answer_below_an_html_quotation_stays() -> None:
    answer = "<p>No, the display stays dark.</p>"
    assert Cleaner().clean(gmail(f"<p>{EARLY}</p>", answer)) == "Hi,\n\nNo, the display stays dark."
    nested = f"{EARLY}<blockquote>older</blockquote>more"
    assert Cleaner().clean(gmail(nested, answer)) == "Hi,\n\nNo, the display stays dark."
    assert Cleaner().clean(gmail(EARLY, "")) == "Hi,"
    assert "old" in Cleaner(quotes=False).clean(gmail(EARLY, answer))
    assert ">" not in Cleaner(quotes=False).clean(gmail(EARLY, answer)).replace("<help@desk.com>", "")


def test_a_quotation_without_such_a_line_is_text() -> None:
    assert Cleaner().clean("<p>The error is:</p><blockquote>disk full</blockquote><p>Why?</p>") == (
        "The error is:\n\ndisk full\n\nWhy?"
    )
    assert Cleaner().clean("</blockquote>a<blockquote>b") == "a\nb"


@pytest.mark.parametrize(
    "piece",
    [
        "wrote:\n",
        "On 1 wrote:\n",
        "Ida wrote on 1\n",
        "wrote ",
        "schrieb 1\nb\n",
        "<blockquote>",
        "<blockquote>a</blockquote>",
        "Date: 1\n",
        "Sent: 1\nFrom: a@b\n",
        "a@b wrote:\n> c\n",
        "_____\n",
        "##- x -##\n",
    ],
)
def test_hostile_texts_take_linear_time(piece: str) -> None:
    start = time.thread_time()
    Cleaner().clean(piece * (300_000 // len(piece)))
    assert time.thread_time() - start < 5


SIGNED = "Ida Berg, RN\n\nCenter Manager\n\nNorth Clinics\n\nOffice (555) 010-1500\n\nida@example.org"
HEADER = "From: Berg, Ida\nSent: Monday, May 12, 2025 4:11 PM\nTo: Desk <desk@example.org>\nSubject: Log in"
ASKED = "Hello team,\n\nnurse Roe cannot log in on workstation W7."


@pytest.mark.parametrize(
    ("subject", "above"),
    [
        ("Fw: Log in", SIGNED),
        ("WG: Log in", f"Hallo,\n\ndas kam gerade.\n\n{SIGNED}"),
        ("TR : Log in", SIGNED),
        ("Log in", f"Please see below...\n\n{SIGNED}"),
        ("", f"Siehe unten, danke!\n\n{SIGNED}"),
    ],
)
def test_a_signature_above_a_mail_that_is_passed_on_does_not_hide_it(subject: str, above: str) -> None:
    """As a public export of Autotask has them: the ticket stands below the signature of who passed it on."""
    text = strip_quotes(f"{above}\n\n{'_' * 32}\n{HEADER}\n\n{ASKED}", subject)
    assert ASKED in text and "From: Berg, Ida" in text and text.startswith(above.splitlines()[0])


@pytest.mark.parametrize("subject", ["Re: Fw: Log in", "Forward planning", "Log in"])
def test_an_answer_above_an_earlier_mail_stays_alone(subject: str) -> None:
    answer = f"It works again since this morning, after I had called the desk.\nThank you all.\n\n{SIGNED}"
    assert strip_quotes(f"{answer}\n\n{'_' * 32}\n{HEADER}\n\n{ASKED}", subject).strip() == answer


WRITTEN = "Hello,\n\nthe export still fails, please advise.\n\n"
OLD = "\n> an earlier line\n> another one\n"


@pytest.mark.parametrize(
    "attribution",
    [
        "On Monday, March 4, 2024 at 9:12:00 AM UTC+1, Ida Huber\n(Example International)\n<ida77@example.com> wrote:",
        "On Mon, Mar 4, 2024 at 9:12 p.m.\nIda Huber <ida77@example.com> wrote:",
        "Am Montag, dem 4. März 2024 um 09:12:33 MEZ hat Ida Huber <ida@example.com> Folgendes geschrieben:",
        "Ida Huber <ida@example.com> hat am 04.03.2024 09:12 geschrieben:",
        "Le lun. 4 mars 2024 à 09:12, Ida Huber <ida@example.com> a\nécrit :",
        "Il giorno lun 4 mar 2024 alle ore 09:12 Ida Huber <ida@example.com> ha\nscritto:",
        "Op 4 mrt. 2024, om 09:12 heeft Ida Huber <ida@example.com> het volgende geschreven:",
    ],
)
def test_attributions_in_the_perfect_and_over_lines(attribution: str) -> None:
    assert strip_quotes(WRITTEN + attribution + OLD).strip() == WRITTEN.strip()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("It broke on Monday.\nIda <ida2@example.com> wrote on 4 March 2024:\n> gone", "It broke on Monday."),
        ("Am 04.03.2024 hat Ihr Techniker geschrieben:\nDas Gerät ist defekt.", None),
        ("Op 4 maart 2024 heeft uw monteur geschreven:\nHet toestel is stuk.", None),
    ],
)
def test_sentences_near_an_attribution_stay(text: str, left: str | None) -> None:
    assert strip_quotes(text).strip() == (text if left is None else left)


LONG = (
    "Hello, the export of our orders fails since the update of Friday, and all of the three printers are dark.\n"
    "Nobody changed a thing here.\nPlease help us before the audit.\n"
)


@pytest.mark.parametrize(
    "block",
    [
        "From: Ida <ida@example.com> Sent: Monday, March 4, 2024 9:12 AM To: Support Subject: RE: export Old text",
        "Von: Ida <ida@example.com> Gesendet: Montag, 4. März 2024 09:12 An: Support Betreff: AW: Export\nOld text",
        "De : Ida <ida@example.com> Envoyé : lundi 4 mars 2024 09:12 À : Support Objet : RE: export\nOld text",
    ],
)
def test_a_header_block_in_one_line_is_one(block: str) -> None:
    assert strip_quotes(LONG + block).strip() == LONG.strip()
    in_one_line = " ".join((LONG + block).split())
    assert Cleaner().clean(in_one_line) == " ".join(LONG.split())
    assert "Old text" in strip_quotes(f"Please handle.\n\n{block}", "Fwd: export")


def test_a_journey_in_one_line_stays() -> None:
    text = LONG + "From: Berlin Date: 4 March To: Madrid Subject: business trip, please book it."
    assert strip_quotes(text) == text


def test_a_second_attribution_goes_with_its_quotation() -> None:
    first, second = ("On 4 Mar 2024, Ida <ida@example.com> wrote:", "On 3 Mar 2024, Bo <bo@example.com> wrote:")
    assert strip_quotes(f"New\n\n{first}\n>> deep\n> shallow\n\n{second}\n> x\n").strip() == "New"
    assert strip_quotes(f"{first}\n> which?\nThis one.\n\n{second}\n> when?\nToday.").split() == [
        "This",
        "one.",
        "Today.",
    ]
