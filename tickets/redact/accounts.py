"""Bank accounts (IBAN) and payment cards, told by their check digits."""

import re
from collections.abc import Iterator

from tickets.redact.kinds import Span

# characters of an IBAN by country, from the registry of SWIFT
_REGISTRY = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 "
    "LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 "
    "QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_LENGTHS = {entry[:2]: int(entry[2:]) for entry in re.findall(r"\S+", _REGISTRY)}
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ \xa0\u202f-]?[A-Za-z0-9]{4})")
_SEPARATORS = " \xa0\u202f-"
_CARD = re.compile(r"(?<![\w.,+-])(?<!\+\d )(?<!\+\d\d )(?<!\+\d\d\d )\d(?:[ \xa0\u202f.-]?\d){11,18}(?![\w]|[.,-]\d)")
# Visa, Mastercard, American Express, Diners, Discover, JCB, UnionPay and Maestro, by leading digits and length
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-59]|[689]\d)\d{11,16}|(?:6011|65\d\d|64[4-9]\d|62\d\d|8[01]\d\d)\d{12,15}|35\d{14,17}"
    r"|(?:2131|1800)\d{11}|(?:50[0-9]{2}|5[6-9]\d\d|6[0-9]{3}|0604)\d{8,15}"
)


def find_ibans(text: str) -> Iterator[Span]:
    """Yield IBANs in one piece or in groups, whose length and check digits (ISO 7064, mod 97) are right."""
    for match in _IBAN_START.finditer(text):
        length = _LENGTHS.get(match[0][:2].upper())
        end = _end_of(text, match.start(), length) if length else None
        if end and _mod97(re.sub(r"[\W_]", "", text[match.start() : end])):
            yield Span(match.start(), end, "iban")


def _end_of(text: str, start: int, length: int) -> int | None:
    """Return where the `length` letters and digits from `start` end; None where they are no token of their own."""
    at = start
    while length and at < len(text):
        if text[at].isascii() and text[at].isalnum():
            length -= 1
        elif text[at] not in _SEPARATORS:
            return None
        at += 1
    return at if not length and not text[at : at + 1].isalnum() else None


def _mod97(iban: str) -> bool:
    return int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1


def find_cards(text: str) -> Iterator[Span]:
    """Yield card numbers of an issuer's range, whose check digit (Luhn) is right."""
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        if _ISSUERS.fullmatch(digits) and _in_groups(match[0]) and _luhn(digits):
            yield Span(match.start(), match.end(), "card")


def _in_groups(number: str) -> bool:
    """Return whether it is written in one piece or in groups of at least three, as on a card; `1 2 3 4` is a count."""
    groups = re.split(r"\D", number)
    return all(len(group) >= 3 for group in groups[:-1])


def _luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0
