"""Records of a CSV file: quotes that never close and quotes escaped by a backslash are found, and nothing swallowed."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tickets.encodings.detect import TextEncoding, text_lines
from tickets.errors import InputError

LONGEST_FIELD = 1 << 24  # characters; room for a picture inside a text
_MOST_OPEN_QUOTES = 200  # each costs reading again, so hostile files must stop somewhere
_MOST_LOOSE_LINES = 50  # of a record with a stray quote
_MOST_READ_AGAIN = 1 << 28  # characters
UNCLOSED = "unclosed quote: a field opened on this line never ends"
_TOO_LONG = f"field too long: a field of this line has over {LONGEST_FIELD >> 20} million characters"


def escapes_quotes(lines: Sequence[str], separator: str) -> bool:
    r"""Return whether quotes inside fields are written `\"`: text stands behind one, as behind no closing quote."""
    return any('\\"' in line for line in lines) and _escaped_quote(separator).search("".join(lines)) is not None


def spaces_before_quotes(lines: Sequence[str], separator: str) -> bool:
    """Return whether fields are separated by `, ` so that quotes open behind a space, and none directly."""
    directly = any(f'{separator}"' in line for line in lines)
    return separator != "\t" and not directly and any(f'{separator} "' in line for line in lines)


def loose_values(text: str, separator: str) -> list[str] | None:
    """Return the values of a record whose quotes inside fields are not doubled; None where a field is not closed.

    A quote closes a field if a separator or the end of the record is behind it.
    """
    mark = re.escape(separator)
    field = re.compile(rf'"((?:[^"]|"(?!{mark}|\Z))*+)"(?={mark}|\Z)|((?!")[^{mark}\r\n]*)(?={mark}|\Z)')
    text, at, values = text.rstrip("\r\n"), 0, []
    while (match := field.match(text, at)) is not None:
        values.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        at = match.end() + len(separator)
        if match.end() == len(text):
            return values
    return None


def doubled_quotes(line: str) -> str:
    r"""Return a line with `\"` written `""`, as the reader knows it; a backslash before a backslash is itself."""
    return re.sub(r'(?<!\\)((?:\\\\)*)\\"', r'\1""', line)


def _escaped_quote(separator: str) -> re.Pattern[str]:
    mark = re.escape(separator)
    return re.compile(rf'(?:^|\n|{mark})"(?:[^"]|"")*?(?<!\\)(?:\\\\)*\\"[^"\r\n{mark}]')


class Records:
    """Records as (first line, values, fault), reading on behind a quote that never closes.

    `width` is the number of columns, once it is known: by it a line that stands for itself is told from one inside a
    field.
    """

    def __init__(
        self, path: Path, encoding: TextEncoding, separator: str, escaped: bool = False, spaced: bool = False
    ) -> None:
        self.path, self.separator, self.escaped, self.spaced = path, separator, escaped, spaced
        self.inner_escape = _escaped_quote(separator)
        self.width = 0
        self.source = text_lines(path, encoding)
        self.again: list[str] = []  # lines to read once more, last first
        self.taken: list[str] = []  # lines of the record being read
        self.line = 1  # physical line where that record starts
        self.open_quotes = 0
        self.read_again = 0  # characters
        self.ended = False

    def __iter__(self) -> Iterator[tuple[int, list[str], str | None]]:
        csv.field_size_limit(LONGEST_FIELD)
        strict = True
        while not self.ended:
            reader = csv.reader(self._feed(), delimiter=self.separator, strict=strict, skipinitialspace=self.spaced)
            while True:
                try:
                    values = next(reader, None)
                except csv.Error as error:
                    stray = strict and self._is_stray_quote(error)
                    if stray and (loose := self._loose_record()):
                        yield self.line, loose, None
                        self.line += len(self.taken)
                        self.taken = []
                    elif stray:
                        self.again.extend(reversed(self.taken))
                        self.taken = []
                        strict = False
                    else:
                        yield self._set_aside()
                        strict = True
                    break
                if values is None:
                    self.ended = True
                    break
                if self.ended:  # the reader asked for more lines than there are: it is inside a quoted field
                    self.ended = False
                    yield self._set_aside()
                    break
                yield self.line, values, None
                self.line += len(self.taken)
                self.taken = []
                if not strict:
                    strict = True
                    break

    def _feed(self) -> Iterator[str]:
        while self.again:
            yield self._take(self.again.pop())
        for line in self.source:
            yield self._take(line)
        self.ended = True

    def _take(self, line: str) -> str:
        self.taken.append(line)
        if not self.escaped and '\\"' in line and self.inner_escape.search(line):
            self.escaped = True
        return doubled_quotes(line) if self.escaped else line

    def _is_stray_quote(self, error: csv.Error) -> bool:
        """Return whether text stands behind a closing quote, in a field that did not swallow the lines behind it."""
        if "expected after" not in str(error):
            return False
        if len(self.taken) == 1:
            return True
        try:
            alone = next(csv.reader([self.taken[-1]], delimiter=self.separator, strict=True), [])
        except csv.Error:
            return True
        return len(alone) != self.width

    def _loose_record(self) -> list[str] | None:
        """Return the record with its stray quotes, where it has the width of the table; it may go on for some lines."""
        for _ in range(_MOST_LOOSE_LINES):
            values = loose_values("".join(self.taken), self.separator)
            if values is not None:
                return values if len(values) == self.width else None
            if next(self._feed(), None) is None:
                break
        self.ended = False
        return None

    def _set_aside(self) -> tuple[int, list[str], str]:
        """Set the first line of the unfinished record aside and read the following ones again."""
        self.ended = False
        self.open_quotes += 1
        self.read_again += sum(map(len, self.taken))
        if self.open_quotes > _MOST_OPEN_QUOTES or self.read_again > _MOST_READ_AGAIN:
            raise InputError(
                f"{self.path}:{self.line}: found more than {self.open_quotes - 1} quotes that never close, expected "
                "CSV with quotes inside fields doubled; export the file again, or as JSONL"
            )
        line, first = self.line, self.taken[0]
        self.again.extend(reversed(self.taken[1:]))
        self.taken = []
        self.line += 1
        values = first.replace('"', "").rstrip("\r\n").split(self.separator)
        return line, values, _TOO_LONG if len(first) > LONGEST_FIELD else UNCLOSED
