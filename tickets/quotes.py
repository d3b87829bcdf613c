"""Threads in a mail: forwarded text is the ticket, quoted earlier mails are not.

Patterns know English, German, French, Spanish, Italian, Dutch, Portuguese and Polish, and run in linear time.
"""

import re
from dataclasses import dataclass

# names in a header block, by what they hold
_FROM = r"From|Von|De|Da|Van|Od"
_TO = r"To|An|À|A|Para|Aan|Do"
_SUBJECT = r"Subject|Betreff|Objet|Asunto|Oggetto|Onderwerp|Assunto|Temat"
_DATE = (
    r"Sent|Date|Gesendet|Datum|Envoyé(?: le)?|Enviado(?: el| em)?|Enviada em|Fecha|Inviato|Data|Verzonden|Wysłano|Dnia"
)
_OTHER = r"Cc|Bcc|CC|Kopie|Reply-To|Antwort an|Organization|Importance|Attachments?|Anlagen?"
_HEADER = re.compile(
    rf"^[ \t>]*\*?(?:(?P<sender>{_FROM})|(?P<to>{_TO})|(?P<subject>{_SUBJECT})|(?:{_DATE})|(?:{_OTHER}))\*?[ \xa0]?:"
    r"\*?[ \t]*(?P<value>[^\n]*)$",
    re.I,
)
_FORWARD_WORDS = (
    r"(?:Begin )?Forwarded message|(?:Anfang der )?Weitergeleitete(?:n)? (?:Nachricht|E-?Mail)"
    r"|(?:Début du )?Message (?:transféré|réexpédié)|(?:Inicio del )?Mensaje reenviado"
    r"|(?:Inizio (?:del )?)?Messaggio inoltrato|(?:Begin )?Doorgestuurd bericht"
    r"|(?:Início da )?Mensagem (?:re)?encaminhada|(?:Początek )?(?:Wiadomość przekazana|przekazanej wiadomości)"
)
_FORWARDED = re.compile(
    rf"^[ \t>]*(?:-{{2,}}[ \t]*)?(?:{_FORWARD_WORDS})[^\n]{{0,40}}?[ \t]*(?::|-{{2,}})[ \t]*$", re.I
)
_ORIGINAL_WORDS = (
    r"Original[ -]?Message|Ursprüngliche Nachricht|Original-?Nachricht|Message d'origine|Mensaje original"
    r"|Messaggio originale|Oorspronkelijk bericht|Mensagem original|Wiadomość oryginalna"
)
_ORIGINAL = re.compile(rf"^[ \t>]*-{{2,}}[ \t]*(?:{_ORIGINAL_WORDS})[ \t]*-{{2,}}[ \t]*$", re.I)
# what every forward marker, original marker or header block begins with; most texts have none, so it has to be quick
_CANDIDATE = re.compile(
    r"^[ \t>]*(?:\*?(?:[Ff]rom|FROM|[Vv]on|VON|[Dd]e|DE|[Dd]a|DA|[Vv]an|VAN|[Oo]d|OD)\*?[ \xa0]?:|-{2,}[ \t]*\w"
    r"|(?:Begin|Anfang|Début|Inicio|Inizio|Início|Początek|Forwarded|Weiterg|Message|Mensaje|Messaggio|Doorg|Mensagem"
    r"|Wiadomo|BEGIN|FORWARDED|begin|forwarded))",
    re.M,
)
_WRITERS = (
    r"wrote|schrieb[^\n]{0,120}|a écrit|escribió|ha scritto|schreef[^\n]{0,120}|escreveu|napisał(?:a|\(a\))?|pisze"
)
_ATTRIBUTION = re.compile(
    r"^[ \t]*(?:On|Am|Le|El|Il|Op|Em|W dniu|Dnia)\b(?=[^\n]*\d)[^\n]{5,250}(?:\n[^\n]{0,120})?"
    rf"\b(?:{_WRITERS})[ \xa0]?:[ \t]*$",
    re.M,
)
_QUOTED = re.compile(r"^[ \t]*>[^\n]*\n?", re.M)
_FEWEST_HEADERS = 3  # a sender and what belongs to it; two lines such as `From: ...`, `To: ...` may be prose
_LONGEST_BLOCK = 12  # lines
_MOST_BLANK = 3  # lines between a marker and the header block below it
_DEEPEST = 5  # mails passed on inside each other; what is deeper stays as it is
_NOTE_LINES, _NOTE_WORDS = 2, 25  # what people write above a mail that they pass on


@dataclass(frozen=True)
class _Block:
    """Header lines of a mail inside a text: where they begin and end, and who sent what."""

    start: int
    end: int
    sender: str
    subject: str


def strip_quotes(text: str) -> str:
    """Return `text` without the quoted thread in it; unchanged where nothing else would be left.

    A mail that is passed on stays, with its sender and subject. It is told by a forward marker, or by a header block
    below a line or two; a header block below more than that is an earlier mail.
    """
    return _stripped(text, 0)


def _stripped(text: str, depth: int) -> str:
    if depth == _DEEPEST or not _CANDIDATE.search(text):
        return _without_answer(text) or text
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not _CANDIDATE.match(line):
            continue
        forwarded, original = _FORWARDED.match(line) is not None, _ORIGINAL.match(line) is not None
        block = _block_at(lines, number + 1, _MOST_BLANK) if forwarded or original else _block_at(lines, number, 0)
        if not (forwarded or original or block):
            continue
        above = "\n".join(lines[:number])
        if not forwarded and not (block and _is_note(above)):
            return _without_answer(above) or _without_answer(text) or text
        below = _stripped("\n".join(lines[block.end if block else number + 1 :]).strip("\n"), depth + 1)
        headers = [f"From: {block.sender}"] if block and block.sender else []
        headers += [f"Subject: {block.subject}"] if block and block.subject else []
        kept = "\n\n".join(part for part in (above.strip(), "\n".join(headers), below) if part)
        return kept if below.strip() else text
    return _without_answer(text) or text


def _block_at(lines: list[str], start: int, blank: int) -> _Block | None:
    """Return the header block that begins at a line, or below at most `blank` empty ones."""
    end = min(start + blank, len(lines) - 1)
    while start < end and not lines[start].strip():
        start += 1
    first = _HEADER.match(lines[start]) if start < len(lines) else None
    if first is None or first["sender"] is None:
        return None
    values = {"sender": first["value"].strip(), "to": "", "subject": ""}
    count, end, has_subject_or_to = 0, start, False
    for line in lines[start : start + _LONGEST_BLOCK]:
        match = _HEADER.match(line)
        if match is None:
            break
        count, end = count + 1, end + 1
        for name in ("to", "subject"):
            if match[name] is not None:
                values[name], has_subject_or_to = match["value"].strip(), True
    if not has_subject_or_to or (count < _FEWEST_HEADERS and "@" not in values["sender"]):
        return None
    return _Block(start, end, values["sender"].strip("* "), values["subject"].strip("* "))


def _is_note(above: str) -> bool:
    """Whether so little stands above a header block that the mail below is what matters."""
    written = [line for line in above.split("\n") if line.strip()]
    return len(written) <= _NOTE_LINES and sum(len(line.split()) for line in written) <= _NOTE_WORDS


def _without_answer(text: str) -> str:
    """Return a text without the mail that an attribution (`On ... wrote:`) introduces; empty where all of it is one."""
    match = _ATTRIBUTION.search(text)
    if match is None:
        return text if text.strip() else ""
    rest, quoted = _QUOTED.subn("", text[match.end() :])
    # An answer below the quoted lines is kept. Without quote marks everything below is the earlier mail.
    kept = text[: match.start()] + (rest if quoted else "")
    return kept if kept.strip() else ""
