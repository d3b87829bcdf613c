"""Who wrote a message: the requester, an agent or a machine, as the fields of the message say.

The names of the fields come without `_`, `-` and spaces, in small letters.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from tickets.cell_text import bare

USER = "user"  # the requester for some helpdesks and the agent for others: the other messages tell
_REQUESTER = frozenset(
    (
        "customer",
        "enduser",
        "requester",
        "contact",
        "client",
        "lead",
        "visitor",
        "guest",
        "reporter",
        "endcustomer",
        "human",
    )
)
_AGENT = frozenset(
    (
        "agent",
        "admin",
        "owner",
        "staff",
        "operator",
        "teammate",
        "supportagent",
        "technician",
        "supportrep",
        "employee",
        "support",
        "assistant",
        "gpt",
    )
)
_MACHINE = frozenset(
    ("system", "bot", "automation", "trigger", "workflow", "app", "rule", "agentbot", "virtualagent", "robot")
)
# A lead writes beside users, so only the others show that a user is an agent.
_SURE_REQUESTER = _REQUESTER - {"lead", "visitor", "guest"}
_PERSON = (
    r"author|user|sender|actor|creator|createdby|poster|writer|commenter|submitter|from|by|postedby|sentby|submittedby"
    r"|writtenby|addedby|repliedby|performedby"
)
_ROLE_FIELD = re.compile(rf"(?:{_PERSON})\.?(?:type|role|kind|usertype|accounttype|typename)|{_PERSON}|role")
_LONGEST_WORD = 30
_TRUE = frozenset(("true", "1", "yes", "t", "y", "ja", "wahr", "oui", "sí", "sim", "tak"))
_FALSE = frozenset(("false", "0", "no", "f", "n", "nein", "falsch", "non", "nee", "não", "nie"))
_INBOUND = (
    *("incoming", "isincoming", "inbound", "isinbound", "fromcustomer", "isfromcustomer", "iscustomer"),
    *("fromrequester", "isrequester", "author.iscustomer"),
)
_OUTBOUND = (
    *("outgoing", "isoutgoing", "outbound", "isoutbound", "fromagent", "isfromagent", "isagent", "isstaff"),
    *("bystaff", "byagent", "author.isagent", "author.isstaff", "author.isadmin"),
)
_IN = frozenset(("in", "inbound", "incoming", "received", "incomingemail"))
_OUT = frozenset(("out", "outbound", "outgoing", "sent", "outgoingemail"))
_OTRS_SENDERS = {"1": "agent", "2": "machine", "3": "requester"}  # SenderTypeID
_ZAMMAD_SENDERS = {"1": "agent", "2": "requester", "3": "machine"}  # sender_id
_CHATWOOT_KINDS = {"0": "requester", "1": "agent", "2": "machine", "3": "machine"}  # message_type
_KINDS = {  # the type of an entry of osTicket or of a thread of Help Scout
    "m": "requester",
    "r": "agent",
    "lineitem": "machine",
    "systemmessage": "machine",
    "autoreply": "machine",
    "autoresponse": "machine",
}


def is_true(value: str) -> bool | None:
    """Return what a flag says, None where it is none."""
    lowered = value.lower()
    return True if lowered in _TRUE else False if lowered in _FALSE else None


def role_word(value: str) -> str:
    """Return the role that a word such as `End User` names: requester, agent, machine, USER or nothing."""
    word = bare(value) if len(value) <= _LONGEST_WORD else ""
    if word in _REQUESTER:
        return "requester"
    if word == USER:
        return USER
    return "agent" if word in _AGENT else "machine" if word in _MACHINE else ""


def role_of(plain: Mapping[str, str]) -> str:
    """Return the role that the fields of a message state, empty where they state none."""
    if has_zammad_sender(plain):
        return _ZAMMAD_SENDERS[plain["senderid"]]
    stated = [role_word(value) for name, value in plain.items() if _states_role(name)]
    if "machine" in stated:
        return "machine"
    sure = next((role for role in stated if role and role != USER), "")
    if sure or (sure := _OTRS_SENDERS.get(plain.get("sendertypeid", ""), "") or _kind_role(plain)):
        return sure
    return _direction(plain) or (USER if USER in stated else "")


def has_zammad_sender(plain: Mapping[str, str]) -> bool:
    """Return whether `sender_id` is the role of the sender, as in articles of Zammad, and not a person's number."""
    return plain.get("senderid") in _ZAMMAD_SENDERS and "createdbyid" in plain and "internal" in plain


def infer_user_role(roles: Iterable[str], stated: Iterable[Mapping[str, str]]) -> str:
    """Return the role of a `user` among messages with these roles and fields; empty where nothing tells."""
    if "agent" in roles:
        return "requester"
    words = {bare(value) for plain in stated for name, value in plain.items() if _ROLE_FIELD.fullmatch(name)}
    return "agent" if words & _SURE_REQUESTER else ""


@lru_cache(maxsize=10_000)
def _states_role(name: str) -> bool:
    return _ROLE_FIELD.fullmatch(name) is not None


def _kind_role(plain: Mapping[str, str]) -> str:
    kind = plain.get("type", "").lower().replace("_", "")
    if role := _KINDS.get(kind) or role_word(kind).replace(USER, ""):
        return role
    message_type = plain.get("messagetype", "").lower()
    if message_type in _IN | _OUT:
        return "requester" if message_type in _IN else "agent"
    if message_type in _CHATWOOT_KINDS and "private" in plain:
        return _CHATWOOT_KINDS[message_type]
    return "machine" if message_type in ("activity", "template", "system") else ""


def _direction(plain: Mapping[str, str]) -> str:
    for names, meaning in ((_INBOUND, True), (_OUTBOUND, False)):
        for name in names:
            said = is_true(plain.get(name, ""))
            if said is not None:
                return "requester" if said == meaning else "agent"
    direction = bare(plain.get("direction", ""))
    return "requester" if direction in _IN else "agent" if direction in _OUT else ""
