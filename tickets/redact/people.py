"""Which columns of an export name people, their addresses and companies, and what they say of one row."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tickets.columns.choose import find_column
from tickets.conversations.message_roles import role_word
from tickets.errors import InputError
from tickets.redact.known import Known

ASKED = {"requester.name": "name", "requester.address": "address", "requester.company": "company"}  # of --map
_PERSONS = frozenset(
    (
        *("requester", "customer", "reporter", "caller", "contact", "client", "user", "author", "sender", "from"),
        *("submitter", "creator", "assignee", "agent", "owner", "kunde", "kundin", "melder", "absender", "benutzer"),
        *("ansprechpartner", "kontakt", "bearbeiter", "besitzer", "customeruser", "enduser", "rapporteur", "demandeur"),
        *("requestor", "requestors", "poster", "actor", "performer", "commenter", "writer", "technician", "responder"),
        *("by", "solicitante", "cliente", "richiedente", "aanvrager", "klant", "zgłaszający", "klient"),
    )
)
_PERSON_PHRASES = (
    "agent assigned",
    "opened for",
    "opened by",
    "created by",
    "assigned to",
    "caller id",
    "customer user",
    "end user",
)
_FULL = ("name", "display name", "full name", "real name", "display value", "anzeigename")
_GIVEN = ("first name", "firstname", "given name", "givenname", "forename", "vorname", "prénom", "voornaam", "imię")
_FAMILY = (
    *("last name", "lastname", "surname", "family name", "familyname", "nachname", "de famille", "apellido"),
    *("apellidos", "cognome", "sobrenome", "achternaam", "nazwisko"),
)
_FIRST, _LAST = "first", "last"  # of a person: `primaryCustomer.first`
_UNMISTAKABLE = (*_GIVEN, *_FAMILY, "full name", "kundenname", "customername")
_COMPANIES = (
    *("company", "organization", "organisation", "firma", "unternehmen", "company name", "organization name"),
    *("société", "entreprise", "empresa", "azienda", "bedrijf"),
)
_STREETS = ("street", "street address", "straße", "strasse", "address", "anschrift", "adresse", "postal address")
_PLACES = ("zip", "zip code", "zipcode", "postal code", "postcode", "plz", "city", "town", "ort", "stadt")
_OTHER_ADDRESS = frozenset(("email", "mail", "ip", "mac", "web", "url"))

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_WORD = re.compile(r"[^\W\d_]+")
_MAIL = re.compile(r"[<(]?[^\s<>()]+@[^\s<>()]+[>)]?")
_LONGEST, _MOST_WORDS = 100, 7  # of a name


@dataclass(frozen=True)
class PeopleColumns:
    """The columns asked for, by name and kind, and those that are parts of the ticket and so name nobody."""

    asked: Mapping[str, str]
    taken: frozenset[str] = frozenset()

    def known(self, fields: Mapping[str, Any]) -> Known:
        """Return what the columns of a row say, those of its messages included."""
        cells: dict[str, list[str]] = {}
        for column, value in fields.items():
            kind = self.asked.get(column) or (None if column in self.taken else kind_of(column))
            if kind and isinstance(value, str) and (text := value.strip()) and not role_word(text):  # by: agent
                cells.setdefault(kind, []).append(text)
        if not cells:
            return Known()
        names = [name for text in cells.get("name", ()) if (name := _as_name(text))]
        pairs = zip(cells.get("given", ()), cells.get("family", ()), strict=False)
        names += [_as_name(f"{given} {family}") for given, family in pairs]
        names += [_as_name(text) for kind in ("given", "family") for text in cells.get(kind, ())]
        streets, places = cells.get("address", []), cells.get("place", [])
        addresses = [*streets, *([" ".join(places)] if places and streets else [])]
        companies = [text for text in cells.get("company", ()) if len(text) <= _LONGEST and _WORD.search(text)]
        return Known(_unique(names), ("\n".join(addresses),) if addresses else (), _unique(companies))


def people_columns(maps: Sequence[str], header: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the kinds of the columns that `--map requester.name=Kunde` and the like name, and the other maps.

    Raises:
        InputError: an unknown part of the requester, a column that the source lacks, or one column for two parts.
    """
    asked: dict[str, str] = {}
    rest = []
    for text in maps:
        name, _, column = (part.strip() for part in text.partition("="))
        if not name.lower().startswith("requester."):
            rest.append(text)
        elif name.lower() not in ASKED:
            raise InputError(f"found --map {text!r}, expected one of {', '.join(ASKED)} for the requester")
        else:
            found, kind = find_column(column, header, f"--map {text}"), ASKED[name.lower()]
            if asked.setdefault(found, kind) != kind:
                raise InputError(f"found --map {text!r}: {found!r} is another part of the requester too; leave one out")
    return asked, rest


@lru_cache(maxsize=10_000)
def kind_of(column: str) -> str | None:
    """Return what a column says of a person by its name: name, given, family, address, place, company or None."""
    words = [word.lower() for word in _WORD.findall(_CAMEL.sub(" ", column))]
    last, pair = words[-1:], " ".join(words[-2:])
    if not last:
        return None
    person = not _PERSONS.isdisjoint(words) or any(phrase in " ".join(words) for phrase in _PERSON_PHRASES)
    ends = (last[0], pair)
    if any(end in _COMPANIES for end in ends):
        return "company"
    if person or any(end in _UNMISTAKABLE for end in ends):
        for kind, names in (("given", (*_GIVEN, _FIRST)), ("family", (*_FAMILY, _LAST)), ("name", _FULL)):
            if any(end in names for end in ends):
                return kind
    if last[0] in _PERSONS or pair in _PERSON_PHRASES or last[0] in _UNMISTAKABLE:
        return "name"
    if any(end in _STREETS for end in ends) and _OTHER_ADDRESS.isdisjoint(words):
        return "address"
    return "place" if any(end in _PLACES for end in ends) else None


def _as_name(text: str) -> str:
    """Return a cell as a person's name, without an e-mail address; empty where it is none."""
    name = " ".join(_MAIL.sub(" ", text).split()).strip("\"' ")
    plausible = len(name) <= _LONGEST and len(name.split()) <= _MOST_WORDS and not any(map(str.isdigit, name))
    return name if plausible and _WORD.search(name) and not name.startswith(("[", "{")) else ""


def _unique(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))
