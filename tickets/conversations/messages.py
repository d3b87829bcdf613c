"""Messages of a conversation as helpdesks export them: who wrote each, who may see it, and whether a machine did."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from tickets.cell_text import as_text, bare
from tickets.conversations.audience import is_public
from tickets.conversations.audience_words import audience_of_kind
from tickets.conversations.automatic_messages import begins_automatic, is_automatic, is_machine_name
from tickets.conversations.changes import is_change
from tickets.conversations.list_names import is_history, message_field
from tickets.conversations.message_roles import USER, has_zammad_sender, infer_user_role, role_of, role_word

TEXT_KEYS = (
    *("plainbody", "bodytext", "body", "htmlbody", "text", "content", "message", "bodyhtml", "note"),
    *("comment", "commentbody", "commenttext", "contents", "notes", "textbody", "bodyplain", "plaintext"),
    *("messagebody", "messagetext", "replytext", "replybody", "emailbody", "body.content", "body.text", "body.html"),
    *("content.text", "content.body", "content.html", "description", "value"),
)
_RECIPIENTS = re.compile(r"(?:to|torecipients?|recipients?|toemails?|toaddress(?:es)?|mailto)(?:\..+)?")
_DATES = (
    *("createdat", "created", "createtime", "createdtime", "createdon", "createddate", "createddatetime"),
    *("syscreatedon", "sent", "sentat", "senttime", "postedat", "publishedat", "date", "datetime", "timestamp", "time"),
)
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


@dataclass(frozen=True)
class Message:
    """One message; `author` maps kinds of names (id, login, email, name) to values, empty where the source has none.

    `role` is requester, agent, machine or empty, as the source says; `public` is None where it says nothing.
    `automatic` says that the source calls it so, `seems_automatic` that its author's name, its heading or its beginning
    does. `sent` is the date as it stands there, `place` the list or column it comes from, `recipients` the addresses
    that it went to.
    """

    text: str
    author: Mapping[str, str]
    role: str = ""
    public: bool | None = None
    automatic: bool = False
    sent: str = ""
    place: str = ""
    seems_automatic: bool = False
    recipients: frozenset[str] = frozenset()


def text_keys(name: str) -> tuple[str, ...]:
    """Return the fields of a list that may hold its texts; in lists of updates, `value` is that of a changed field."""
    return TEXT_KEYS[:-1] if name.lower().endswith("updates") or is_history(name) else TEXT_KEYS


def nested_messages(fields: Mapping[str, Any]) -> dict[str, list[Message]]:
    """Return the messages by the name of their list, from dotted names such as `comments.0.body`."""
    lists: dict[str, dict[int, dict[str, Any]]] = {}
    for name, value in fields.items():
        if field := message_field(name):
            lists.setdefault(field[0], {}).setdefault(field[1], {})[field[2]] = value
    plain = {name: {place: _plain(record) for place, record in records.items()} for name, records in lists.items()}
    found = {
        name: [_message(records[place], plain[name][place], name) for place in sorted(records)]
        for name, records in lists.items()
        if not _is_rendered(name, lists)
    }
    if any(message.role == USER for messages in found.values() for message in messages):
        roles = [message.role for messages in found.values() for message in messages]
        role = infer_user_role(roles, [record for records in plain.values() for record in records.values()])
        return {name: [_settled(message, role) for message in messages] for name, messages in found.items()}
    return found


def identities(fields: Mapping[str, Any], prefixes: Iterable[str]) -> dict[str, str]:
    """Return what `fields` say of a person under one of the names: `author_id`, `author.login`, `author`."""
    person: dict[str, str] = {}
    prefixes = tuple(prefixes)
    found = [(rank, rest, value) for name, value in fields.items() for rank, rest in _person_field(name, prefixes)]
    for rank, rest, value in sorted(found, key=lambda item: item[0]):
        if prefixes[rank] == "customer" and person:
            return person  # of an agent's message, this is the other side
        text = as_text(value).strip().lower()
        kind = _kind(rest, text)
        if kind and text and text != "-1":
            if address := _ADDRESS.search(text):
                person.setdefault("email", address[0])
            if kind != "email":
                person.setdefault(kind, _name(text) if kind == "name" else text)
            if kind == "name" and not rest and len(text.split()) == 1:
                person.setdefault("login", text)  # a column `Reporter` holds either
    return person


@lru_cache(maxsize=50_000)
def _person_field(name: str, prefixes: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """Return, of every name that a column can belong to, its rank and the rest of the column's name."""
    forms = dict.fromkeys((name.lower(), _CAPITAL.sub("_", name).lower()))  # createdBy, authorEmail
    found: dict[int, str] = {}
    for form in forms:
        for rank, prefix in enumerate(prefixes):
            if form == prefix or form.startswith((f"{prefix}_", f"{prefix}.", f"{prefix} ")):
                found.setdefault(rank, form[len(prefix) :].lstrip("_. "))
    return tuple(found.items())


def _kind(rest: str, text: str) -> str:
    # the first of a list, as Request Tracker has it, and the object of Microsoft Graph
    part = bare(rest).removeprefix("0.").removeprefix("emailaddress.")
    if part in ("id", "accountid", "sysid", "value"):
        return "id"
    if part in ("login", "username", "key", "userid", "loginname"):
        return "login"
    if part in ("email", "emailaddress", "address", "emailid", "mail"):
        return "email"
    if part in ("", "name", "displayname", "displayvalue", "fullname", "handle"):
        return "email" if _ADDRESS.fullmatch(text) else "id" if text.isdigit() else "name"
    return ""


def _name(text: str) -> str:
    """Return a name without its address and the order of its words: `Lee, Ann` is `Ann Lee`."""
    words = re.findall(r"[^\s,;\"']+", re.sub(r"<[^<>]*>", " ", text))
    return " ".join(sorted(words)) or text


_AUTHOR_PREFIXES = (
    *("author", "user", "users", "origin_by", "sender", "from", "sys_created_by", "created_by", "createdby", "creator"),
    *("poster", "posted_by", "sent_by", "submitted_by", "written_by", "added_by", "replied_by", "performed_by"),
    *("performer", "writer", "commenter", "submitter", "actor", "by", "customer"),
)


def _plain(record: Mapping[str, Any]) -> dict[str, str]:
    return {_plain_name(name): as_text(value).strip() for name, value in record.items()}


@lru_cache(maxsize=10_000)
def _plain_name(name: str) -> str:
    return bare(name)


def _message(record: Mapping[str, Any], plain: Mapping[str, str], place: str) -> Message:
    text = next((plain[key] for key in text_keys(place) if plain.get(key)), "")
    role = role_of(plain)
    person = {name: value for name, value in record.items() if not role_word(as_text(value))}
    if has_zammad_sender(plain):
        person.pop("sender_id", None)
    author = identities(person, _AUTHOR_PREFIXES)
    automatic = role == "machine" or is_automatic(plain)
    names = ((kind, name) for kind, name in author.items() if kind != "email" or not role)
    seems = any(is_machine_name(kind, name) for kind, name in names)
    seems = seems or begins_automatic(text) or begins_automatic(plain.get("subject", ""))
    sent = next((plain[key] for key in _DATES if plain.get(key)), "")
    public = is_public(plain)
    public = audience_of_kind(place.rpartition(".")[2]) if public is None else public  # internal_notes
    if is_history(place) and (not (author or role) or is_change(plain, text)):
        text = ""  # it says what happened
    return Message(text, author, role, public, automatic, sent, place, seems, _recipients(plain))


def _recipients(plain: Mapping[str, str]) -> frozenset[str]:
    """Return the addresses that a message went to, in small letters."""
    return frozenset(
        address.lower()
        for name, value in plain.items()
        if _RECIPIENTS.fullmatch(name)
        for address in _ADDRESS.findall(value)
    )


def _settled(message: Message, role: str) -> Message:
    return replace(message, role=role) if message.role == USER else message


def _is_rendered(name: str, lists: Iterable[str]) -> bool:
    """Return whether a list repeats another as HTML: `renderedFields.comment.comments` of Jira."""
    first, _, rest = name.partition(".")
    return first.lower().startswith("rendered") and any(other != name and other.endswith(f".{rest}") for other in lists)
