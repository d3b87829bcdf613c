"""Contacts in a drafted reply that neither the ticket nor the team gave: a model may have learnt or invented them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tickets.redact.kinds import PLACEHOLDERS, Span, without_overlaps
from tickets.redact.phones import looks_like_a_count_or_date
from tickets.redact.redactor import Redactor

_NUMBER_PLACEHOLDER = "<ref_num>"
_GAP = r"[ \xa0-]?"
# In a draft a wrong check digit is no excuse: what a model repeats may be a digit off.
_ACCOUNT = re.compile(
    rf"(?<![A-Za-z0-9])[A-Z]{{2}}\d{{2}}(?:{_GAP}[A-Z0-9]{{4}}){{2,7}}(?:{_GAP}[A-Z0-9]{{1,3}})?(?![A-Za-z0-9])"
)
_NUMBER = re.compile(r"(?<![\w.,+-])(?<!\d:)[+(]{0,2}\d(?:[ \xa0()/-]{0,3}\d){6,25}(?![\w%]|[.,:]\d)")
_OPEN_WORD = re.compile(r"[\d@+(]|://|www\.|^(?:[A-Z]{1,2}|x|ext\.?|extension|Durchwahl|App\.?)$")


@dataclass(frozen=True)
class DraftGuard:
    """Masks e-mail addresses, phone, account and other long numbers, IP addresses and secret URLs in drafts.

    Attributes:
        allowed: what may stand in every draft: values, or `@example.com` for all addresses of a domain.
    """

    allowed: tuple[str, ...] = ()
    _redactor: Redactor = field(default_factory=Redactor, repr=False, compare=False)

    def mask(self, draft: str, ticket: str) -> tuple[str, tuple[str, ...]]:
        """Return the draft with placeholders for contacts that are neither in `ticket` nor allowed, and their kinds.

        Args:
            ticket: subject and body.
        """
        spans = [span for span in self._contacts(draft) if not self._may_stand(draft[span.start : span.end], ticket)]
        masked = draft
        for span in reversed(spans):
            placeholder = PLACEHOLDERS.get(span.kind, _NUMBER_PLACEHOLDER)
            masked = f"{masked[: span.start]}{placeholder}{masked[span.end :]}"
        return masked, tuple(span.kind for span in spans)

    def mask_unfinished(self, draft: str, ticket: str) -> str:
        """Return as much of a growing draft as will not change any more, masked: a number at its end may go on."""
        return self.mask(draft[: _settled(draft)], ticket)[0]

    def _contacts(self, draft: str) -> list[Span]:
        sure = self._redactor.find(draft)
        return without_overlaps([*sure, *_long_numbers(draft)])

    def _may_stand(self, value: str, ticket: str) -> bool:
        """Return whether the ticket or the list holds a value as a word of its own."""
        texts = (ticket, *self.allowed)
        if "@" in value or "://" in value:
            written = value.casefold()
            domains = (entry.casefold() for entry in self.allowed if entry.startswith("@"))
            return any(written.endswith(domain) for domain in domains) or any(
                re.search(rf"(?<![\w.+-]){re.escape(written)}(?![\w-]|\.\w)", text.casefold()) for text in texts
            )
        number = re.compile(rf"(?<!\d){re.escape(_without_gaps(value))}(?!\d)")
        return any(number.search(_without_gaps(text)) for text in texts)


def _long_numbers(draft: str) -> Iterator[Span]:
    """Yield accounts and numbers of seven digits or more that are no count and no date."""
    for match in _ACCOUNT.finditer(draft):
        yield Span(match.start(), match.end(), "iban")
    for match in _NUMBER.finditer(draft):
        if not looks_like_a_count_or_date(match[0]):
            yield Span(match.start(), match.end(), "number")


def _without_gaps(text: str) -> str:
    """Return small letters, and numbers without what groups their digits."""
    return re.sub(r"(?<=\d)[ \xa0().\/-]+(?=\d)|[+(](?=\d)", "", text.casefold())


def _settled(draft: str) -> int:
    """Return where the words begin that may still become part of a contact."""
    start = max(draft.rfind(" "), draft.rfind("\n")) + 1
    while start:
        before = max(draft.rfind(" ", 0, start - 1), draft.rfind("\n", 0, start - 1)) + 1
        if not _OPEN_WORD.search(draft[before:start].strip()):
            break
        start = before
    return start
