"""Tickets as weighted words and pairs of words: TF-IDF with hashed terms, so that new words need no new vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from memory.arrays import ascends, check_values, load_array

BUCKETS = 1 << 22  # of the hash; two rare terms that share one look alike
_LARGEST_INVERSE = 100  # as of e^99 tickets
FREQUENCY_FILES = ("terms.npy", "inverse.npy")

Floats = npt.NDArray[np.float32]
Terms = npt.NDArray[np.int32]


def count_terms(texts: Sequence[str]) -> Any:
    """Return how often each term stands in each text: a sparse matrix (texts, buckets) in fp32, by rows."""
    from sklearn.feature_extraction.text import HashingVectorizer

    vectorizer = HashingVectorizer(
        ngram_range=(1, 2), n_features=BUCKETS, alternate_sign=False, norm=None, dtype=np.float32
    )
    return vectorizer.transform(texts).sorted_indices()


@dataclass(frozen=True)
class Idf:
    """Inverse document frequency of the known terms, and of any other.

    Attributes:
        terms: (known,), ascending.
        inverse: (known + 1,), the last one that of a term that was never seen.
    """

    terms: Terms
    inverse: Floats

    @classmethod
    def of(cls, counts: Any) -> "Idf":
        """Compute them from a matrix of counts, smoothed as in scikit-learn."""
        document_counts = np.bincount(counts.indices, minlength=1)
        terms = np.flatnonzero(document_counts).astype(np.int32)
        tickets = counts.shape[0]
        inverse = np.log((1 + tickets) / (1 + np.append(document_counts[terms], 0))) + 1
        return cls(terms, inverse.astype(np.float32))

    @classmethod
    def load(cls, folder: Path) -> "Idf":
        """Read what `save` wrote.

        Raises:
            InputError: something else.
        """
        terms_path, inverse_path = (folder / name for name in FREQUENCY_FILES)
        terms, inverse = load_array(terms_path, np.int32), load_array(inverse_path, np.float32)
        check_values(terms_path, ascends(terms, BUCKETS), f"ascending terms below {BUCKETS:,}")
        check_values(inverse_path, len(inverse) == len(terms) + 1, "one more than there are terms")
        between = (inverse >= 1) & (inverse <= _LARGEST_INVERSE)  # false of what is no number
        check_values(inverse_path, between.all(), f"numbers from 1 to {_LARGEST_INVERSE}")
        return cls(terms, inverse)

    def save(self, folder: Path) -> None:
        """Write two arrays into a folder."""
        folder.mkdir(parents=True)
        for name, values in zip(FREQUENCY_FILES, (self.terms, self.inverse), strict=True):
            np.save(folder / name, values)

    def weigh(self, counts: Any) -> Any:
        """Return the matrix with sublinear TF-IDF weights; every row has length one, or is empty."""
        indices = np.searchsorted(self.terms, counts.indices)
        is_known = np.append(self.terms, -1)[indices] == counts.indices
        weights = (1 + np.log(counts.data)) * self.inverse[np.where(is_known, indices, -1)]
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        lengths = np.sqrt(np.bincount(rows, weights**2, minlength=counts.shape[0]))
        weighed = counts.copy()
        weighed.data = (weights / lengths[rows]).astype(np.float32)
        return weighed
