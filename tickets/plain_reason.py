"""What is wrong with values that others wrote, in place of the words in which Python complains of them."""

import re

_KINDS = {
    "NoneType": "null",
    "str": "text",
    "bytes": "bytes",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "dict": "an object",
}
_TYPE = r"'(?P<found>[\w.]+)'"
_OTHER = "a value of another kind than expected"
_LONGEST_VALUE = 100  # characters
_WORDS = (  # of Python's complaints, and what to say instead
    (rf"{_TYPE} object has no attribute '(?:keys|values|items|get)'", "found {found}, expected an object"),
    (rf"{_TYPE} object has no attribute '(?P<name>\w+)'", "found {found}, expected an object with {name!r}"),
    (rf"{_TYPE} object is not (?:subscriptable|a mapping)", "found {found}, expected an object or a list"),
    (r".*argument after \*\* must be a mapping, not (?P<found>\w+)", "found {found}, expected an object"),
    (rf"argument of type {_TYPE} is not .*", "found {found}, expected an object or a list"),
    (rf"{_TYPE} object is not iterable", "found {found}, expected a list"),
    (r"cannot unpack non-iterable (?P<found>\w+) object", "found {found}, expected a list"),
    (rf"object of type {_TYPE} has no len\(\)", "found {found}, expected a list"),
    (r"unhashable type: '(?P<found>\w+)'", "found {found}, expected text"),
    (r"(?P<found>string) indices must be integers.*", "found {found}, expected an object"),
    (r"(?P<found>list|tuple) indices must be integers.*", "found {found}, expected an object"),
    (r"(?:list|tuple|string)(?: assignment)? index out of range", "a list or text is too short"),
    (r"(?:not enough|too many) values to unpack.*", "a list of another length than expected"),
    (r"(?:float|int)\(\) argument must be .*not '(?P<found>\w+)'", "found {found}, expected a number"),
    (r"must be real number, not (?P<found>\w+)", "found {found}, expected a number"),
    (r"could not convert string to float: (?P<value>.*)", "found {value}, expected a number"),
    (r"invalid literal for int\(\) with base \d+: (?P<value>.*)", "found {value}, expected a whole number"),
    (rf"'[<>]=?' not supported between instances of {_TYPE} and '(?:int|float)'", "found {found}, expected a number"),
    (rf"'[<>]=?' not supported between instances of '(?:int|float)' and {_TYPE}", "found {found}, expected a number"),
    (r"sequence item \d+: expected str instance, (?P<found>\w+) found", "found {found}, expected text"),
    (r"expected string or bytes-like object.*", "found another value, expected text"),
    (r".*got an unexpected keyword argument '(?P<name>[^']*)'.*", "unknown key {name!r}"),
    (r".*missing \d+ required (?:positional|keyword-only) arguments?: '(?P<name>\w+)'.*", "no {name!r}"),
    (r"TextInputSequence must be str", "found half a character, expected text"),  # tokenizers
    (r".*keywords must be strings", "a key that is no text"),
)
_PATTERNS = tuple((re.compile(pattern, re.S), instead) for pattern, instead in _WORDS)
_OF_PYTHON = re.compile(r"\b(?:object|NoneType|ufunc|operand|argument|dtype|instances?|indices|sequence|array)\b")


def kind_of(value: object) -> str:
    """Return what a value is called in JSON."""
    return _KINDS.get(type(value).__name__, "another value")


def plain_reason(error: BaseException) -> str:
    """Return what an error says, found and expected, where its own words speak of Python."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "found half a character, expected text"
    if isinstance(error, KeyError):
        return f"no {text[:_LONGEST_VALUE]}" if text else "a key is missing"
    for pattern, instead in _PATTERNS:
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            kind = {"string": "str"}.get(parts.get("found", ""), parts.get("found", ""))
            value = parts.get("value", "")[:_LONGEST_VALUE]
            return instead.format(**{**parts, "found": _KINDS.get(kind, "another value"), "value": value})
    if isinstance(error, AttributeError) or (isinstance(error, TypeError | IndexError) and _OF_PYTHON.search(text)):
        return _OTHER
    if isinstance(error, ValueError) and re.search(r"inhomogeneous|ufunc|broadcast", text):
        return "lists of different lengths"
    if isinstance(error, ArithmeticError):
        return "a number that cannot be computed with"
    return text or _OTHER
