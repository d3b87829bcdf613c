"""Names of the lists that hold messages, and the parts of a column's name in such a list.

Some lists hold nothing else (`comments`). A history holds changes too, so that its members must show what they are.
"""

import re
from functools import lru_cache

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
# lists of the work on a ticket, without a message: status_history, worklog
_NO_TALK = (
    r"(?!(?:status|state|edit|change|assign\w*|sla|login|revision|version|work|time|audit)[_ -]?(?i:log|hist|ev|ent))"
)
HISTORY_NAME = (
    rf"{_NO_TALK}{_OWNER}(?:history|histories|activit(?:y|ies)|events|e?mails|answers|responses|timeline|feed|"
    r"communications|interactions|transactions|entries)"
)
_NODES = r"(?:\.(?:nodes|edges|data|comments|results|entries|items|values|records|conversation_parts))?"
_LIST = rf"((?:.*\.)?(?:{LIST_NAME}){_NODES})"
_MANY = re.compile(rf"{_LIST}\.(\d+)\.(.+)", re.I)
_ONE = re.compile(rf"{_LIST}\.((?:[^.\d][^.]*\.)*[^.\d][^.]*)", re.I)  # a list of one that became an object
# below objects alone: a history inside a message is that of its edits; the audits of Zendesk hold events
_HISTORY = re.compile(rf"((?:audits\.\d+\.|(?:[^.\d][^.]*\.)*)(?:{HISTORY_NAME}){_NODES})\.(\d+)\.(.+)", re.I)
_HISTORY_LIST = re.compile(rf"(?:.*\.)?(?:{HISTORY_NAME}){_NODES}", re.I)
_WRAPPER = re.compile(r"\A(?:node|note|comment|article|message|post|email|reply|attributes)\.(?=.)", re.I)


@lru_cache(maxsize=50_000)
def message_field(column: str) -> tuple[str, int, str] | None:
    """Return the list, the place in it and the field of a column such as `comments.0.body`; None for other columns.

    Where a list of one became an object, as XML makes it, `Article.Body` is place 0.
    """
    if match := _MANY.fullmatch(column) or _HISTORY.fullmatch(column):
        return match[1], int(match[2]), _WRAPPER.sub("", match[3], count=1)
    match = _ONE.fullmatch(column)
    return (match[1], 0, match[2]) if match else None


@lru_cache(maxsize=10_000)
def is_history(name: str) -> bool:
    """Return whether a list of this name holds changes beside its messages, or may hold none."""
    return _HISTORY_LIST.fullmatch(name) is not None and re.fullmatch(_LIST, name, re.I) is None
