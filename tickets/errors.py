"""The failures a user can cause, each one line that says what was found, what was expected and how to correct it."""


class DuetError(Exception):
    """Base of every failure that `cli.py` prints as one line on stderr.

    `exit_code` is what the process returns: 2 for bad usage or input, 1 for work that failed, 130 for an interruption.
    """

    exit_code = 2


class InputError(DuetError):
    """Bad usage or bad input: a wrong flag, key, file or label."""

    exit_code = 2


class WorkError(DuetError):
    """Work that was asked for correctly and could not be finished, such as a full disk."""

    exit_code = 1


class Interrupted(WorkError):
    """A signal ended the work; what was done is kept."""

    exit_code = 130
