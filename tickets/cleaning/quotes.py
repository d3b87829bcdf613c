"""Threads in a mail: forwarded text is the ticket, quoted earlier mails are not.

Patterns know English, German, French, Spanish, Italian, Dutch, Portuguese and Polish, and run in linear time.
"""

import re
from dataclasses import dataclass

from tickets.cleaning.attributions import find_attribution

# names in a header block, by what they hold
_FROM = r"From|Von|De|Da|Van|Od|Nadawca"
_TO = r"To|An|À|A|Para|Aan|Do|Pour|Adresat"
_SUBJECT = r"Subject|Betreff|Objet|Sujet|Asunto|Oggetto|Onderwerp|Assunto|Temat"
_DATE = (
    r"Sent|Date|Gesendet|Datum|Envoyé(?: le)?|Enviado(?: el| em)?|Enviada em|Fecha|Inviato|Data|Verzonden|Wysłano|Dnia"
)
_OTHER = r"Cc|Bcc|CC|DW|UDW|Kopie|Reply-To|Antwort an|Organization|Importance|Attachments?|Anlagen?"
_HEADER = re.compile(
    rf"^[ \t>]*\*{{0,2}}(?:(?P<sender>{_FROM})|(?P<to>{_TO})|(?P<subject>{_SUBJECT})|(?P<date>{_DATE})|(?:{_OTHER}))"
    r"\*{0,2}[ \xa0\u202f]?:\*{0,2}[ \t]*(?P<value>[^\n]*)$",
    re.I,
)
# a block whose line breaks are lost: From: ... Sent: ... To: ... Subject: ...
_ONE_LINE = re.compile(
    rf"(?:^|(?<=[ \t]))(?P<sender>\*?(?:{_FROM})\*?[ \xa0]?:[^\n]{{3,90}}?)[ \t]+"
    rf"(?P<date>\*?(?:{_DATE})\*?[ \xa0]?:[^\n]{{4,50}}?)[ \t]+(?P<to>\*?(?:{_TO})\*?[ \xa0]?:[^\n]{{1,150}}?)[ \t]+"
    rf"(?P<subject>\*?(?:{_SUBJECT})\*?[ \xa0]?:)",
    re.M,
)
_ONE_LINE_END = re.compile(rf"[^\n][ \t]\*?(?:{_SUBJECT})\*?[ \xa0]?:")  # few texts have one of these inside a line
_FORWARD_WORDS = (
    r"(?:Begin )?Forwarded message|(?:Anfang der )?Weitergeleitete(?:n)? (?:Nachricht|E-?Mail)"
    r"|(?:Début du )?Message (?:transféré|réexpédié)|(?:Inicio del )?Mensaje reenviado"
    r"|(?:Inizio (?:del )?)?Messaggio inoltrato|(?:Begin )?Doorgestuurd bericht"
    r"|(?:Início da )?Mensagem (?:re)?encaminhada"
    r"|(?:Początek )?(?:Wiadomość przekazana|Przekazana wiadomość|przekaz(?:yw)?anej wiadomości)"
)
_FORWARDED = re.compile(
    rf"^[ \t>]*(?:-{{2,}}[ \t]*)?(?:{_FORWARD_WORDS})[^\n]{{0,40}}?[ \t]*(?::|-{{2,}})[ \t]*$", re.I
)
_ORIGINAL_WORDS = (
    r"Original[ -]?Message|Ursprüngliche Nachricht|Original-?Nachricht|Message d['’]origine|Mensaje original"
    r"|Messaggio originale|Oorspronkelijk bericht|Mensagem original|Wiadomość oryginalna"
)
_ORIGINAL = re.compile(rf"^[ \t>]*-{{2,}}[ \t]*(?:{_ORIGINAL_WORDS})[ \t]*-{{2,}}[ \t]*$", re.I)
# what every forward marker, original marker or header block begins with; most texts have none, so it has to be quick
_CANDIDATE = re.compile(
    r"^[ \t>]*(?:\*{0,2}(?:[Ff]rom|FROM|[Vv]on|VON|[Dd]e|DE|[Dd]a|DA|[Vv]an|VAN|[Oo]d|OD|Nadawca|Sent|Date|Gesendet"
    r"|Datum|Envoyé|Enviado|Enviada|Fecha|Inviato|Data|Verzonden|Wysłano)[^\n:]{0,5}:|-{2,}[ \t]*\w"
    r"|(?:Begin|Anfang|Début|Inicio|Inizio|Início|Początek|Forwarded|Weiterg|Message|Mensaje|Messaggio|Doorg|Mensagem"
    r"|Wiadomo|Przekaz|BEGIN|FORWARDED|begin|forwarded))",
    re.M,
)
_SHORTEST_RULE = 5  # of the line of underscores that Outlook draws above a header block
QUOTE_START, QUOTE_END = "\ue00e", "\ue00f"  # where HTML has its quotations; no text has these characters
_MARKS = re.compile(f"[{QUOTE_START}{QUOTE_END}]")
_INTRODUCTION = 600  # characters above a quotation that may introduce it
_QUOTED = re.compile(r"^[ \t]*>[^\n]*\n?", re.M)
_FEWEST_HEADERS = 3  # a sender and what belongs to it; two lines such as `From: ...`, `To: ...` may be prose
_LONGEST_BLOCK = 12  # lines
_MOST_BLANK = 3  # lines between a marker and the header block below it
_DEEPEST = 5  # mails passed on inside each other; what is deeper stays as it is
_NOTE_LINES, _NOTE_WORDS = 2, 25  # what people write above a mail that they pass on
_POINTS_BELOW = re.compile(
    r"\b(?:see|check) (?:the )?(?:below|attached|e-?mail below|message below)|\bfyi\b|\bsiehe unten"
    r"|\bzur (?:info|kenntnis)|\bvoir ci-dessous|\bpour info|\bver (?:abajo|abaixo|m[áa]s abajo)|\bvedi sotto"
    r"|\bzie (?:hier)?onder|\bter info|\bpatrz poniżej",
    re.I,
)
_PASSED_ON = re.compile(r"\s*(?:fwd?|wg|tr|rv|enc|pd|doorst)\s*:", re.I)  # `RE: FW:` is an answer


@dataclass(frozen=True)
class _Block:
    """Header lines of a mail inside a text: where they begin and end, and who sent what."""

    start: int
    end: int
    sender: str
    subject: str


def strip_quotes(text: str, subject: str = "") -> str:
    """Return `text` without the quoted thread in it; unchanged where nothing else would be left.

    A mail that is passed on stays, with its sender and subject. It is told by a forward marker, by a `subject` such as
    `Fw: ...`, by a line such as `Please see below`, or by a header block below a line or two. A header block below more
    than that is an earlier mail.
    """
    whole = _ONE_LINE.sub(_as_block, text) if _ONE_LINE_END.search(text) else text
    return _stripped(whole, 0, _PASSED_ON.match(subject) is not None)


def _as_block(match: "re.Match[str]") -> str:
    """Return a header block that stands in one line with its line breaks; other text that looks like one unchanged."""
    lines = list(match.groups())
    return "\n" * (match.start() > 0) + "\n".join(lines) if "@" in match[0] else match[0]


def _stripped(text: str, depth: int, is_passed_on: bool = False) -> str:
    if depth == _DEEPEST or not _CANDIDATE.search(text):
        return _without_answer(text) or text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not _CANDIDATE.match(line):
            continue
        forwarded, original = _FORWARDED.match(line) is not None, _ORIGINAL.match(line) is not None
        marked = forwarded or original
        block = _block_at(lines, number + 1 if marked else number, marked)
        if not (forwarded or original or block):
            continue
        above = "\n".join(lines[: number - _has_rule(lines, number)])
        if not forwarded and not is_passed_on and not (block and _is_note(above)):
            return _without_answer(above) or _without_answer(text) or text
        below = _stripped("\n".join(lines[block.end if block else number + 1 :]).strip("\n"), depth + 1)
        headers = [f"From: {block.sender}"] if block and block.sender else []
        headers += [f"Subject: {block.subject}"] if block and block.subject else []
        kept = "\n\n".join(part for part in (above.strip(), "\n".join(headers), below) if part)
        return kept if below.strip() else text
    return _without_answer(text) or text


def _block_at(lines: list[str], start: int, marked: bool) -> _Block | None:
    """Return the header block that begins at a line, or a few empty ones below a marker.

    Without a marker, it begins with its sender, be it below its date, and has a subject or an address: `From: Berlin`,
    `To: Madrid` is a journey.
    """
    end = min(start + (_MOST_BLANK if marked else 0), len(lines) - 1)
    while start < end and not lines[start].strip():
        start += 1
    headers = []
    for line in lines[start : start + _LONGEST_BLOCK]:
        match = _HEADER.match(line)
        if match is None:
            break
        headers.append(match)
    values = {
        kind: match["value"].strip("* \t")
        for match in headers
        for kind in ("sender", "to", "subject", "date")
        if match[kind] is not None
    }
    places = [match["sender"] is not None for match in headers]
    begins = marked or places[:1] == [True] or (places[:2] == [False, True] and headers[0]["date"] is not None)
    if not begins or "sender" not in values or not ("to" in values or "subject" in values):
        return None
    known = "subject" in values or any("@" in match["value"] for match in headers)
    if "@" not in values["sender"] and not (known and len(headers) >= _FEWEST_HEADERS):
        return None
    return _Block(start, start + len(headers), values["sender"], values.get("subject", ""))


def _has_rule(lines: list[str], number: int) -> bool:
    """Return whether Outlook's line stands above a line, as `___________`."""
    return number > 0 and len(rule := lines[number - 1].strip()) >= _SHORTEST_RULE and set(rule) <= {"_"}


def _is_note(above: str) -> bool:
    """Return whether the mail below a header block is what matters: little stands above, or it points there."""
    written = [line for line in above.split("\n") if line.strip()]
    if written and len(written[0].split()) <= _NOTE_WORDS and _POINTS_BELOW.search(written[0]):
        return True  # a signature may follow
    return len(written) <= _NOTE_LINES and sum(len(line.split()) for line in written) <= _NOTE_WORDS


def _without_answer(text: str) -> str:
    """Return a text without the mail that an attribution (`On ... wrote:`) introduces; empty where all of it is one."""
    found = find_attribution(text)
    if found is None:
        return text if text.strip() else ""
    start, end = found
    below = text[end:]
    for _ in range(_DEEPEST):  # mails quoted inside of it, each below a line of its own
        inner = find_attribution(below)
        if inner is None or not below[inner[1] :].lstrip().startswith(">"):
            break
        below = below[: inner[0]] + below[inner[1] :]
    rest, quoted = _QUOTED.subn("", below)
    # An answer below the quoted lines is kept. Without quote marks everything below is the earlier mail.
    kept = text[:start] + (rest if quoted else "")
    return kept if kept.strip() else ""


def mark_quoted(text: str) -> str:
    """Return `text` with `>` before the lines of HTML quotations that an attribution introduces, and without the marks.

    So an answer below the quotation is told from it, as in a plain text.
    """
    pieces, at, depth, opened = [], 0, 0, 0
    for match in _MARKS.finditer(text):
        if match[0] == QUOTE_START:
            opened = opened if depth else match.start()
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                above = text[max(0, opened - _INTRODUCTION) : opened].rstrip()
                found = find_attribution(_MARKS.sub("", above[-_INTRODUCTION:]))
                inside = text[opened : match.start()]
                pieces.append(text[at:opened])
                pieces.append(inside.replace("\n", "\n> ") if found and found[1] >= len(above) else inside)
                at = match.end()
    return _MARKS.sub("", "".join([*pieces, text[at:]]))
