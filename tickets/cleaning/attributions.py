"""The line above a quoted mail: `On Monday, 4 March 2024, Ida <ida@example.com> wrote:`, in eight languages.

People write such lines too (`On 3 March your technician wrote:`), and what follows is their problem. So a line counts
with an address, with a whole date and a name, or with quote marks below it.
"""

import re
from collections.abc import Iterator

_LAST = r"wrote|a écrit|escribió|ha scritto|escreveu|napisał(?:a|\(a\))?|pisze"  # verbs behind the name
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
_LONGEST = 300  # characters before the verb


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
        line = text.rfind("\n", max(0, match.start() - _LONGEST), match.start()) + 1
        above = text.rfind("\n", max(0, line - 1 - _LONGEST), max(0, line - 1)) + 1
        for start in dict.fromkeys((line, above)):  # a long one is wrapped
            if match.start() - start <= _LONGEST and _is_attribution(text, start, match):
                yield start, match.end()
                break


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
    if _WHOLE_DATE.search(whole) is None:
        return False
    if behind and not named_first:
        return _SOMEBODY_BEHIND.match(behind) is None
    return _SOMEBODY_LAST.search(before) is None
