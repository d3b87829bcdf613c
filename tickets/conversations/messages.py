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
from tickets.conversations.message_roles import USER, has_zammad_sender, infer_user_role, role_of, role_word

# a message that a list of its own repeats: last_message, firstThread
_REPEATED = r"(?!(?:first|last|latest|newest|most_recent|initial)(?:[_ -]|(?-i:(?=[A-Z]))))"
# texts that are offered to an agent, and messages of other tickets: suggested_articles, merged_comments
_FOREIGN = r"(?![^.]*(?:suggest|recommend|related|linked|similar|merged|canned|saved|template|knowledge|kb[_-]))"
_OWNER = (
    rf"{_REPEATED}{_FOREIGN}(?:[^.]*[_ -]|(?-i:[^.]*(?=[A-Z][a-z])))?"  # ticket_comments, ticketComments, ITILFollowup
)
LIST_NAME = (
    rf"{_OWNER}(?:comments?|articles?|conversations?|notes|threads?|messages|discussion|journals?|replies|posts|updates|"
    r"conversation_parts|follow[_-]?ups?|correspondences?|transcript|journal_fields?)"
)
_NODES = r"(?:\.(?:nodes|edges|data|comments|results|entries|items|values|records|conversation_parts))?"
_LIST = rf"((?:.*\.)?(?:{LIST_NAME}){_NODES})"
_MANY = re.compile(rf"{_LIST}\.(\d+)\.(.+)", re.I)
_ONE = re.compile(rf"{_LIST}\.((?:[^.\d][^.]*\.)*[^.\d][^.]*)", re.I)  # a list of one that became an object
_WRAPPER = re.compile(r"\A(?:node|note|comment|article|message|post|attributes)\.(?=.)", re.I)
TEXT_KEYS = (
    *("plainbody", "bodytext", "body", "htmlbody", "text", "content", "message", "bodyhtml", "note"),
    *("comment", "commentbody", "commenttext", "contents", "notes", "description", "value"),
)
_DATES = (
    *("createdat", "created", "createtime", "createdtime", "createdon", "createddate", "createddatetime"),
    *("syscreatedon", "sent", "sentat", "senttime", "postedat", "publishedat", "date", "datetime", "timestamp", "time"),
)
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


@dataclass(frozen=True)
class Message:
    """One message; `author` maps kinds of names (id, login, email, name) to values, empty where the source has none.

    `role` is requester, agent, machine or empty, as the source says; `public` is None where it says nothing.
    `automatic` says that the source calls it so, `seems_automatic` that its author's name, its heading or its beginning
    does. `sent` is the date as it stands there, `place` the list or column it comes from.
    """

    text: str
    author: Mapping[str, str]
    role: str = ""
    public: bool | None = None
    automatic: bool = False
    sent: str = ""
    place: str = ""
    seems_automatic: bool = False


@lru_cache(maxsize=50_000)
def message_field(column: str) -> tuple[str, int, str] | None:
    """Return the list, the place in it and the field of a column such as `comments.0.body`; None for other columns.

    Where a list of one became an object, as XML makes it, `Article.Body` is place 0.
    """
    if match := _MANY.fullmatch(column):
        return match[1], int(match[2]), _WRAPPER.sub("", match[3], count=1)
    match = _ONE.fullmatch(column)
    return (match[1], 0, match[2]) if match else None


def text_keys(name: str) -> tuple[str, ...]:
    """Return the fields of a list that may hold its texts; the `value` of an update is that of a changed field."""
    return TEXT_KEYS[:-1] if name.lower().endswith("updates") else TEXT_KEYS


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
    lowered = name.lower()
    return tuple(
        (rank, lowered[len(prefix) :].lstrip("_. "))
        for rank, prefix in enumerate(prefixes)
        if lowered == prefix or lowered.startswith((f"{prefix}_", f"{prefix}.", f"{prefix} "))
    )


def _kind(rest: str, text: str) -> str:
    if rest in ("id", "accountid", "sys_id", "value"):
        return "id"
    if rest in ("login", "username", "key", "user_id", "login_name"):
        return "login"
    if rest in ("email", "emailaddress", "email_address", "address", "email_id", "emailid", "mail"):
        return "email"
    if rest in ("", "name", "displayname", "display_name", "display_value", "full_name", "fullname", "handle"):
        return "email" if _ADDRESS.fullmatch(text) else "id" if text.isdigit() else "name"
    return ""


def _name(text: str) -> str:
    """Return a name without its address and the order of its words: `Lee, Ann` is `Ann Lee`."""
    words = re.findall(r"[^\s,;\"']+", re.sub(r"<[^<>]*>", " ", text))
    return " ".join(sorted(words)) or text


_AUTHOR_PREFIXES = (
    *(
        "author",
        "user",
        "users",
        "origin_by",
        "sender",
        "from",
        "sys_created_by",
        "created_by",
        "createdby",
        "creator",
        "poster",
    ),
    *("writer", "commenter", "actor", "by", "customer"),
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
    return Message(text, author, role, public, automatic, sent, place, seems)


def _settled(message: Message, role: str) -> Message:
    return replace(message, role=role) if message.role == USER else message


def _is_rendered(name: str, lists: Iterable[str]) -> bool:
    """Return whether a list repeats another as HTML: `renderedFields.comment.comments` of Jira."""
    first, _, rest = name.partition(".")
    return first.lower().startswith("rendered") and any(other != name and other.endswith(f".{rest}") for other in lists)
