"""What in a history is no message: changes of a status, an assignment or another field, by kind or by their words."""

import re
from collections.abc import Mapping

_KINDS = (
    *("type", "event", "eventtype", "action", "actiontype", "activitytype", "activity", "kind", "entrytype"),
    *("historytype", "messagetype", "category", "verb", "class"),
)
_SAID = re.compile(r"comment|repl(?:y|ied)|mail|message|note|respon|answer|chat|call|sms|correspond|post|kommentar")
_CHANGED = re.compile(
    r"status|state|assign|owner|priorit|tag|label|field|chang|merg|mov|escalat|sla|due|follow|watch|link|rat(?:ed|ing)"
    r"|attach|audit|transition|propert|modif|renam|automation|trigger|timer|work|transfer|view|notif|satisf|survey|änder|zuweis"
)
_OF_A_MESSAGE = re.compile(
    r"delet|remov|edit|redact|seen|opened|bounced|draft|gelöscht"
)  # of one that stands elsewhere
_FIELD = (
    r"(?:status|state|priority|assignee|owner|queue|group|team|type|category|tags?|severity|department|due date"
    r"|priorität|gruppe|warteschlange|bearbeiter|kategorie)"
)
_TICKET = r"(?:the |this )?(?:ticket|issue|case|request|conversation|anfrage|vorgang)(?: #?[\w-]*\d[\w-]*)?"
_DONE = (
    r"(?:created|opened|re-?opened|closed|resolved|assigned|escalated|merged|moved|updated|transferred|solved|locked"
    r"|erstellt|geöffnet|geschlossen|gelöst|zugewiesen|verschoben)"
)
_WORDS = r"(?:[ :]+[^\s.]+){0,8}\.?"
_CHANGE = re.compile(
    rf"{_FIELD}(?: was| has been| wurde)?(?: changed| set| updated| geändert| gesetzt)?"
    rf"(?: from| to| von| auf|:| ->| →| =){_WORDS}"
    rf"|(?:changed|set|updated|added|removed|cleared) (?:the )?{_FIELD}{_WORDS}"
    rf"|{_TICKET}(?: was| has been| is| wurde)? {_DONE}{_WORDS}"
    rf"|{_DONE} {_TICKET}{_WORDS}"
    rf"|(?:re-?)?assigned (?:to|from){_WORDS}",
    re.I,
)
_LONGEST = 160


def is_change(plain: Mapping[str, str], text: str) -> bool:
    """Return whether the member of a history with these fields and this text says what happened, and no one's words."""
    kinds = [kind for name in _KINDS if (kind := plain.get(name, "").lower())]
    if any(_OF_A_MESSAGE.search(kind) and _SAID.search(kind) for kind in kinds):
        return True
    if any(_SAID.search(kind) for kind in kinds):
        return False
    return any(_CHANGED.search(kind) for kind in kinds) or (
        len(text) <= _LONGEST and _CHANGE.fullmatch(" ".join(text.split())) is not None
    )
