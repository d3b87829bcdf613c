"""Identifiers that sort by the time they were made: 26 characters, as in the ULID specification."""

import secrets
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
ID_LENGTH = 26
ID_PATTERN = f"^[{_ALPHABET}]{{{ID_LENGTH}}}$"


def new_id() -> str:
    """Return a new identifier: 48 bits of milliseconds, then 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (ID_LENGTH - 1), -1, -5))
