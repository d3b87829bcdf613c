"""Which code page a file that is not Unicode is written in."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

# Python's codec, and the name people know it by.
_NAMES = {
    "cp1252": "Windows-1252 (Western European)",
    "cp1250": "Windows-1250 (Central European)",
    "iso8859_2": "ISO 8859-2 (Central European)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "koi8_r": "KOI8-R (Cyrillic)",
    "cp866": "IBM 866 (Cyrillic)",
    "cp1253": "Windows-1253 (Greek)",
    "cp1254": "Windows-1254 (Turkish)",
    "gb18030": "GB 18030 (Chinese)",
    "big5": "Big5 (Chinese)",
    "cp932": "Shift JIS (Japanese)",
    "euc_jp": "EUC-JP (Japanese)",
    "euc_kr": "EUC-KR (Korean)",
}
_WESTERN = "cp1252"
_SAMPLE = 1 << 16
_FEWEST_BYTES = 30  # beyond ASCII; fewer say too little about a language
_CLOSE_CHAOS, _CLOSE_COHERENCE = 0.04, 0.08
_EQUAL_COHERENCE = 0.02
_SYMBOL_IN_WORD = re.compile("[a-zA-Z][\u00a1-\u00bf\u0080-\u009f][a-z]")  # dzia\u00b3a


def detect_code_page(path: Path) -> tuple[str, str, str]:
    """Codec, name, and what is unsure about it; Windows-1252 where there is too little to go by."""
    from charset_normalizer import from_bytes

    sample = _telling_lines(path)
    telling = sum(byte > 127 for byte in sample)
    if telling < _FEWEST_BYTES:
        return _western(f"only {telling} bytes are beyond ASCII")
    matches = list(from_bytes(sample, cp_isolation=list(_NAMES), preemptive_behaviour=False))
    if not matches:
        return _western("no code page fits")
    best = _preferred(matches)
    codec = _WESTERN if _same_as_western(sample, best) else best.encoding
    name = _NAMES[codec]
    rival = next((match for match in matches if _close(match, best)), None)
    doubt = f"not Unicode; read as {name}; name another with --encoding" if codec == _WESTERN else ""
    if rival is not None:
        doubt = f"read as {name}; {_NAMES[rival.encoding]} fits about as well; choose one with --encoding"
    return codec, name, doubt


def _western(reason: str) -> tuple[str, str, str]:
    name = _NAMES[_WESTERN]
    return _WESTERN, name, f"not Unicode, and {reason}; read as {name}; name another with --encoding"


def _preferred(matches: Sequence["CharsetMatch"]) -> "CharsetMatch":
    """The best match; Windows-1252 where it is as good and has no symbols inside words."""
    best = matches[0]
    for match in matches:
        equal = _close(match, best) and best.coherence - match.coherence <= _EQUAL_COHERENCE
        if match.encoding == _WESTERN and equal and not _SYMBOL_IN_WORD.search(str(match)):
            return match
    return best


def _same_as_western(sample: bytes, match: "CharsetMatch") -> bool:
    return sample.decode(_WESTERN, "replace") == str(match)


def _close(match: "CharsetMatch", best: "CharsetMatch") -> bool:
    return (
        str(match) != str(best)
        and abs(match.chaos - best.chaos) <= _CLOSE_CHAOS
        and best.coherence - match.coherence <= _CLOSE_COHERENCE
    )


def _telling_lines(path: Path) -> bytes:
    """The first lines with bytes beyond ASCII."""
    lines, size = [], 0
    with path.open("rb") as file:
        for line in file:
            if not line.isascii():
                lines.append(line[:_SAMPLE])
                size += len(lines[-1])
                if size >= _SAMPLE:
                    break
    return b"".join(lines)
