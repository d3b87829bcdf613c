"""Texts by others inside a prompt: between lines with a marker that they cannot know, and without control tokens."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

# servers take these for control tokens, wherever they stand: a space breaks them
_CONTROL = re.compile(r"<\||</?s>|\[/?INST\]|<(?:start|end)_of_turn>|<\uff5c")


def marker_of(parts: Sequence[str | int]) -> str:
    """Return a marker of 16 letters: a digest of texts, which none of these texts can hold."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def data_blocks(marker: str, blocks: Mapping[str, str]) -> str:
    """Put every text between a line BEGIN and a line END with its name and the marker."""
    lines = [f"Marker: {marker}"]
    for name, text in blocks.items():
        lines += ["", f"BEGIN {name} {marker}", text, f"END {name} {marker}"]
    return "\n".join(lines)


def without_control_tokens(text: str) -> str:
    """Break what a server would take for a control token by a space."""
    return _CONTROL.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
