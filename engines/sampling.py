"""Choosing the next token from scores: greedy, or seeded sampling; the same rules as the torch engine's."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backbone.config import DecodingConfig
from tickets.errors import WorkError


def not_numbers() -> WorkError:
    """Return the failure of a prompt whose next token has no likeliest id."""
    return WorkError(
        "the scores of the next token are not numbers; expected finite weights; train or export the generator again"
    )


class TokenChooser:
    """The choices for one prompt. Its random draws depend on the seed and the prompt alone, not on its neighbours."""

    def __init__(self, options: DecodingConfig, prompt: Sequence[int]) -> None:
        self._options = options
        content = hashlib.sha256(np.array([options.seed, *prompt], dtype="<i8").tobytes())
        self._random = np.random.default_rng(int.from_bytes(content.digest(), "little"))
        self._seen = set(prompt) if options.repetition_penalty != 1.0 else None

    def choose(self, scores: NDArray[np.float32]) -> int:
        """Return the next id from scores over the vocabulary, (vocabulary,), which are left as they are.

        Raises:
            WorkError: the scores are not numbers: no id is the likeliest then.
        """
        scores = self._penalised(scores)
        likeliest = int(scores.argmax())  # what is not a number counts as the largest, so this one tells for all
        if not np.isfinite(scores[likeliest]):
            raise not_numbers()
        token = likeliest if self._options.temperature == 0 else self._draw(scores)
        if self._seen is not None:
            self._seen.add(token)
        return token

    def _penalised(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return scores of ids that were seen, in the prompt too, divided by the penalty (Keskar et al. 2019)."""
        if self._seen is None:
            return scores
        scores = scores.copy()
        seen = np.fromiter(self._seen, dtype=np.int64)
        old, penalty = scores[seen], self._options.repetition_penalty
        scores[seen] = np.where(old < 0, old * penalty, old / penalty)
        return scores

    def _draw(self, scores: NDArray[np.float32]) -> int:
        """Return a draw from the smallest set of ids whose probability reaches top_p (Holtzman et al. 2020).

        Drawn as the maximum of scores with Gumbel noise per id: scores that differ in the last bits, as they do between
        batch shapes, then nearly always give the same id.
        """
        logits = scores.astype(np.float64) / self._options.temperature
        noisy = logits + self._random.gumbel(size=len(logits))
        if self._options.top_p < 1:
            p = np.exp(logits - logits.max())
            order = np.argsort(-p, kind="stable")
            reached = np.cumsum(p[order]) / p.sum()
            noisy[order[int(np.searchsorted(reached, self._options.top_p)) + 1 :]] = -np.inf
        return int(noisy.argmax())
