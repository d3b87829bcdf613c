"""JSON that duet wrote, read back with limits: by now anybody may have changed it."""

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from tickets.sources import check_regular

_LARGEST = 1 << 28  # bytes of a file that is read as a whole
_LONGEST_LINE = 1 << 26  # bytes
_LONGEST_NUMBER = 100  # digits: more are no number that is computed with
_DEEPEST = 32
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def decode_own(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: no JSON, or one that is nested too deeply, or holds a number too long or half a character.
    """
    text = text if isinstance(text, str) else text.decode("utf-8")
    try:
        value = json.loads(text, parse_int=_whole_number)
        if not _is_shallow(value):
            raise RecursionError
    except RecursionError:
        raise ValueError(f"nested over {_DEEPEST} deep") from None
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("half a character, as \\ud800 is") from None
    return value


def read_own(path: Path) -> Any:
    """Return the value in a JSON file.

    Raises:
        InputError: no regular file.
        OSError: it cannot be read.
        ValueError: as `decode_own`, or too large.
    """
    check_regular(path, path.name)
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"over {_LARGEST:,} bytes")
    return decode_own(path.read_bytes())


def own_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of every line of a JSON Lines file that is not blank.

    Raises:
        InputError: no regular file.
        OSError: it cannot be read.
        ValueError: a line is too long.
    """
    check_regular(path, path.name)
    with path.open("rb") as file:
        for number in count(1):
            line = file.readline(_LONGEST_LINE + 1)
            if not line:
                return
            if len(line) > _LONGEST_LINE:
                raise ValueError(f"line {number}: over {_LONGEST_LINE:,} bytes")
            if line.strip():
                yield number, line


def own_records(path: Path) -> Iterator[Any]:
    """Yield the value of every line of a JSON Lines file that is not blank.

    Raises:
        InputError: no regular file.
        OSError: it cannot be read.
        ValueError: as `decode_own`, with the line; or a line is too long.
    """
    for number, line in own_lines(path):
        try:
            yield decode_own(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None


def _whole_number(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text)


def _is_shallow(value: Any) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [item for items in inner for item in items]
        if not level:
            return True
    return False
