"""Whole numbers in texts that others wrote."""


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
