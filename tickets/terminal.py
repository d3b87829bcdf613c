"""Control characters in what people read: shown as escapes, so that no ticket or server drives a terminal."""

import codecs
import json
import re
from collections.abc import Callable
from typing import Any, TextIO

# C0 but for tab and line break, DEL, C1, and the marks that turn the direction of text
_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
_ANY = re.compile(rf"[\r{_CONTROLS}]")
_BUT_FIRST_RETURN = re.compile(rf"(?!\A\r)[\r{_CONTROLS}]")


def escape_controls(text: str) -> str:
    r"""Return `text` with control characters as `\u001b`: harmless, and inside a JSON string the same text."""
    return _ANY.sub(_escaped, text)


def whole_characters(text: str) -> str:
    """Return `text` with halves of characters as escapes: bytes of a name that are no UTF-8 are such halves."""
    return text.encode("utf-8", "backslashreplace").decode()


def without_controls(text: str) -> str:
    """Return `text` as words with one space between them; control characters part words too."""
    return " ".join(_ANY.sub(" ", text).split())


def json_text(value: Any, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    """Return JSON that is harmless on a terminal; control characters are its own escapes, so it is the same text.

    Raises:
        ValueError: NaN or infinity, which JSON does not know.
    """
    return escape_controls(json.dumps(value, ensure_ascii=False, indent=indent, default=default, allow_nan=False))


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def _as_json_escapes(error: UnicodeError) -> tuple[str, int]:
    """Return what stands in a JSON string for characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


JSON_ESCAPES = "duet-json-escapes"  # for streams in place of `backslashreplace`, which writes what JSON cannot read
codecs.register_error(JSON_ESCAPES, _as_json_escapes)


class EscapingStream:
    """A text stream on which control characters become escapes.

    Args:
        keep_returns: leave those carriage returns alone that begin what is written: by them progress bars go back to
            the start of their line. Others come from a text.
    """

    def __init__(self, stream: TextIO, keep_returns: bool = False) -> None:
        self._stream = stream
        self._pattern = _BUT_FIRST_RETURN if keep_returns else _ANY

    def write(self, text: str) -> int:
        """Write `text`; return how many characters of it were taken."""
        self._stream.write(self._pattern.sub(_escaped, text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
