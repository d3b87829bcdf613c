"""Messages that a table holds in cells: the comment columns of Jira and the journals of ServiceNow."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tickets.cell_text import as_text
from tickets.conversations.automatic_messages import begins_automatic, is_machine_name
from tickets.conversations.messages import Message, identities

JIRA_COLUMN = re.compile(r"(?:comments?|kommentare?|commentaires?|comentarios?|commenti|commento)(?:\.\d+)?", re.I)
JOURNAL_COLUMN = re.compile(
    r"(?:additional[ _])?comments|comments[ _]and[ _]work[ _]notes|work[ _]notes|zusätzliche kommentare|"
    r"arbeitsnotizen|kommentare und arbeitsnotizen",
    re.I,
)
# 04/Mar/24 9:12 AM;agent1;text - and with an ISO or German date
_JIRA_CELL = re.compile(
    r"\s*(\d[\d/.\-]*(?:/\w{3,9}\.?/\d{2,4})?[ T]?[\d:. ]*(?:[ap]m)?[\d:+Z]*);([^;\n]*);(.*)", re.I | re.S
)
_ACCOUNT_ID = re.compile(r"(?:\w+:)?[0-9a-f]{24}|\w+:[0-9a-f-]{36}|[0-9a-f-]{36}|\d+")
# 2024-03-04 09:12:00 - Abel Tuter (Additional comments)
_JOURNAL_HEAD = re.compile(
    r"^(\d[\d/.\-]+[ T][\d:]+(?: ?[AaPp]\.?[Mm]\.?)?) - (.+?) \(((?:[^()\n]|\([^()\n]*\))+)\)[ \t]*$", re.M
)
_INTERNAL = re.compile(
    r"work|arbeit|travail|trabajo|trabalho|lavoro|werk|robocz|pracovn|рабоч|作業|工作|intern|privat|notiz|note\b|notes\b",
    re.I,
)
_PUBLIC_KINDS = frozenset(  # of the journal that the requester sees, in the languages of ServiceNow
    (
        *("comments", "additional comments", "customer comments", "comments visible to customer"),
        *("kommentare", "zusätzliche kommentare", "weitere kommentare"),
        *("commentaires", "commentaires supplémentaires", "commentaires additionnels", "autres commentaires"),
        *("comentarios", "comentarios adicionales", "commenti", "commenti aggiuntivi", "ulteriori commenti"),
        *("opmerkingen", "aanvullende opmerkingen", "extra opmerkingen", "comentários", "comentários adicionais"),
        *("komentarze", "dodatkowe komentarze", "komentáře", "další komentáře", "dodatečné komentáře"),
        *("комментарии", "дополнительные комментарии", "további megjegyzések", "ek yorumlar", "lisäkommentit"),
        *("ytterligare kommentarer", "yderligere kommentarer", "flere kommentarer", "追加コメント", "コメント"),
        *("附加注释", "附加评论", "其他注释", "추가 설명"),
    )
)


def cell_messages(fields: Mapping[str, Any], columns: Iterable[str]) -> list[Message]:
    """Return messages in the comment columns of Jira's CSV and the journals of ServiceNow."""
    messages = []
    for column in columns:
        text = as_text(fields.get(column))
        if match := _JIRA_CELL.fullmatch(text):
            person = _jira_author(match[2].strip().lower())
            messages.append(_message(match[3], person, None, match[1], column))
        elif heads := list(_JOURNAL_HEAD.finditer(text)):
            messages += _journal(text, heads, column)
        elif text.strip():
            messages.append(Message(text.strip(), {}, place=column))
    return messages


def _jira_author(author: str) -> dict[str, str]:
    """Return a login, an account id, a name or an address, as kinds that can be compared."""
    if _ACCOUNT_ID.fullmatch(author):
        return {"id": author}
    return identities({"author": author}, ("author",)) if author else {}


def _journal(text: str, heads: list[re.Match[str]], column: str) -> Iterator[Message]:
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for head, end in zip(heads, ends, strict=True):
        person = identities({"author": head[2]}, ("author",))
        yield _message(text[head.end() : end], person, _is_public_kind(head[3]), head[1], column)


def _is_public_kind(kind: str) -> bool | None:
    """Return whether the requester sees a journal of that name; None for a name that is not known."""
    plain = " ".join(re.sub(r"\([^()]*\)", " ", kind).lower().split())
    if plain in _PUBLIC_KINDS:
        return True
    return False if _INTERNAL.search(kind) else None


def _message(text: str, author: Mapping[str, str], public: bool | None, sent: str, place: str) -> Message:
    text = text.strip()
    seems = begins_automatic(text) or any(is_machine_name(kind, name) for kind, name in author.items())
    return Message(text, author, "", public, False, sent.strip(), place, seems)
