"""Private data out of a text: every place that stores or retrieves tickets uses this one function."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from tickets.redact.accounts import find_cards, find_ibans
from tickets.redact.kinds import PLACEHOLDERS, Span, add_spans, without_overlaps
from tickets.redact.known import NOBODY, Known, find_known
from tickets.redact.network import find_emails, find_ips, find_secret_urls, find_spelt_emails, find_tokens
from tickets.redact.patterns import TeamPattern
from tickets.redact.phones import find_phones

_Finder = Callable[[str], Iterable[Span]]
_SPELT_AT = re.compile(r"[\[(](?:at|ät|@)[\])]|(?-i: AT [^\n]+ DOT )", re.I)
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))
_FEWEST_DIGITS = 4  # of an IPv4 address, the shortest of the kinds that are numbers


class Redactor:
    """Replaces private data by placeholders: what can be told by its form, by a team's patterns, and what is known."""

    def __init__(self, patterns: Sequence[TeamPattern] = ()) -> None:
        """Take the patterns of a team, which go before all others but URLs."""
        self.patterns = tuple(patterns)
        self.placeholders = {**PLACEHOLDERS, **{pattern.kind: pattern.placeholder for pattern in patterns}}

    def redact(self, text: str, known: Known = NOBODY) -> tuple[str, Counter[str]]:
        """Return the text with placeholders, and how many of each kind were put in.

        Args:
            known: names, addresses and companies of this ticket.

        Raises:
            InputError: a pattern of the team takes too long.
        """
        spans = self.find(text, known)
        if not spans:
            return text, Counter()
        parts, at = [], 0
        for span in spans:
            parts += [text[at : span.start], self.placeholders[span.kind]]
            at = span.end
        return "".join([*parts, text[at:]]), Counter(span.kind for span in spans)

    def find(self, text: str, known: Known = NOBODY) -> list[Span]:
        """Return where private data stands in a text, in order; an earlier kind goes before a later one."""
        spans: list[Span] = []
        for finder in self._finders(text, known):
            add_spans(spans, without_overlaps(finder(text)))
        return spans

    def _finders(self, text: str, known: Known) -> list[_Finder]:
        """Return what has to look at a text, by what it holds at all: most texts hold nothing."""
        finders: list[_Finder] = []
        if "://" in text or "www." in text:
            finders.append(find_secret_urls)
        finders += [pattern.find for pattern in self.patterns]
        if "eyJ" in text:
            finders.append(find_tokens)
        if "@" in text or "\uff20" in text:
            finders.append(find_emails)
        if _SPELT_AT.search(text):
            finders.append(find_spelt_emails)
        if len(text.encode("utf-8", "replace").translate(None, _NO_DIGITS)) >= _FEWEST_DIGITS:
            finders += [find_ibans, find_cards, find_ips, find_phones]
        elif text.count(":") > 2:  # an IPv6 address may have a single digit
            finders.append(find_ips)
        if known:
            finders.append(lambda text: find_known(text, known))
        return finders
