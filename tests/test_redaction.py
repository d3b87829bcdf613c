"""Redaction: what is replaced and by what, and what must stay."""

import json
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import SHARED
from tests.test_prepare import write_csv
from tickets.errors import InputError
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.preparation.report import render_report
from tickets.redact.kinds import PLACEHOLDERS
from tickets.redact.known import Known
from tickets.redact.patterns import parse_patterns
from tickets.redact.people import PeopleColumns, kind_of
from tickets.redact.redactor import Redactor
from tickets.schema import read_tickets

ROOT = Path(__file__).parent.parent
PLAIN = yaml.safe_load((ROOT / "bench" / "redaction_wording.yaml").read_text(encoding="utf-8"))["plain"]
REAL = SHARED / "data" / "tickets.csv"
ANNA = Known(
    names=("Dr. Anna Maria von der Heide",),
    addresses=("Hauptstraße 12a\n10115 Berlin",),
    companies=("Heide & Söhne GmbH & Co. KG",),
)


def redacted(text: str, known: Known = ANNA) -> str:
    return Redactor().redact(text, known)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mail max.muster+it@firma-x.co.uk, please.", "Mail <email>, please."),
        ("mailto:jörg@müller.de", "mailto:<email>"),
        ("IBAN DE89 3704 0044 0532 0130 00 BIC", "IBAN <acc_num> BIC"),
        ("to GB29NWBK60161331926819.", "to <acc_num>."),
        ("card 4111-1111-1111-1111", "card <card_num>"),
        ("Amex 3782 822463 10005 expired", "Amex <card_num> expired"),
        ("host 192.168.10.7:8443 and 10.0.0.1/24", "host <ip_addr>:8443 and <ip_addr>/24"),
        ("[2001:db8::8a2e:370:7334]:443", "[<ip_addr>]:443"),
        ("Ring me on +49 (0)30 1234567", "Ring me on <tel_num>"),
        ("(541) 555-0123 x12", "<tel_num>"),
        ("Tel. 030/1234567, Fax 030/1234568", "Tel. <tel_num>, Fax <tel_num>"),
        ("Handy: 01711234567", "Handy: <tel_num>"),
        ("phone 612 345 678", "phone <tel_num>"),
        ("https://x.de/reset?token=a8f3c2d9e1.", "<url>."),
        ("(see ftp://bob:pa55@files.example.com/a.zip)", "(see <url>)"),
        ("Tel.: +49 (0)30 / 12 34 56-78 today", "Tel.: <tel_num> today"),
        ("Fax 0711 - 123 456", "Fax <tel_num>"),
        ("card 5555.5555.5555.4444", "card <card_num>"),
        ("write to max(at)example.com or ida [at] example [dot] co [dot] uk.", "write to <email> or <email>."),
        ("info (at) firma (punkt) de", "<email>"),
        ("ida AT example DOT co DOT uk please", "<email> please"),
        ("ida＠example.co.jp", "<email>"),
        ("+4915123456789,+4915123456780", "<tel_num>,<tel_num>"),
        ("+49 30 1234567/+49 30 1234568", "<tel_num>/<tel_num>"),
        ("https://meet.example.com/j/12?pwd=Abc", "<url>"),
        (f"Bearer eyJ{'a1' * 8}.eyJ{'b2' * 9}.{'x_-9' * 8} expired", "Bearer <token> expired"),
        ("https://x.de/invite/6f9619ff-8b86-d011-b42d-00cf4fc964ff", "<url>"),
    ],
)
def test_structured_kinds(text: str, expected: str) -> None:
    assert redacted(text, Known()) == expected


@pytest.mark.parametrize("text", [text for texts in PLAIN.values() for text in texts])
def test_versions_codes_dates_and_ports_stay(text: str) -> None:
    assert redacted(text, Known()) == text


@pytest.mark.parametrize(
    "text",
    [
        "IBAN DE89 3704 0044 0532 0130 01",  # a wrong check digit
        "item 4111111111111112",  # the same
        "contact us about 2 500 000 rows",
        "called on 20240304",
        "call us 0800-1700 on weekdays",
        "from 05/2024 - 06/2024",
        "order 0123456789",
        "logo@2x.png and pkg@1.2.3",
        "git clone git@github.example.com:team/tool.git",
        "see you (at) noon, arr[at]x.y, room 12 - 14 / 16",
        "MEET ME AT NOON, LOOK AT example.com, AT THE DOT",
        "https://docs.example.com/?pass=&page=2",
        "open 10:00 - 18:00, 01.03.2024 - 05.03.2024, levels 100 - 200 / 300",
        "eyJhbGciOiJIUzI1NiJ9 is the head of a token",
        "https://docs.example.com/how-to-reset-windows-11?lang=en&page=2",
        "std::vector and a::b at 10:15:22:123",
        "Dear <name>, call <tel_num> about <acc_num>",
        "Berlin is lovely",  # a town alone is no address
    ],
)
def test_what_only_looks_private_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dear Dr. von der Heide,\nyour parcel", "Dear Dr. <name>,\nyour parcel"),
        ("Hi anna,\nit works", "Hi <name>,\nit works"),
        ("Best regards\nDr. Anna Maria von der Heide", "Best regards\n<name>"),
        ("user VON DER HEIDE, ANNA is gone", "user <name> is gone"),
        ("A. von der Heide's laptop", "<name>'s laptop"),
        ("Thanks\nAnna Maria", "Thanks\n<name>"),
        ("Annas Laptop", "<name>s Laptop"),
        ("the savannah and Annapolis", "the savannah and Annapolis"),
        ("to Hauptstr. 12a, 10115 Berlin.", "to <address>."),
        ("Hauptstraße 12a\n10115 Berlin", "<address>"),
        ("at Heide & Söhne GmbH & Co. KG or Heide & Söhne", "at <organization> or <organization>"),
    ],
)
def test_known_people(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_a_name_that_is_a_word_counts_where_somebody_is_addressed() -> None:
    will = Known(names=("Will Page",))
    assert redacted("Hi Will,\nwill the Page load? Will it?\nThanks\nWill", will) == (
        "Hi <name>,\nwill the Page load? Will it?\nThanks\n<name>"
    )


def test_other_spellings_of_a_street_and_short_names_are_found() -> None:
    assert redacted("to Hauptstr. 5, please", Known(addresses=("Hauptstraße 5",))) == "to <address>, please"
    assert redacted("Dear 李,\nhello", Known(names=("李",))) == "Dear <name>,\nhello"
    assert redacted("Dear 李明,\nhello", Known(names=("李明",))) == "Dear <name>,\nhello"


@pytest.mark.parametrize(
    ("known", "text", "expected"),
    [
        (Known(names=("Anna Müller",)), "Mueller, Anna or ANNA MUELLER", "<name> or <name>"),
        (Known(names=("Joerg Strauss",)), "Jörg Strauß hier", "<name> hier"),
        (Known(names=("Søren Ågård",)), "Soeren Aagaard", "<name>"),
        (Known(companies=("Müller & Söhne GmbH",)), "Mueller und Soehne GmbH", "<organization>"),
        (Known(companies=("Smith and Sons",)), "Smith & Sons called", "<organization> called"),
        (Known(addresses=("Müllerstraße 5",)), "Muellerstr.5 or Müllerstr. 5", "<address> or <address>"),
        (Known(addresses=("Hauptstr.5",)), "Hauptstraße 5", "<address>"),
    ],
)
def test_letters_of_a_language_and_joints_are_written_in_other_ways(known: Known, text: str, expected: str) -> None:
    assert redacted(text, known) == expected


def test_counts_are_by_kind() -> None:
    _, counts = Redactor().redact("a@x.de, b@x.de, Anna, +49 30 1234567", ANNA)
    assert counts == {"email": 2, "name": 1, "phone": 1}


@given(st.text(max_size=200))
def test_redacting_twice_changes_nothing(text: str) -> None:
    once = redacted(text, Known())
    assert redacted(once, Known()) == once


@pytest.mark.parametrize(
    "unit", ["1", "1 ", "a@", "a.", "www.", "a://b", "(0", "+4", "DE89 ", "1.", ":a", "1-", "(", "a@b.co ", "Anna "]
)
def test_hostile_texts_take_no_time(unit: str) -> None:
    text = unit * (40_000 // len(unit))
    started = time.thread_time()
    redacted(text)
    assert time.thread_time() - started < 3


def test_a_pattern_of_the_team() -> None:
    redactor = Redactor(parse_patterns([r"order_num=\bORD-\d{6}\b", r"phone=\b\d{4}-INT\b"]))
    text, counts = redactor.redact("ORD-123456 and ORD-1234567, dial 4711-INT")
    assert text == "<order_num> and ORD-1234567, dial <tel_num>"
    assert counts == {"order_num": 1, "phone": 1}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("order", "expected NAME=REGEX"),
        ("Order=x", "small letters"),
        ("order=", "expected NAME=REGEX"),
        ("b=[0-9]{4}", "HTML tag"),
        ("order=(", "no regular expression"),
        ("order=[0-9]*", "matches the empty text"),
        (r"order=\w+", "matches the word 'The'"),
        ("order=(a+)+$", "takes too long"),
        ("order=(0|00)+$", "takes too long"),
        ("order=" + "1" * 501, "at most 500"),
    ],
)
def test_patterns_that_cannot_be_used_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_patterns([pattern])
    assert "\n" not in str(caught.value)


def test_a_pattern_that_takes_long_on_a_text_stops_it() -> None:
    redactor = Redactor(parse_patterns([r"order=(Q[xy]?R?)+9"]))
    with pytest.raises(InputError, match=r"--redact-pattern order: .* takes too long"):
        redactor.redact("Q" * 5_000 + "QxRQyQR" * 5_000)


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ("requester.name", "name"),
        ("Requester", "name"),
        ("caller_id", "name"),
        ("comments.3.author.displayName", "name"),
        ("Vorname", "given"),
        ("contact last name", "family"),
        ("Organization", "company"),
        ("customer.company.name", "company"),
        ("Straße", "address"),
        ("billing_address", "address"),
        ("PLZ", "place"),
        ("email_address", None),
        ("ip address", None),
        ("history.0.by", "name"),
        ("timeline.2.actor.name", "name"),
        ("Requestors", "name"),
        ("Technician", "name"),
        ("Agent Assigned", "name"),
        ("comments.0.submittedBy", "name"),
        ("Team Assigned", None),
        ("standby", None),
        ("requester_id", None),
        ("labels.0.name", None),
        ("product name", None),
        ("body", None),
    ],
)
def test_columns_that_name_people(column: str, kind: str | None) -> None:
    assert kind_of(column) == kind


@pytest.mark.parametrize("word", ["agent", "Customer", "End User", "system", "support"])
def test_the_role_of_an_author_is_no_name(word: str) -> None:
    assert PeopleColumns({}).known({"timeline.0.by": word, "comments.0.author": word}) == Known()


def test_what_a_row_says_of_people() -> None:
    row = {
        "from": "Anna Huber <anna@x.de>",
        "first_name": "Anna",
        "last_name": "Huber",
        "street": "Ring 5",
        "zip": "10115",
        "city": "Berlin",
        "company": "ACME GmbH",
        "assignee": "agent7",
        "customer": None,
    }
    known = PeopleColumns({}, frozenset({"company"})).known(row)
    assert known == Known(("Anna Huber", "Anna", "Huber"), ("Ring 5\n10115 Berlin",), ())


def tickets_with_private_data() -> list[list[str]]:
    """Forty tickets that differ, of two people."""
    rows = []
    for n in range(40):
        words = " ".join(f"w{n}x{k}" for k in range(12))
        person = ("Anna Huber", "Jean Petit")[n % 2]
        body = f"Hello, {words}. Mail a{n}@x.de about K-{n:05d}.\nRegards\n{person}"
        rows.append([str(n), "broken", body, f"Dear {person.split()[0]},\nring 030/1234567.", f"q{n % 2}", person])
    return rows


HEADER = ["id", "subject", "body", "answer", "queue", "Kunde"]


def test_prepare_counts_by_default_and_replaces_on_request(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "t.csv", tickets_with_private_data(), HEADER)
    patterns = (r"customer_num=\bK-\d{5}\b",)
    plain = prepare(PrepareOptions(source, tmp_path / "plain", redact_patterns=patterns), progress=False)
    counts = {"name": 80, "customer_num": 40, "email": 40, "phone": 40}
    assert (plain.private.replaced, plain.private.tickets, plain.private.counts) == (False, 40, counts)
    assert "Private data in 40 tickets, not replaced (--redact replaces it)" in render_report(plain)
    texts = [(tmp_path / "plain" / f"{part}.jsonl").read_text() for part in ("train", "validation", "test")]
    assert "a1@x.de" in "".join(texts)
    report = prepare(PrepareOptions(source, tmp_path / "out", redact=True, redact_patterns=patterns), progress=False)
    assert (report.private.replaced, report.private.counts) == (True, counts)
    for part in ("train", "validation", "test"):
        for ticket in read_tickets(tmp_path / "out" / f"{part}.jsonl"):
            assert ticket.body.endswith(". Mail <email> about <customer_num>.\nRegards\n<name>")
            assert ticket.reply == "Dear <name>,\nring <tel_num>."
    assert json.loads((tmp_path / "out" / "report.json").read_text())["private"]["counts"] == counts


def test_a_column_of_names_can_be_given(tmp_path: Path) -> None:
    header = [*HEADER[:-1], "wer"]
    source = write_csv(tmp_path / "t.csv", tickets_with_private_data(), header)
    maps = ("requester.name=Wer",)
    report = prepare(PrepareOptions(source, tmp_path / "out", maps=maps), progress=False)
    assert report.private.counts["name"] == 80
    with pytest.raises(InputError, match=r"requester\.name, requester\.address, requester\.company"):
        prepare(PrepareOptions(source, tmp_path / "out", maps=("requester.mail=wer",)), progress=False)
    with pytest.raises(InputError, match="no column 'whom'"):
        prepare(PrepareOptions(source, tmp_path / "out", maps=("requester.name=whom",)), progress=False)
    with pytest.raises(InputError, match="'wer' is another part of the requester too; leave one out"):
        twice = ("requester.name=Wer", "requester.company=Wer")
        prepare(PrepareOptions(source, tmp_path / "out", maps=twice), progress=False)


@pytest.mark.skipif(not REAL.exists(), reason="shared data not here")
def test_nothing_but_phone_numbers_is_found_in_the_public_tickets(tmp_path: Path) -> None:
    report = prepare(PrepareOptions(str(REAL), tmp_path / "out"), progress=False)
    assert report.private.counts == {"phone": 6}


def test_placeholders_survive_cleaning() -> None:
    from tickets.cleaning.clean import Cleaner

    for placeholder in PLACEHOLDERS.values():
        assert Cleaner().clean(f"Dear {placeholder}, thanks") == f"Dear {placeholder}, thanks"


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (("customer.firstname", "customer.lastname"), "Ida Huber"),
        (("primaryCustomer.first", "primaryCustomer.last"), "Ida Huber"),
        (("Prénom", "Nom de famille"), "Ida Huber"),
        (("Nombre del solicitante", "Apellidos"), "Huber"),
        (("Voornaam", "Achternaam"), "Ida Huber"),
        (("Imię", "Nazwisko"), "Ida Huber"),
        (("first", "last"), None),
        (("first response", "last update"), None),
    ],
)
def test_columns_of_names(columns: tuple[str, str], name: str | None) -> None:
    known = PeopleColumns({}).known(dict(zip(columns, ("Ida", "Huber"), strict=True)))
    assert name in known.names if name else not known.names


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("O'Neil, Sean", "Dear Mr O’Neil, thanks, Sean O’Neil", "Dear Mr <name>, thanks, <name>"),
        ("José García", "Hola Jose Garcia,\nthe case of J. García", "Hola <name>,\nthe case of <name>"),
        ("Anne-Marie Weiß", "Hello Anne‑Marie,\nBest\nAnne-Marie Weiß", "Hello <name>,\nBest\n<name>"),
        ("Müller", "Herr Muller und die Mühle", "Herr <name> und die Mühle"),
        ("Max König", "der König von Bayern", "der König von Bayern"),
    ],
)
def test_apostrophes_hyphens_and_accents_of_names(name: str, text: str, expected: str) -> None:
    assert redacted(text, Known(names=(name,))) == expected
