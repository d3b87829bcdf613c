"""The refusal of a model file that `duet export` did not write."""

from pathlib import Path

from tickets.errors import InputError

_MOST_CHARACTERS = 200  # of the reason, which may quote the file


def not_exported(path: Path, kind: str, error: Exception) -> InputError:
    """Return the error of a file that is no `kind` of ours, such as "GGUF", because of `error`."""
    reason = f"no {error.args[0]!r}" if isinstance(error, KeyError) and error.args else " ".join(str(error).split())
    return InputError(f"{path}: not a {kind} of `duet export` ({reason[:_MOST_CHARACTERS]}); export the bundle again")
