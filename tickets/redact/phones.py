"""Phone numbers, told by how they are written or by the words in front of them.

Not every number that could be dialled is one: `20240304` is a date and `10 000 000` a count. So a number counts when it
has an international prefix, an area code as North America or countries with a leading 0 write it, or when the nearest
telling word in front of it is about telephones.
"""

import re
from collections.abc import Iterator

from tickets.redact.kinds import Span

_GAP = r"[ \t\xa0\u202f./\-‐‑–]"
_UNIT = r"[ \t]?(?:EUR|USD|CHF|GBP|MB|GB|KB|TB|ms)\b"
_NUMBER = re.compile(
    r"(?<![\w+#$€£%&@])(?:(?=\+)|(?<!\d[.,:/\-])(?<!\w-))"
    rf"(?:\+{_GAP}?|\(\+?)?\d(?:[\d()]|{_GAP}(?=[\d(\-/])|[ \xa0][/–-][ \xa0](?=\d)){{5,30}}(?<=\d)"
    r"(?:[ \t]?(?:x|ext\.?|extension|DW|Durchwahl|App\.?)[ \t]?\d{1,6})?"
    rf"(?![\w%€$£]|[.,:]\d|{_UNIT})",
    re.I,
)
_DATE = re.compile(
    r"(?<!\d)(?:(?:19|20)\d\d[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./](?:19|20)\d\d|\d\d?[-./](?:19|20)\d\d)(?!\d)"
)
_STAMP = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?:\d{4}|\d{6})?")  # 20240304, 20240304101522
_HOURS = re.compile(r"(?:[01]\d|2[0-3])[0-5]\d[ ]?[-–][ ]?(?:[01]\d|2[0-3])[0-5]\d")  # 0800-1700
_RANGE = re.compile(r"([1-9]\d*)[ ]?[-–][ ]?([1-9]\d*)")  # 50000-50100
_ISBN = re.compile(r"97[89]-\d")
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(?:[ \xa0\u202f.]\d{3})+")  # also a Spanish or Polish number
_NORTH_AMERICAN = re.compile(r"(?:1[ .-])?(?:\([2-9]\d\d\)[ ]?|[2-9]\d\d[ .-])\d{3}[ .-]\d{4}")
_AREA_CODE = re.compile(r"\(0[1-9]\d{0,4}\)|0[1-9]\d{1,4}(?=\D)")
_INTERNATIONAL, _TRUNK = re.compile(r"\(?(?:\+|00[1-9])"), re.compile(r"0[1-9]\d{8,11}")
_EXTENSION = re.compile(r"[ \t]?[A-Za-z][A-Za-z. \t]*\d+$")
_FEWEST, _MOST = 7, 15  # digits; E.164 allows 15
_FEWEST_ABROAD = 9  # digits with the country code
_BEFORE = 60  # characters in front of a number that may say what it is
_NEXT = re.compile(r"(?:[\s:.=(]|\b(?:me|us|mich|uns|is|ist|at|on|unter|auf|number|nummer|no|nr)\b)*")
_CUE = re.compile(
    r"(?P<phone>\b(?:tele(?:ph|f)on\w*|phone\w*|tel|fon|fax|telefax|mobile?|mobil\w*|cell(?:phone)?|handy\w*|call\w*|"
    r"ring|rang|rung|dial\w*|whatsapp|sms|text me|reach\w*|contact\w*|erreich\w*|anruf\w*|ruf\w*|rückruf\w*|"
    r"zurückruf\w*|angerufen|durchwahl|hotline|my number|meine nummer|number is|nummer ist|landline|festnetz\w*|"
    r"téléphone|teléfono|telefono|telefoon|chiama\w*|appele\w*|llam\w*|bel)\b)"
    r"|(?P<other>\b(?:order|bestell\w*|auftrag\w*|invoice|rechnung\w*|ticket\w*|case|incident|vorgang\w*|version\w*|build|"
    r"error|fehler\w*|code|port\w*|serial|serien\w*|article|artikel\w*|kunden\w*|customer|account|konto\w*|id|kb|"
    r"license|licence|lizenz\w*|policy|vertrag\w*|tracking|sendung\w*|amount|betrag|isbn|ean|sku|imei|uid|pid)\b)",
    re.I,
)


def find_phones(text: str) -> Iterator[Span]:
    """Yield phone numbers with their extension."""
    for match in _NUMBER.finditer(text):
        start, number = match.start(), match[0]
        if number.startswith("(") and number.count("(") > number.count(")"):  # of a bracket around more than the number
            start, number = start + 1, number[1:]
        if _is_phone(number, text[max(0, start - _BEFORE) : start]):
            yield Span(start, match.end(), "phone")


def _is_phone(number: str, before: str) -> bool:
    main = _EXTENSION.sub("", number)
    digits = re.sub(r"\D", "", main)
    if not _FEWEST <= len(digits) <= _MOST or _looks_otherwise(main, digits):
        return False
    if _INTERNATIONAL.match(main) and len(digits) >= _FEWEST_ABROAD:
        return True
    if _NORTH_AMERICAN.fullmatch(main):
        return True
    cue = _nearest_cue(before)
    about = cue.lastgroup if cue else None
    if about != "other" and (
        _TRUNK.fullmatch(main) or (_AREA_CODE.match(main) and "." not in main and len(digits) > 7)
    ):
        return True
    if cue is None or about != "phone":
        return False
    return not _THOUSANDS.fullmatch(main) or _NEXT.fullmatch(before, cue.end()) is not None


def looks_like_a_count_or_date(number: str) -> bool:
    """Return whether a number is a date, a time stamp, opening hours, a range, or a count in groups of three."""
    ends = _RANGE.fullmatch(number)
    if ends and len(ends[1]) == len(ends[2]) and ends[1] < ends[2]:
        return True
    return _looks_otherwise(number, re.sub(r"\D", "", number)) or _THOUSANDS.fullmatch(number) is not None


def _looks_otherwise(main: str, digits: str) -> bool:
    """Return whether it is written as a date, a time stamp, opening hours or the number of a book."""
    return bool(_DATE.search(main) or _STAMP.fullmatch(digits) or _HOURS.fullmatch(main) or _ISBN.match(main))


def _nearest_cue(before: str) -> re.Match[str] | None:
    """Return the last telling word in front of a number; its group says whether it is about telephones."""
    cues = list(_CUE.finditer(before))
    return cues[-1] if cues else None
