"""Names, addresses and companies that are known of a ticket, found in its texts however they are written there."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from tickets.redact.kinds import Span, without_overlaps
from tickets.redact.words import DEGREE, LEGAL_FORM, ORDINARY, PARTICLES, TITLES

_ADDRESSED = re.compile(
    r"(?:\b(?:dear|hi|hello|hey|good (?:morning|afternoon|evening)|hallo|liebe[rs]?|geehrte[rs]?|moin|servus|grüezi|"
    r"guten (?:tag|morgen|abend)|thanks|thank you|danke|cheers|regards|best|wishes|sincerely|yours|gr[üu](?:ß|ss)en?|"
    r"vg|lg|mfg|mr|mrs|ms|miss|herrn?|frau|dr|prof|name is|name ist|this is|here is|hier ist|ich bin|ich heiße|"
    r"i am|i'm|user|benutzer(?:in)?)\b|^)[\s.,:;!*_-]{0,6}$",
    re.I,
)
_BEFORE = 24  # characters in front of a name that may say that it is one
_SHORTEST = 2  # letters of a single name
_WORD, _STREET_END = re.compile(r"[^\W_]+"), re.compile(r"(?<=.)(?:stra(?:ß|ss)e|str)$")
_PART = re.compile(r"[\n,;]+")
_BETWEEN = re.compile(r"[\s,;]{1,4}")
_STREET = re.compile(r"(stra(?:ß|ss)e|str\.)(?:\s+|(?=\d))", re.I)
_JOINED = re.compile(r" (?:&|\+|und|and|et|y|e|en) ", re.I)  # of a company: Heide & Söhne
_JOINTS = (" & ", " und ", " and ", " + ")
# how names are written without the letters of a language: `Müller` is `Mueller`, and `Weiß` is `Weiss`
_SPELT_OUT = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "æ": "ae", "ø": "oe", "å": "aa"}
_SPELT_OUT |= {letter.upper(): pair.title() for letter, pair in _SPELT_OUT.items() if letter != "ß"}
_SHORTENED = {pair: letter for letter, pair in _SPELT_OUT.items() if letter in "äöüßÄÖÜ"}
# `O’Neil` is `O'Neil`, and `García` is `Garcia`
_PLAIN = {
    **{code: unicodedata.normalize("NFD", chr(code))[0] for code in (*range(0xE0, 0x250), *range(0x1E00, 0x1F00))},
    **dict.fromkeys(map(ord, "’‘ʼ´`′"), "'"),
    **dict.fromkeys(map(ord, "‐‑–"), "-"),
    **dict.fromkeys(map(ord, "\xa0\u202f"), " "),
}
_STREET_FORMS = ("straße", "strasse", "str.")


@dataclass(frozen=True)
class Known:
    """What is known of the people of one ticket, as the source writes it; the lines of an address are one text."""

    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    companies: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything is."""
        return bool(self.names or self.addresses or self.companies)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Small-lettered words of which one stands in every way to write them; most texts hold none."""
        values = (*self.names, *self.addresses, *self.companies)
        spelt = (form for value in values for form in _spellings(value))
        words = {_STREET_END.sub("", word) for value in spelt for word in _WORD.findall(_lower(value))}
        return tuple(word for word in words if len(word) > 1 or (word and not word.isascii()))

    @cached_property
    def forms(self) -> "Forms":
        """Every way to write them."""
        return _forms(self)


NOBODY = Known()


@dataclass(frozen=True)
class Forms:
    """Lower-cased ways to write what is known; `single` are names of one word, `parts` lines of addresses."""

    names: tuple[str, ...]
    single: tuple[str, ...]
    companies: tuple[str, ...]
    company_cores: tuple[str, ...]
    parts: tuple[str, ...]
    weak_parts: tuple[str, ...]  # lines without a number, such as a town: they count beside another line alone


def find_known(text: str, known: Known) -> Iterator[Span]:
    """Yield mentions of what is known."""
    if not known:
        return
    lowered = _lower(text)
    if not any(word in lowered for word in known.words):
        return
    forms = known.forms
    found = [span for form in forms.names for span in _mentions(lowered, form, "name")]
    found += [span for form in forms.companies for span in _mentions(lowered, form, "company")]
    for form in forms.single:
        found += [s for s in _mentions(lowered, form, "name") if _is_name(text, s, form)]
    for form in forms.company_cores:
        found += [s for s in _mentions(lowered, form, "company") if text[s.start].isupper() and form not in _ORDINARY]
    yield from without_overlaps([*found, *_addresses(text, lowered, forms)])


def _is_name(text: str, span: Span, form: str) -> bool:
    """Return whether a word that may be a name is one here: by its capital, or by the words in front of it."""
    addressed = _ADDRESSED.search(text[max(0, span.start - _BEFORE) : span.start].rpartition("\n")[2])
    alone = text[: span.start].endswith("\n") or not text[: span.start].strip()
    ends = span.end == len(text) or text[span.end] in "\n,!."
    if (alone and not ends) or not addressed:
        return text[span.start].isupper() and form not in _ORDINARY
    return True


def _addresses(text: str, lowered: str, forms: Forms) -> list[Span]:
    """Return lines of an address, those beside each other as one."""
    strong = without_overlaps(s for form in forms.parts for s in _mentions(lowered, form, "address"))
    if not strong:
        return []
    weak = [s for form in forms.weak_parts for s in _mentions(lowered, form, "address")]
    grown = True
    while grown and weak:
        near = [s for s in weak if any(_adjoin(text, s, other) for other in strong)]
        strong, weak, grown = without_overlaps([*strong, *near]), [s for s in weak if s not in near], bool(near)
    merged = strong[:1]
    for span in strong[1:]:
        if _adjoin(text, merged[-1], span):
            merged[-1] = Span(merged[-1].start, span.end, "address")
        else:
            merged.append(span)
    return merged


def _adjoin(text: str, one: Span, other: Span) -> bool:
    first, second = sorted((one, other), key=lambda span: span.start)
    return _BETWEEN.fullmatch(text[first.end : second.start]) is not None


def _mentions(lowered: str, form: str, kind: str) -> Iterator[Span]:
    """Yield where a form stands as words of its own, genitive and apostrophe `s` aside."""
    at = lowered.find(form)
    while at >= 0:
        end = at + len(form)
        genitive = form[-1].isalpha() and lowered[end : end + 1] == "s" and kind == "name"
        after = lowered[end + genitive : end + genitive + 1]
        if not (lowered[at - 1 : at].isalnum() if at else False) and not (after.isalnum() or after == "_"):
            yield Span(at, end, kind)
        at = lowered.find(form, at + 1)


def _lower(text: str) -> str:
    """Return the text in small letters without accents, with one kind of apostrophe, and every letter in its place."""
    if text.isascii():
        return text.lower()
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = "".join(small if len(small := letter.lower()) == 1 else letter for letter in text)
    return lowered.translate(_PLAIN)


_ORDINARY = frozenset(map(_lower, ORDINARY))


@lru_cache(maxsize=4096)
def _forms(known: Known) -> Forms:
    names: dict[str, None] = {}
    single: dict[str, None] = {}
    for name in known.names:
        for form in (form for spelt in _spellings(name) for form in _name_forms(spelt)):
            (names if len(form.split()) > 1 else single).setdefault(_lower(form))
    addresses = [spelt for address in known.addresses for spelt in _spellings(address)]
    lines = [line for address in addresses for line in _address_lines(address)]
    numbered = [line for line in lines if re.search(r"\d", line) and len(line) > 4]
    companies = [form for name in known.companies if len(name.strip()) > 2 for form in _company_forms(name)]
    cores = [core for name in companies if len(core := LEGAL_FORM.sub("", name)) > 3 and core != name]
    return Forms(
        tuple(names),
        tuple(single),
        tuple(dict.fromkeys(map(_lower, companies))),
        tuple(dict.fromkeys(map(_lower, cores))),
        tuple(dict.fromkeys(_lower(form) for line in numbered for form in _street_forms(line))),
        tuple(dict.fromkeys(_lower(line) for line in lines if line not in numbered and len(line) > 2)),
    )


def _name_forms(name: str) -> Iterator[str]:
    """Yield a full name, its parts, and its orders: `Anna Maria Koch`, `Anna Koch`, `Koch, Anna`, `A. Koch`, `Koch`."""
    name = " ".join(name.split())
    if "," in name:
        last, _, first = name.partition(",")
        if not DEGREE.fullmatch(first.strip()):
            name = f"{first.strip()} {last.strip()}"
    words = [word.strip(",") for word in name.split()]
    own = [word for word in words if not _is_title(word) and any(map(str.isalpha, word))]
    if not own:
        return
    place = next((i for i, word in enumerate(own) if i and word.lower() in PARTICLES), len(own) - 1)
    first, last = own[0], " ".join(own[place:])
    yield from (name, " ".join(own))
    if len(own) > 1:
        yield from (
            " ".join(own[:place]),
            f"{first} {last}",
            f"{last}, {first}",
            f"{last} {first}",
            f"{first[0]}. {last}",
            f"{first[0]} {last}",
        )
    for word in (first, last, own[-1]):
        if len(word) >= _SHORTEST and word.lower() not in PARTICLES:
            yield word


def _is_title(word: str) -> bool:
    """Return whether a word of a name is a title or degree; `J.` is an initial, and `Misc.` no name."""
    return (
        word.lower().strip(".") in TITLES or DEGREE.fullmatch(word) is not None or (word[-1:] == "." and len(word) > 2)
    )


def _address_lines(address: str) -> list[str]:
    return [" ".join(line.split()) for line in _PART.split(address) if line.strip()]


def _street_forms(line: str) -> Iterator[str]:
    """Yield a line with `Straße`, `Strasse` and `Str.` for each other, the last with and without a space behind it."""
    if match := _STREET.search(line):
        yield from (f"{line[: match.start()]}{form} {line[match.end() :]}" for form in _STREET_FORMS)
        yield f"{line[: match.start()]}{_STREET_FORMS[-1]}{line[match.end() :]}"
    else:
        yield line


def _company_forms(name: str) -> Iterator[str]:
    """Yield a company with `&`, `und`, `and` and `+` for each other."""
    for spelt in _spellings(" ".join(name.split())):
        yield spelt
        if _JOINED.search(spelt):
            yield from (_JOINED.sub(joint, spelt) for joint in _JOINTS)


def _spellings(text: str) -> Iterator[str]:
    """Yield a text with its umlauts as they are, spelt out, and put back where they are spelt out."""
    yield text
    for pairs in (_SPELT_OUT, _SHORTENED):
        other = text
        for written, instead in pairs.items():
            other = other.replace(written, instead)
        if other != text:
            yield other
