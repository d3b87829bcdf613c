"""Messages of a conversation as helpdesks export them: who wrote each, who may see it, and whether a machine did."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tickets.columns import as_text

_LIST_NAMES = r"comments?|articles?|conversations?|notes|threads?|messages|discussion|journal|replies"
_NODES = r"(?:\.(?:nodes|data|comments|results))?"
MESSAGE_FIELD = re.compile(rf"((?:.*\.)?(?:{_LIST_NAMES}){_NODES})\.(\d+)\.(?:node\.)?(.+)", re.I)
JIRA_COLUMN = re.compile(r"(?:comments?|kommentare?)(?:\.\d+)?", re.I)
JOURNAL_COLUMN = re.compile(r"(?:additional[ _])?comments|comments[ _]and[ _]work[ _]notes|work[ _]notes", re.I)

# 04/Mar/24 9:12 AM;agent1;text - and with an ISO or German date
_JIRA_CELL = re.compile(
    r"\s*(\d[\d/.\-]*(?:/\w{3}/\d{2,4})?[ T]?[\d:. ]*(?:[ap]m)?[\d:+Z]*);([^;\n]*);(.*)", re.I | re.S
)
# 2024-03-04 09:12:00 - Abel Tuter (Additional comments)
_JOURNAL_HEAD = re.compile(r"^(\d[\d/.\-]+ [\d:]+(?: [AP]M)?) - (.+?) \(([^()\n]+)\)[ \t]*$", re.M)
_INTERNAL_JOURNAL = re.compile(r"work|arbeit|travail|trabajo|interno|internal", re.I)

_REQUESTER = frozenset(
    ("customer", "end-user", "end_user", "enduser", "requester", "user", "contact", "client", "lead")
)
_AGENT = frozenset(("agent", "admin", "owner", "staff", "operator", "teammate"))
_MACHINE = frozenset(("system", "bot", "automation", "trigger", "workflow"))
_SENDER_IDS = {"1": "agent", "2": "system", "3": "customer"}  # SenderTypeID of OTRS
_TRUE, _FALSE = frozenset(("true", "1", "yes", "t")), frozenset(("false", "0", "no", "f"))
_PUBLIC_KEYS = ("public", "ispublic", "jsdpublic", "isvisibleforcustomer", "visibletocustomer", "iscustomervisible")
_INTERNAL_KEYS = ("internal", "private", "isprivate", "isinternal", "confidential", "isconfidential")
_TEXT_KEYS = ("plainbody", "bodytext", "body", "htmlbody", "value", "text", "content", "message", "bodyhtml")
_AUTOMATIC_TEXT = re.compile(
    r"\s*(?:automatic reply|auto(?:matic)?[- ]?(?:reply|response)|out of (?:the )?office|automatische antwort|"
    r"abwesenheitsnotiz|réponse automatique|respuesta automática|risposta automatica|automatisch antwoord)\b",
    re.I,
)
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


@dataclass(frozen=True)
class Message:
    """One message; `author` maps kinds of names (id, login, email, name) to values, empty where the source has none.

    `role` is requester, agent, machine or empty, as the source says; `public` is None where it says nothing.
    """

    text: str
    author: Mapping[str, str]
    role: str = ""
    public: bool | None = None
    automatic: bool = False
    sent: str = ""


def nested_messages(fields: Mapping[str, Any]) -> dict[str, list[Message]]:
    """Messages by the name of their list, from dotted names such as `comments.0.body`."""
    lists: dict[str, dict[int, dict[str, Any]]] = {}
    for name, value in fields.items():
        if match := MESSAGE_FIELD.fullmatch(name):
            lists.setdefault(match[1], {}).setdefault(int(match[2]), {})[match[3]] = value
    return {name: [_message(places[place]) for place in sorted(places)] for name, places in lists.items()}


def cell_messages(fields: Mapping[str, Any], columns: Iterable[str]) -> list[Message]:
    """Messages in the comment columns of Jira's CSV and the journals of ServiceNow."""
    messages = []
    for column in columns:
        text = as_text(fields.get(column))
        if match := _JIRA_CELL.fullmatch(text):
            author = match[2].strip().lower()  # a login, an account id or a name
            person = dict.fromkeys(("login", "id", "name", "email"), author) if author else {}
            messages.append(Message(match[3].strip(), person, sent=_iso(match[1])))
        elif heads := list(_JOURNAL_HEAD.finditer(text)):
            messages += _journal(text, heads)
        elif text.strip():
            messages.append(Message(text.strip(), {}))
    return messages


def identities(fields: Mapping[str, Any], prefixes: Iterable[str]) -> dict[str, str]:
    """What `fields` say of a person under one of the names: `author_id`, `author.login`, `author`."""
    person: dict[str, str] = {}
    for prefix in prefixes:
        for name, value in fields.items():
            lowered = name.lower()
            if lowered != prefix and not lowered.startswith((f"{prefix}_", f"{prefix}.", f"{prefix} ")):
                continue
            text = as_text(value).strip().lower()
            kind = _kind(lowered[len(prefix) :].lstrip("_. "), text)
            if kind and text and text != "-1":
                person.setdefault(kind, text)
                if kind != "email" and (address := _ADDRESS.search(text)):
                    person.setdefault("email", address[0])
    return person


def _kind(rest: str, text: str) -> str:
    if rest in ("id", "accountid", "sys_id", "value"):
        return "id"
    if rest in ("login", "username", "key", "user_id", "login_name"):
        return "login"
    if rest in ("email", "emailaddress", "address"):
        return "email"
    if rest in ("", "name", "displayname", "display_name", "display_value", "full_name", "fullname"):
        return "email" if _ADDRESS.fullmatch(text) else "id" if text.isdigit() else "name"
    return ""


_AUTHOR_PREFIXES = ("author", "user", "origin_by", "sender", "from", "sys_created_by", "created_by", "customer")


def _message(record: Mapping[str, Any]) -> Message:
    plain = {name.lower().replace("_", ""): as_text(value).strip() for name, value in record.items()}
    text = next((plain[key] for key in _TEXT_KEYS if plain.get(key)), "")
    sender = plain.get("sender") or plain.get("sendertype") or _SENDER_IDS.get(plain.get("sendertypeid", ""), "")
    said = (sender, plain.get("authortype"), plain.get("author.type"), plain.get("role"), plain.get("author.role"))
    role = next((role for value in said if (role := _role((value or "").lower()))), "")
    if not role and plain.get("incoming", "").lower() in _TRUE | _FALSE:
        role = "requester" if plain["incoming"].lower() in _TRUE else "agent"
    person = {name: value for name, value in record.items() if _role(as_text(value).lower()) == ""}
    automatic = role == "machine" or _is_automatic(plain) or _AUTOMATIC_TEXT.match(text) is not None
    automatic = automatic or _AUTOMATIC_TEXT.match(plain.get("subject", "")) is not None
    dates = ("createdat", "created", "createtime", "syscreatedon", "sent")
    sent = next((plain[key] for key in dates if key in plain), "")
    return Message(text, identities(person, _AUTHOR_PREFIXES), role, _visibility(plain), automatic, _iso(sent))


def _role(sender: str) -> str:
    if sender in _REQUESTER:
        return "requester"
    return "agent" if sender in _AGENT else "machine" if sender in _MACHINE else ""


def _visibility(plain: Mapping[str, str]) -> bool | None:
    for keys, meaning in ((_PUBLIC_KEYS, True), (_INTERNAL_KEYS, False)):
        for key in keys:
            value = plain.get(key, "").lower()
            if value in _TRUE | _FALSE:
                return (value in _TRUE) == meaning
    kind = plain.get("articletype", "").lower()
    if "internal" in kind or any(key.startswith("visibility") and value for key, value in plain.items()):
        return False
    if "external" in kind or kind in ("phone", "webrequest", "email"):
        return True
    if plain.get("element") in ("comments", "work_notes"):
        return plain["element"] == "comments"
    github = "authorassociation" in plain  # GitHub has no internal comments
    return True if github else None


def _is_automatic(plain: Mapping[str, str]) -> bool:
    flags = ("system", "preferences.isautoresponse", "autoresponse", "autoreply", "isauto", "automated", "isautomatic")
    if any(plain.get(flag, "").lower() in _TRUE for flag in flags):
        return True
    if plain.get("via.channel", "").lower() in ("rule", "system", "trigger"):
        return True
    author = plain.get("author.login") or plain.get("user.login") or plain.get("author.username") or ""
    machine = "bot" in (plain.get("user.type", "").lower(), plain.get("author.type", "").lower())
    return (
        machine or author.endswith("[bot]") or plain.get("author.isbot", "") == "true" or plain.get("authorid") == "-1"
    )


def _journal(text: str, heads: list[re.Match[str]]) -> Iterator[Message]:
    ends = [*(head.start() for head in heads[1:]), len(text)]
    for head, end in zip(heads, ends, strict=True):
        body = text[head.end() : end].strip()
        yield Message(
            body, {"name": head[2].strip().lower()}, "", not _INTERNAL_JOURNAL.search(head[3]), sent=_iso(head[1])
        )


def _iso(date: str) -> str:
    """A date that sorts as text, or nothing."""
    date = date.strip()
    return date if re.match(r"\d{4}-\d\d-\d\d", date) else ""
