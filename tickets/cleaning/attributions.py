"""The line above a quoted mail: `On Monday, 4 March 2024, Ida <ida@example.com> wrote:`, in eight languages.

People write such lines too (`On 3 March your technician wrote:`), and what follows is their problem. So a line counts
with an address, with a whole date and a name, or with quote marks below it.
"""

import re
from collections.abc import Iterator

_PARTICIPLE = r"(?:(?:Folgendes|das|het volgende)[ \n])?(?:geschrieben|geschreven)"  # hat ... geschrieben
_LAST = rf"wrote|a[ \n]écrit|escribió|ha[ \n]scritto|escreveu|napisał(?:a|\(a\))?|pisze|{_PARTICIPLE}"  # ends it
_MIDDLE = r"wrote|schrieb|schreef|escribió|escreveu|a écrit|ha scritto|napisał(?:a|\(a\))?|napisana przez"
_END = r"[ \xa0\u202f]?:[*_]{0,2}[ \t]*$"
_VERB = re.compile(
    rf"\b(?:(?P<last>{_LAST}){_END}|(?P<middle>{_MIDDLE})(?P<behind>[ \t][^\n]{{1,160}}(?:\n[^\n]{{0,100}})?){_END})",
    re.M,
)
_QUICK = re.compile(rf"(?:{_LAST}|{_MIDDLE})|GMT[+-]\d\d:\d\d|##- ")  # few texts have one of them
_OLD = re.compile(  # Gmail of before, and the line above which Zendesk asks for an answer
    r"^[ \t>]*(?:\d{4}-\d\d-\d\d \d{1,2}:\d\d GMT[+-]\d\d:\d\d [^\n]{1,120}>[ \t]?:|##- ?[^\n]{5,120} ?-##)[ \t]*$",
    re.M,
)
_OPENING = re.compile(
    r"[ \t>*_]*(?:(?:On|Am|Le|El|Il|Op|Em|Às|W dniu|Dnia|Wiadomość)\b"
    r"|(?:pon|wt|śr|czw|pt|sob|niedz|nd|mon|tue|wed|thu|fri|sat|sun|mo|di|mi|do|fr|sa|so|lun|mar|mer|mié|jeu|jue|ven|vie"
    r"|sam|sáb|dim|dom|ma|wo|vr|za|zo|seg|ter|qua|qui|sex)\w{0,3}\.?,? \d)",
    re.I,
)
_ADDRESS = re.compile(r"[^\s<>@]{1,64}@[^\s<>@]{1,190}")
_WHOLE_DATE = re.compile(r"\b(?:19|20)\d\d\b|\b\d{1,2}[./-]\d{1,2}[./-]\d\d\b")
_DAY = r"(?:on|am|le|el|il|op|em|w dniu|dnia)"
_NAME_FIRST = re.compile(rf"^[ \t]+{_DAY}\b[^\n]*\d", re.I)  # Ida wrote | on 4 March 2024
# what stands in the place of the name where a person tells of somebody: two words in small letters, or a pronoun
_SOMEBODY_LAST = re.compile(
    r"(?:(?<![\w.])[a-zà-ÿ]{2,20} [a-zà-ÿ]{2,20}|\b(?:[Hh]e|[Ss]he|[Tt]hey|I|we|you|someone|somebody|il|elle|vous|je"
    r"|nous|él|ella|yo|lui|lei|io|ele|ela|eu))[ \t]*$"
)
_SOMEBODY_BEHIND = re.compile(
    r"^[ \t]+(?:ihre?|eure?|euer|unsere?|meine?|dere?|die|das|eine?|er|sie|ich|wir|man|jemand|uw|de|het|een|hij|zij|ze"
    r"|ik|wij|we|mijn|onze|iemand)\b",
    re.I,
)
_PERFECT = re.compile(_PARTICIPLE, re.I)
_LONGEST, _MOST_LINES = 300, 3  # characters before the verb, and lines that they are wrapped over
_SENTENCE_END = re.compile(r"(?<![ap]\.m)[.!?:]\s*$")


def find_attribution(text: str) -> tuple[int, int] | None:
    """Return where the first line above a quoted mail begins and ends; None where there is none."""
    if not _QUICK.search(text):
        return None
    old = _OLD.search(text)
    first = next((span for span in _attributions(text)), None)
    if old and (first is None or old.start() < first[0]):
        return old.span()
    return first


def _attributions(text: str) -> Iterator[tuple[int, int]]:
    for match in _VERB.finditer(text):
        start = next((start for start in _starts(text, match.start()) if _is_attribution(text, start, match)), None)
        if start is not None:
            yield start, match.end()


def _starts(text: str, verb: int) -> list[int]:
    """Return where an attribution may begin, the likeliest first; a long one is wrapped.

    That is the nearest line that opens like one, unless a sentence ends in between, and then the line of the verb.
    """
    starts = [text.rfind("\n", max(0, verb - _LONGEST), verb) + 1]
    while len(starts) < _MOST_LINES and starts[-1] > 0:
        starts.append(text.rfind("\n", max(0, starts[-1] - 1 - _LONGEST), starts[-1] - 1) + 1)
    near = [start for start in starts if verb - start <= _LONGEST]
    opening = next((place for place, start in enumerate(near) if _OPENING.match(text, start, verb)), 0)
    if any(
        _SENTENCE_END.search(text[start : end - 1]) for start, end in zip(near[1 : opening + 1], near, strict=False)
    ):
        opening = 0
    return list(dict.fromkeys((*near[opening : opening + 1], *near[:2])))


def _is_attribution(text: str, start: int, match: "re.Match[str]") -> bool:
    before, whole = text[start : match.start()], text[start : match.end()]
    behind = match["behind"] or ""
    opening = _OPENING.match(before) is not None or "przez" in whole
    named_first = bool(behind) and not opening and _NAME_FIRST.search(behind) is not None
    if not (opening or named_first or _ADDRESS.search(before)) or not any(map(str.isdigit, whole)):
        return False
    quoted = text[match.end() : match.end() + _LONGEST].lstrip().startswith(">") or whole.lstrip().startswith(">")
    if quoted or _ADDRESS.search(whole):
        return True
    if _WHOLE_DATE.search(whole) is None or _PERFECT.match(match["last"] or ""):  # `hat Ihr Techniker geschrieben:`
        return False
    if behind and not named_first:
        return _SOMEBODY_BEHIND.match(behind) is None
    return _SOMEBODY_LAST.search(before) is None
