"""UTF-16 without a byte order mark, told from text with stray NUL bytes and from binary data."""

import unicodedata
from collections import Counter

_SAMPLE = 1 << 14  # bytes
_FEWEST_NULS = 0.005  # share of the bytes: line breaks, commas and digits have one in every script
_FEWEST_ASCII = 0.02  # share of the characters
_MOST_ODD = 0.005  # share of characters that no text has
_ODD = frozenset(("Cc", "Cn", "Co", "Cs"))
_BREAKS = frozenset("\t\n\r\x1a")
_APART = _BREAKS | frozenset(" ,;")  # a text has one of them


def unmarked_utf16(sample: bytes) -> str | None:
    """Return `utf-16-le` or `utf-16-be` where that reads as a text and a text of single bytes with NULs does not."""
    sample = sample[: min(len(sample), _SAMPLE) // 2 * 2]
    if sample.count(0) <= _FEWEST_NULS * len(sample) or _is_text_of_bytes(sample):
        return None
    ascii_share = {codec: _ascii_share(sample, codec) for codec in ("utf-16-le", "utf-16-be")}
    best = max(ascii_share, key=lambda codec: ascii_share[codec])
    return best if ascii_share[best] >= _FEWEST_ASCII else None


def _is_text_of_bytes(sample: bytes) -> bool:
    """Return whether the bytes without NUL are printable, and the NULs not at every second place."""
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    rest = sample.replace(b"\x00", b"")
    printable = rest.isascii() and not any(byte < 32 and byte not in b"\t\n\r\x0b\x0c\x1a\x1b" for byte in set(rest))
    return printable and not (max(even, odd) > 0.8 * len(sample) / 2 and min(even, odd) < 0.05 * len(sample) / 2)


def _ascii_share(sample: bytes, codec: str) -> float:
    """Return the share of ASCII characters in the sample as UTF-16; 0 where it holds what no text has."""
    try:
        text = sample.decode(codec)
    except UnicodeDecodeError as error:
        if error.start < len(sample) - 2:  # the sample may end inside a pair
            return 0.0
        text = sample[: error.start].decode(codec)
    counts = Counter(text)
    odd = sum(counts[character] for character in counts if unicodedata.category(character) in _ODD)
    odd -= sum(counts[character] for character in _BREAKS if character in counts)
    if odd > _MOST_ODD * len(text) or _APART.isdisjoint(counts):
        return 0.0
    return sum(counts[character] for character in counts if "\t" <= character < "\x7f") / max(len(text), 1)
