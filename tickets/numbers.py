"""Numbers that others wrote, in texts and in JSON."""

from typing import Any

from tickets.plain_reason import kind_of


def whole_number(text: str, most: int) -> int | None:
    """Return the number that ASCII digits write, up to `most`; None for anything else.

    `str.isdigit` is true of `\u00b2` too, which `int` refuses, and both take digits of every script; `int` also refuses
    numbers of thousands of digits.
    """
    if not (text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0") or "0"
    number = int(digits) if len(digits) <= len(str(most)) else most + 1
    return number if number <= most else None


def json_float(value: Any) -> float:
    """Return a number of JSON; Python takes `true` for one, and reads text as one.

    Raises:
        TypeError: no number.
        OverflowError: too large.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"found {kind_of(value)}, expected a number")
    return float(value)


def json_floats(value: Any) -> Any:
    """Return the numbers of JSON in a list, or in lists of lists, as `json_float` does."""
    return [json_floats(item) for item in value] if isinstance(value, list) else json_float(value)
