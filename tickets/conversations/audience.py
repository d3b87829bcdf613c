"""Whether the requester sees a message, as its fields say; where they say nothing, it is not known."""

from collections.abc import Mapping

from tickets.cell_text import bare
from tickets.conversations.audience_words import audience_of, audience_of_kind, flag_meaning
from tickets.conversations.message_roles import is_true

_HIDDEN = ("draft", "isdraft", "deleted", "isdeleted", "hidden", "ishidden", "minimized", "isminimized")
_HIDDEN_STATES = frozenset(("draft", "hidden", "deleted", "trashed", "underreview"))
_PUBLIC_FLAGS = (
    *("public", "ispublic", "jsdpublic", "isvisibleforcustomer", "visibletocustomer", "iscustomervisible"),
    *("customervisible", "visibleforcustomer", "visibletorequester", "showtorequester", "showtocustomer"),
)
_INTERNAL_FLAGS = (
    *("internal", "private", "isprivate", "isinternal", "confidential", "isconfidential", "internalnote"),
    *(
        "isinternalnote",
        "privatenote",
        "privatenotes",
        "isprivatenote",
        "isnote",
        "staffonly",
        "agentonly",
        "agentsonly",
        "properties.sd.public.comment.internal",  # Jira
    ),
)
_AUDIENCES = (
    *("visibility", "audience", "privacy", "access", "accesslevel", "visibleto", "viewableby", "scope"),
    *("sichtbarkeit", "visibilité", "visibilidad", "visibilità", "zichtbaarheid", "visibilidade", "widoczność"),
)
_KINDS = (
    *("type", "parttype", "kind", "articletype", "notetype", "commenttype", "messagetype", "type.name", "noteclass"),
    "original.resourcetype",  # of a post of Kayako
    *("action", "event", "eventtype", "activitytype", "entrytype"),  # of a member of a history
    *("channel", "category"),  # whose words do not count: a `private message` of a network is the customer's
)
_PUBLIC_WORDS = frozenset(
    ("public", "all", "everyone", "external", "customer", "customers", "requester", "enduser", "endusers", "visible")
)
_PUBLIC_KINDS = frozenset(
    (
        *("public", "external", "publicreply", "publiccomment", "publicnote", "noteexternal", "emailexternal"),
        *("reply", "emailreply", "customerreply", "casemessage", "correspond", "correspondence"),
    )
)
_INTERNAL_WORDS = frozenset(
    ("private", "internal", "restricted", "hidden", "confidential", "internalonly", "agentsonly")
)
_INTERNAL_AUDIENCES = _INTERNAL_WORDS | {"agent", "agents", "staff", "team", "technicians", "employees", "none"}
_INTERNAL_KINDS = _INTERNAL_WORDS | frozenset(
    (
        *("note", "notes", "n", "internalnote", "privatenote", "worknote", "worknotes", "staffnote", "agentnote"),
        *("internalcomment", "privatecomment", "noteinternal", "notereport", "emailinternal", "sidenote", "whisper"),
        *("noteandreopen", "noteandclose", "noteandsnooze"),
    )
)
_CHAT, _SHARED_CHAT = frozenset(("role", "content")), frozenset(("from", "value"))
_EXTERNAL_ARTICLES = frozenset(("phone", "webrequest", "email", "fax", "sms"))


def is_public(plain: Mapping[str, str]) -> bool | None:
    """Return whether the requester sees the message with these fields; None where they do not say."""
    if any(is_true(plain.get(flag, "")) for flag in _HIDDEN) or bare(plain.get("state", "")) in _HIDDEN_STATES:
        return False
    for flags, meaning in ((_PUBLIC_FLAGS, True), (_INTERNAL_FLAGS, False)):
        for flag in flags:
            said = is_true(plain.get(flag, ""))
            if said is not None:
                return said == meaning
    for name, value in plain.items():
        means_public, said = flag_meaning(name), is_true(value)
        if means_public is not None and said is not None:
            return said == means_public
    if bare(plain.get("visibility.$type", "")) == "unlimitedvisibility":  # YouTrack
        return True
    if any(name.startswith("visibility.") and value for name, value in plain.items()):
        return False  # of Jira: the one group that may see it
    words = [bare(plain[name]) for name in _AUDIENCES if plain.get(name)]
    kinds = [bare(plain[name]) for name in _KINDS if plain.get(name)]
    if not _INTERNAL_AUDIENCES.isdisjoint(words) or not _INTERNAL_KINDS.isdisjoint(kinds):
        return False
    if not _PUBLIC_WORDS.isdisjoint(words):
        return True
    named = [audience_of(plain[name]) for name in _AUDIENCES if plain.get(name)]
    named += [audience_of_kind(plain[name]) for name in _KINDS[:-2] if plain.get(name)]
    if False in named or True in named:
        return False not in named
    return _by_helpdesk(plain, kinds)


def _by_helpdesk(plain: Mapping[str, str], kinds: list[str]) -> bool | None:
    """Return what only some helpdesks say, each in its own way."""
    if plain.get("element") in ("comments", "work_notes"):  # ServiceNow
        return plain["element"] == "comments"
    kind = bare(plain.get("type", ""))
    public = (
        bare(plain.get("articletype", "")) in _EXTERNAL_ARTICLES  # OTRS
        or any(word in _PUBLIC_KINDS for word in kinds)
        or plain.get("parttype", "") == "comment"  # Intercom
        or (kind in ("customer", "message") and "createdby.type" in plain)  # Help Scout
        or (kind in ("m", "r") and "poster" in plain)  # osTicket
        or is_true(plain.get("isinbound", "")) is not None  # Front, whose comments are a list of their own
        or "authorassociation" in plain  # GitHub has no internal comments
        or plain.keys() in (_CHAT, _SHARED_CHAT)  # of a language model
    )
    return True if public else None
