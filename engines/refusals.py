"""The refusal of a model file that `duet export` did not write."""

from pathlib import Path

from tickets.errors import InputError
from tickets.plain_reason import plain_reason

_MOST_CHARACTERS = 200  # of the reason, which may quote the file


def not_exported(path: Path, kind: str, error: Exception) -> InputError:
    """Return the error of a file that is no `kind` of ours, such as "GGUF", because of `error`."""
    reason = plain_reason(error)[:_MOST_CHARACTERS]
    return InputError(f"{path}: not a {kind} of `duet export` ({reason}); export the bundle again")
