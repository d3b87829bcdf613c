"""Patterns of a team's own numbers: `--redact-pattern order_num=ORD-[0-9]{6}`.

The `regex` package stops a search that takes too long, which the standard library cannot.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from re import fullmatch

import regex

from tickets.cleaning.clean import strip_html
from tickets.errors import InputError
from tickets.redact.kinds import PLACEHOLDERS, Span

_LONGEST = 500  # characters of a pattern
_SECONDS, _TRIAL_SECONDS = 1.0, 0.1  # for one text, and for one that is made to take long
_TRIALS = [unit * 5_000 for unit in ("a", "A", "0", "1", "-", " ", "a1", "A-", "0 ")]
_ORDINARY = "The printer is broken. Der Drucker ist kaputt. Thank you, <name>, for order and account <acc_num>."


@dataclass(frozen=True)
class TeamPattern:
    """A compiled pattern and the kind that its matches are counted as."""

    kind: str
    pattern: "regex.Pattern[str]"

    @property
    def placeholder(self) -> str:
        """What stands for a match."""
        return PLACEHOLDERS.get(self.kind, f"<{self.kind}>")

    def find(self, text: str) -> Iterator[Span]:
        """Yield the matches in a text.

        Raises:
            InputError: the search takes longer than a second.
        """
        try:
            for match in self.pattern.finditer(text, timeout=_SECONDS):
                if match.end() > match.start():
                    yield Span(match.start(), match.end(), self.kind)
        except TimeoutError:
            raise _too_slow(self.kind, self.pattern.pattern) from None


def parse_patterns(texts: Sequence[str]) -> tuple[TeamPattern, ...]:
    """Return the patterns of `NAME=REGEX` texts.

    Raises:
        InputError: no name, no regular expression, or one that matches ordinary words or takes too long.
    """
    return tuple(_parse(text) for text in texts)


def _parse(text: str) -> TeamPattern:
    kind, sign, source = text.partition("=")
    kind = kind.strip()
    if not sign or not source or not fullmatch(r"[a-z][a-z0-9_]{0,29}", kind):
        raise InputError(
            f"found --redact-pattern {text[:100]!r}, expected NAME=REGEX with a name of small letters, digits "
            "and _, such as order_num=ORD-[0-9]{6}"
        )
    if strip_html(f"<{kind}></{kind}>") != f"<{kind}></{kind}>":
        raise InputError(f"found --redact-pattern {text[:100]!r}: <{kind}> is an HTML tag; choose another name")
    if len(source) > _LONGEST:
        raise InputError(f"--redact-pattern {kind}: found {len(source)} characters, expected at most {_LONGEST}")
    try:
        pattern = regex.compile(source)
    except regex.error as error:
        raise InputError(
            f"--redact-pattern {kind}: no regular expression ({error}); correct {source[:100]!r}"
        ) from None
    _try_out(kind, pattern)
    return TeamPattern(kind, pattern)


def _try_out(kind: str, pattern: "regex.Pattern[str]") -> None:
    """Refuse a pattern that matches nothing at all, ordinary words, or placeholders, or one that takes too long."""
    try:
        match = pattern.search("", timeout=_TRIAL_SECONDS) or pattern.search(_ORDINARY, timeout=_TRIAL_SECONDS)
        for trial in _TRIALS:
            pattern.search(trial + "\N{SNOWMAN}", timeout=_TRIAL_SECONDS)
    except TimeoutError:
        raise _too_slow(kind, pattern.pattern) from None
    if match:
        found = f"matches the word {match[0]!r}" if match[0] else "matches the empty text"
        raise InputError(
            f"--redact-pattern {kind}: {pattern.pattern[:100]!r} {found}; expected a pattern of numbers or codes, "
            r"such as \bORD-[0-9]{6}\b"
        )


def _too_slow(kind: str, source: str) -> InputError:
    return InputError(
        f"--redact-pattern {kind}: {source[:100]!r} takes too long on some texts; expected a pattern without nested "
        "repetition such as (a+)+; give repeats a limit, such as {1,20}"
    )
