"""Pictures that are written into a text: data URIs, references to parts of a mail, and lumps of base64.

A lump counts as a picture only where it is no key, token, checksum, sequence, path or address: those are what a ticket
is about. Every pattern runs in linear time.
"""

import re

_DATA_URI = re.compile(
    r"data:(?:[\w.+-]{1,40}/[\w.+-]{1,80}(?:;[\w=.-]{1,60}){0,4}|(?:;[\w=.-]{1,60}){0,3};base64),"
    r"[A-Za-z0-9+/=%_-]++(?:\s[A-Za-z0-9+/=]{40,}+)*+(?:(?<=[A-Za-z0-9+/]{40})\n[A-Za-z0-9+/]{2,100}={1,2}(?!\S))?"
)
_MARKDOWN = re.compile(r"!\[[^\]\n]{0,200}\]\((?:data|cid|https?)[^)\n]{0,2000}\)")
_CID = re.compile(r"[\[<]cid:[^\]>\s]{1,200}[\]>]")
_SHORTEST_LUMP = 200  # characters of base64 in a row, line breaks aside; no word or identifier is that long
_LUMP_LINE = 60  # characters of a line of it, at least
_LUMP = re.compile(
    r"(?<![\w+/])(?:(?P<lines>(?:[A-Za-z0-9+/]{60,100}\n){3,}+)(?P<last>[A-Za-z0-9+/]{1,100}={0,2}(?!\S))?"
    r"|[A-Za-z0-9+/]{200,}+={0,2}(?![\w+/]))"
)
_IMAGE = "[image]"
_HEX, _SEQUENCE = frozenset("0123456789abcdefABCDEF"), frozenset("ACDEFGHIKLMNPQRSTVWYXBZ")
_KEYS = ("eyJ", "MII", "AAAAB3NzaC1", "AAAAC3NzaC1", "AAAAE2VjZHNh", "LS0tLS1CRUdJTi")  # tokens, certificates, SSH keys
_SHORTEST_STEP = 25  # characters between two slashes of base64, on average; names in a path are shorter
_BEFORE = 300  # characters that are looked at before a lump


def strip_images(text: str) -> str:
    """Return `text` without the bytes of pictures that are written into it; `[image]` stands where no tag does."""
    if "data:" in text:
        text = _DATA_URI.sub("data:image", text)
    if "![" in text:
        text = _MARKDOWN.sub(_IMAGE, text)
    if "cid:" in text:
        text = _CID.sub(_IMAGE, text)
    if len(text) > _SHORTEST_LUMP and max(map(len, text.split()), default=0) >= _LUMP_LINE:
        text = _LUMP.sub(_replaced, text)
    return text


def _replaced(match: "re.Match[str]") -> str:
    """Replace a lump that is a picture; what stands on a line of its own below it may be a word."""
    lump = match["lines"] or match[0]
    if not _is_picture(lump.replace("\n", "").rstrip("=")) or _is_part_of_more(
        match.string, match.start(), match.end()
    ):
        return match[0]
    if match["lines"] is None:
        return _IMAGE
    last = match["last"] or ""
    return f"{_IMAGE}\n{last}" if not last or (last.isalpha() and last[1:].islower()) else _IMAGE


def _is_picture(lump: str) -> bool:
    """Return whether base64 may be a picture: no number or sequence, no key or token, no path."""
    letters = frozenset(lump)
    if letters <= _HEX or letters <= _SEQUENCE or not any("A" <= letter <= "Z" for letter in letters):
        return False
    return not lump.startswith(_KEYS) and lump.count("/") * _SHORTEST_STEP < len(lump)


def _is_part_of_more(text: str, start: int, end: int) -> bool:
    """Return whether a lump stands in an address, in a token with dots and dashes, or in a key of the form PEM."""
    before = text[max(0, start - _BEFORE) : start]
    word = before[-1:] and not before[-1].isspace() and before.split()[-1]
    if word and (word[-1] in ".-_%" or "://" in word or "eyJ" in word):
        return True
    goes_on = text[end : end + 1] in ("-", ".", "_") and text[end + 1 : end + 2].isalnum()
    return goes_on or before.rfind("-----BEGIN ") > before.rfind("-----END ")
