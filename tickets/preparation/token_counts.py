"""Counting tokens by a tokenizer.json, which may be anything."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tickets.errors import InputError

_TRIAL = "My printer is broken."


class TokenCounter:
    """A tokenizer that was tried out."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            InputError: not a tokenizer.
        """
        from tokenizers import Tokenizer

        self._path = path
        with self._errors():
            self._tokenizer: Any = Tokenizer.from_file(str(path))
            self._tokenizer.no_padding()  # which some files ask for
            self._tokenizer.no_truncation()
        self.counts([_TRIAL])

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has.

        Raises:
            InputError: the tokenizer fails on one.
        """
        with self._errors():
            encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
            return [len(encoding.ids) for encoding in encodings]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # tokenizers raises bare Exception
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self._path}: not a tokenizer ({reason}); expected a tokenizer.json; correct --tokenizer"
            ) from None
