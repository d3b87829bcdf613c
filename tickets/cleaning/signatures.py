"""Signatures and legal disclaimers below a mail, cut on request.

A signature is what stands below `--`, the line of a mail program (`Sent from my phone`), or the lines with contact
details below a closing; the closing and the name stay. Patterns know the languages of `quotes.py`.
"""

import re

_PASSED_ON = re.compile(r"^(?=-{2,}[ \t]*\w[^\n]*-{2,}[ \t]*$|From: [^\n]*\n(?:To|Sent|Date|Subject): )", re.M)
_DELIMITER = re.compile(r"^--(?P<space>[ \t]*)$", re.M)
_POSTSCRIPT = re.compile(r"^[ \t*_]*P\.?[ ]?(?:P\.?[ ]?)?S\b[.:]?[ \t]*\S", re.M | re.I)
_PROGRAM = re.compile(
    r"^(?:Sent (?:from|with|via) (?:my |the )?[^\n]{2,40}|(?:Diese Nachricht wurde )?Von meinem [^\n]{2,30} gesendet"
    r"|(?:Get|Télécharge[rz]?|Obtener|Scarica|Download|Obter o|Pobierz(?: aplikację)?) Outlook [^\n]{2,80}"
    r"|Outlook für [^\n]{2,20} (?:beziehen|herunterladen|holen)[^\n]{0,60}"
    r"|Gesendet (?:von|mit|über) [^\n]{2,40}|Envoyé (?:de|depuis) [^\n]{2,40}|Enviado (?:desde|do|de) [^\n]{2,40}"
    r"|Inviato da[^\n]{2,40}|Ver(?:zonden|stuurd) (?:vanaf|vanuit|met) [^\n]{2,40}|Wysłan[eo] z [^\n]{2,40})$",
    re.M | re.I,
)
_CLOSING = re.compile(
    r"^[ \t]*(?:(?:with )?(?:best|kind(?:est)?|warm(?:est)?|many)?[ ]?(?:regards|wishes|thanks)|cheers"
    r"|sincerely(?: yours)?|yours (?:sincerely|faithfully|truly)|thank you"
    r"|mit (?:freundlichen|besten) gr(?:ü|ue)(?:ß|ss)en|mfg|vg|lg"
    r"|(?:freundliche|viele|beste|liebe|herzliche|schöne) gr(?:ü|ue)(?:ß|ss)e|(?:bien )?cordialement|bien à vous"
    r"|(?:un saludo|saludos)(?: cordiales)?|(?:cordiali|distinti) saluti|met vriendelijke groet(?:en)?|atenciosamente"
    r"|com os melhores cumprimentos|z poważaniem|pozdrawiam)[ \t]*[,.!]?[ \t]*$",
    re.M | re.I,
)
_CONTACT = re.compile(
    r"\S@\S|www\.|https?://|\+\d[\d ()/.-]{6,}"
    r"|\b(?:tel|phone|telephone|telefon|fon|fax|mobile?|mobil|cell|handy|t|m|f|p)\b[ .:]{1,3}[+(\d]"
    r"|\b(?:GmbH|AG|KG|SE|Ltd|LLC|Inc|PLC|S\.A\.|B\.V\.|S\.r\.l\.)(?!\w)",
    re.I,
)
_DISCLAIMER = re.compile(
    r"\A[ \t*_]*(?:(?:legal )?disclaimer\b|confidential(?:ity)? (?:notice|note)|vertraulichkeitshinweis"
    r"|haftungsausschluss|(?:the (?:information|contents?) (?:contained )?(?:in|of) )?"
    r"this (?:e-?mail|message|communication)\b(?![ -](?:address|account|box|server|program|client|list))[^\n]{0,120}"
    r"\b(?:confidential|privileged|intended|addressee)"
    r"|(?:der inhalt )?diese[rs]? (?:e-?mail|nachricht)\b(?![ -](?:adresse|konto))[^\n]{0,120}"
    r"\b(?:vertraulich|bestimmt|rechtlich)"
    r"|(?:ce|cet|cette) (?:message|e-?mail|courriel)\b[^\n]{0,120}\b(?:confidentiel|destinataire)"
    r"|est[ea] (?:mensaje|correo|e-?mail|mensagem)\b[^\n]{0,120}\b(?:confidencia|destinat)"
    r"|(?:questo|il presente) (?:messaggio|e-?mail)\b[^\n]{0,120}\b(?:riservat|confidenzial|destinat)"
    r"|(?:dit|deze) (?:bericht|e-?mail)\b[^\n]{0,120}\b(?:vertrouwelijk|bestemd)"
    r"|(?:ta|niniejsza) wiadomość\b[^\n]{0,120}\b(?:poufn|adresat)"
    r"|(?:die (?:in dieser e-?mail enthaltenen )?informationen"
    r"|les informations|la información|le informazioni|de informatie|as informações|informacje)\b"
    r"[^\n]{0,60}\b(?:sind|nachricht|message|courriel|mensaje|correo|messaggio|e-?mail(?:bericht)?|bericht|mensagem|wiadomości)\b"
    r"[^\n]{0,120}\b(?:vertraulich|confiden[ct]i|riservat|vertrouwelijk|poufn|bestimmt|destinat|bestemd|adresat)"
    r"|please consider the environment before|bitte (?:denken sie an|prüfen sie)[^\n]{0,40}(?:umwelt|ausdruck|drucken)"
    r"|if you are not the (?:intended|named) (?:recipient|addressee)|sollten sie nicht der (?:richtige|vorgesehene))",
    re.I,
)
_MOST_LINES, _LONGEST_LINE = 14, 100  # of a signature below a closing
_LONGEST_NAME = 6  # words


def cut_signatures(text: str) -> str:
    """Return `text` without signatures and disclaimers; unchanged where nothing else would be left.

    Each mail that is passed on inside of it is treated by itself.
    """
    mails = _PASSED_ON.split(text)
    cut = [_cut(mail) for mail in mails]
    return "".join(cut).rstrip() if cut != mails and any(mail.strip() for mail in cut) else text


def _cut(mail: str) -> str:
    kept = _without_disclaimers(mail)
    if (start := _delimited(kept)) is not None:
        kept = kept[:start].rstrip() + _postscript(kept[start:])
    if (program := _PROGRAM.search(kept)) is not None and not _CLOSING.search(kept, program.end()):
        kept = kept[: program.start()] if kept[program.end() :].count("\n") <= _MOST_LINES else kept
    kept = _without_contacts(kept)
    if kept == mail or not kept.strip():
        return mail
    return kept.rstrip() + mail[len(mail.rstrip()) :]


def _without_disclaimers(mail: str) -> str:
    """Return the mail without paragraphs behind the first that are legal text."""
    first, *others = re.split(r"\n[ \t]*\n", mail)
    kept = [paragraph for paragraph in others if not _DISCLAIMER.match(paragraph)]
    return mail if len(kept) == len(others) else "\n\n".join([first, *kept])


def _delimited(mail: str) -> int | None:
    """Return where the signature below `--` begins.

    Without the space behind it, it has to look like one: it may be output.
    """
    lines = list(_DELIMITER.finditer(mail))
    sure = next((line for line in lines if line["space"]), None)
    if sure is not None:
        return sure.start()
    if len(lines) != 1 or mail[: lines[0].start()].rstrip().endswith(":"):
        return None
    below = [line for line in mail[lines[0].end() :].split("\n") if line.strip()]
    return lines[0].start() if len(below) <= _MOST_LINES and all(len(line) <= _LONGEST_LINE for line in below) else None


def _postscript(signature: str) -> str:
    """Return what stands below a signature, from `PS:` on, as an own paragraph."""
    match = _POSTSCRIPT.search(signature)
    return f"\n\n{signature[match.start() :].strip()}" if match else ""


def _without_contacts(mail: str) -> str:
    """Return the mail down to the name below its last closing, where contact details follow; a postscript stays."""
    closings = list(_CLOSING.finditer(mail))
    if not closings:
        return mail
    end = closings[-1].end()
    postscript = _postscript(mail[end:])
    signature = mail[end : (match.start() if (match := _POSTSCRIPT.search(mail, end)) else len(mail))]
    below = [line for line in signature.split("\n") if line.strip()]
    short = len(below) <= _MOST_LINES and all(len(line) <= _LONGEST_LINE for line in below)
    if len(below) < 2 or not short or not _is_name(below[0]) or not any(map(_CONTACT.search, below[1:])):
        return mail
    return f"{mail[:end]}\n{below[0]}{postscript}"


def _is_name(line: str) -> bool:
    """Return whether the line below a closing is a name, and not a text that goes on behind `Thank you`."""
    words = line.strip("*_ \t").split()
    capital = any(not word[:1].islower() for word in (words[0], words[-1])) if words else False
    sentence = len(words) > 3 and words[-1][-1] in ".?!:"
    return len(words) == 1 or (len(words) <= _LONGEST_NAME and capital and not sentence)
