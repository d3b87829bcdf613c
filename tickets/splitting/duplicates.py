"""Near-duplicate tickets: pairs whose word-bigram sets overlap, and the groups they form.

Similarity is the Jaccard index of the sets of word bigrams (lower-cased subject and body). Pairs come from
prefix filtering (Chaudhuri et al. 2006, Bayardo et al. 2007): two sets with Jaccard >= t share a bigram among the
rarest (1 - t) of each, so only those are joined and the candidates are verified exactly.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from tickets.splitting.copies import NO_FAMILY, copy_pairs, large_families, near_copies

THRESHOLD = 0.25
LOOSEST = 0.1  # with less, nearly every pair of tickets would have to be compared
EXACT_ROWS = 30_000  # beyond this, bigrams more frequent than MAX_FREQUENCY no longer propose candidates
MAX_FREQUENCY = 400
_RECALL_SAMPLE = 300
_RECALL_BLOCK = 50
_BLOCK_WORK = 10_000_000  # multiplications of one block of rows, and so at most as many candidates

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs (row, row), the group of every row (shape (rows,)), and the share of true pairs that was found."""

    pairs: NDArray[np.int64]
    groups: NDArray[np.int64]
    recall: float


def word_bigrams(text: str) -> set[tuple[str, str]]:
    """Return the set of adjacent word pairs, lower-cased, with literal `\\n` escapes taken as spaces."""
    return set(pairwise(_words(text)))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.replace("\\n", " ").lower())


def near_duplicates(texts: Sequence[str], threshold: float = THRESHOLD, exact_rows: int = EXACT_ROWS) -> NearDuplicates:
    """Find all pairs of texts at or above `threshold`, exactly up to `exact_rows` texts.

    Beyond that, frequent bigrams propose no candidates; the recall this costs is measured on a random sample of rows
    joined against all others and returned. Of a text that came in hundreds of near-copies (an automatic notification)
    and of hundreds of texts from one template not all pairs are listed, but every such text is in the group and paired
    with others: see `tickets.splitting.copies`.
    """
    everything = _bigram_matrix(texts)
    leaders = near_copies(everything, threshold)
    distinct = np.flatnonzero(leaders == np.arange(len(texts)))
    bigrams = _by_rarity(everything[distinct])
    del everything
    sizes = np.diff(bigrams.indptr).astype(np.int64)
    exact = len(texts) <= exact_rows
    prefix, dropped = _rarest(bigrams, sizes, threshold, max_frequency=None if exact else MAX_FREQUENCY)
    family, pairs = large_families(bigrams, threshold)
    blocks = [pairs]
    for left, right in _joins(family):
        for rows, product in _products(prefix, left, right):
            candidates = _candidates(product, rows, right, sizes, dropped, threshold)
            if left is right:  # every pair is there in both orders
                candidates = _ascending(*candidates)
            blocks.append(_verified(bigrams, sizes, *candidates, threshold))
    pairs = np.sort(np.concatenate(blocks), axis=1)
    recall = 1.0 if exact else _measured_recall(bigrams, sizes, pairs, family, threshold)
    pairs = np.concatenate([distinct[pairs], copy_pairs(leaders)])
    links = sparse.coo_matrix((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(len(texts),) * 2)
    groups = connected_components(links, directed=False)[1].astype(np.int64)
    return NearDuplicates(pairs, groups, recall)


def near_to(texts: Sequence[str], others: Sequence[str], threshold: float = THRESHOLD) -> NDArray[np.int64]:
    """Return all pairs of a row of `texts` and a row of `others` at or above `threshold`, shape (pairs, 2).

    Exact, however many there are: a few new texts are compared with every other one.
    """
    bigrams = _bigram_matrix([*texts, *others])
    sizes = np.diff(bigrams.indptr).astype(np.int64)
    everything = np.arange(len(sizes))
    found = [np.empty((0, 2), dtype=np.int64)]
    for rows, product in _products(bigrams, everything[: len(texts)], everything[len(texts) :]):
        block = product.tocoo()
        left, right = rows[block.row], block.col + len(texts)
        similar = block.data >= threshold * (sizes[left] + sizes[right] - block.data) - 1e-9
        found.append(np.stack([left[similar], block.col[similar]], axis=1).astype(np.int64))
    return np.concatenate(found)


def _bigram_matrix(texts: Sequence[str]) -> sparse.csr_matrix:
    """Return the binary (texts, bigrams) matrix."""
    vocabulary: dict[str, int] = {}
    words = [
        np.fromiter((vocabulary.setdefault(w, len(vocabulary)) for w in _words(text)), dtype=np.int64) for text in texts
    ]
    base = max(len(vocabulary), 1)
    codes = [np.unique(row[:-1] * base + row[1:]) for row in words]
    del words, vocabulary
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in codes], dtype=np.int64)])
    flat = np.concatenate(codes) if codes else np.empty(0, dtype=np.int64)
    del codes
    known, columns = np.unique(flat, return_inverse=True)
    shape = (len(texts), max(len(known), 1))
    ones = np.ones(len(flat), dtype=np.int32)
    return sparse.csr_matrix((ones, columns.astype(np.int32), indptr), shape=shape)


def _by_rarity(bigrams: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the same matrix with columns ordered from the rarest bigram to the most frequent, and sorted indices."""
    frequency = np.bincount(bigrams.indices, minlength=bigrams.shape[1])
    rank = np.empty(len(frequency), dtype=np.int32)
    rank[np.argsort(frequency, kind="stable")] = np.arange(len(frequency), dtype=np.int32)
    ordered = sparse.csr_matrix((bigrams.data, rank[bigrams.indices], bigrams.indptr), shape=bigrams.shape)
    ordered.sort_indices()
    return ordered


def _rarest(
    bigrams: sparse.csr_matrix, sizes: NDArray[np.int64], threshold: float, max_frequency: int | None
) -> tuple[sparse.csr_matrix, NDArray[np.int64]]:
    """Keep of every row its size - ceil(threshold * size) + 1 rarest bigrams: enough to meet any similar row.

    Also returns how many of every row's more frequent bigrams were left out, shape (texts,).
    """
    frequency = np.bincount(bigrams.indices, minlength=bigrams.shape[1])
    rows = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(rows)) - np.repeat(bigrams.indptr[:-1], sizes)  # position within its row, rarest first
    keep_count = sizes - np.ceil(threshold * sizes - 1e-9).astype(np.int64) + 1
    here = frequency[bigrams.indices]
    prefix = place < np.repeat(keep_count, sizes)
    if max_frequency is not None:
        prefix &= here <= max_frequency
    dropped = np.bincount(rows[~prefix], minlength=len(sizes))
    keep = prefix & (here > 1)
    data = np.ones(keep.sum(), dtype=np.int32)
    return sparse.csr_matrix((data, (rows[keep], bigrams.indices[keep])), shape=bigrams.shape), dropped


def _joins(family: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows to join: every family with all that come after it, then the other rows with themselves."""
    for number in range(int(family.max(initial=NO_FAMILY)) + 1):
        yield np.flatnonzero(family == number), np.flatnonzero((family > number) | (family == NO_FAMILY))
    others = np.flatnonzero(family == NO_FAMILY)
    yield others, others


def _products(
    prefix: sparse.csr_matrix, left: NDArray[np.int64], right: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], sparse.csr_matrix]]:
    """Yield blocks of the rows `left`, each with its shared bigrams with the rows `right`, shape (block, right).

    A block costs about `_BLOCK_WORK` multiplications, which bounds its memory.
    """
    first, transposed = prefix[left], prefix[right].T.tocsr()  # once: scipy would convert it again for every block
    frequency = np.diff(transposed.indptr)
    work = np.concatenate([[0], np.cumsum(frequency[first.indices], dtype=np.int64)])[first.indptr]
    start = 0
    while start < len(left):
        stop = int(np.searchsorted(work, work[start] + _BLOCK_WORK, side="right")) - 1
        stop = min(max(stop, start + 1), len(left))
        yield left[start:stop], first[start:stop] @ transposed
        start = stop


def _candidates(
    shared_prefix: sparse.csr_matrix,
    left_rows: NDArray[np.int64],
    right_rows: NDArray[np.int64],
    sizes: NDArray[np.int64],
    dropped: NDArray[np.int64],
    threshold: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs of a left and a right row that share enough of their prefixes to be similar at all.

    What was left out of two rows is, in the common order, the end of one of them: so of the bigrams that similar rows
    must share, all but `dropped` of the one that lost more are shared within the prefixes.
    """
    block = shared_prefix.tocoo()
    left, right, shared = left_rows[block.row], right_rows[block.col], block.data
    total = sizes[left] + sizes[right]
    needed = threshold / (1 + threshold) * total - np.maximum(dropped[left], dropped[right])
    small, large = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
    keep = (shared >= needed - 1e-9) & (small >= threshold * large)  # Jaccard <= small / large
    return left[keep], right[keep]


def _ascending(left: NDArray[np.int64], right: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    later = left < right
    return left[later], right[later]


def _verified(
    bigrams: sparse.csr_matrix,
    sizes: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    threshold: float,
) -> NDArray[np.int64]:
    """Return the candidate pairs whose exact Jaccard index reaches the threshold, shape (pairs, 2)."""
    found = []
    for at in range(0, len(left), 100_000):
        a, b = left[at : at + 100_000], right[at : at + 100_000]
        shared = np.asarray(bigrams[a].multiply(bigrams[b]).sum(axis=1)).ravel()
        similar = shared >= threshold * (sizes[a] + sizes[b] - shared) - 1e-9
        found.append(np.stack([a[similar], b[similar]], axis=1))
    return np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64)


def _measured_recall(
    bigrams: sparse.csr_matrix,
    sizes: NDArray[np.int64],
    pairs: NDArray[np.int64],
    family: NDArray[np.int64],
    threshold: float,
) -> float:
    """Return the share of the true pairs of a random sample of rows that `pairs` holds, or that are within a family."""
    sample = np.sort(np.random.default_rng(0).choice(len(sizes), size=min(_RECALL_SAMPLE, len(sizes)), replace=False))
    known = np.unique(pairs[:, 0] * len(sizes) + pairs[:, 1])  # one number per pair
    transposed = bigrams.T.tocsr()
    true = hit = 0
    for at in range(0, len(sample), _RECALL_BLOCK):
        rows = sample[at : at + _RECALL_BLOCK]
        block = (bigrams[rows] @ transposed).tocoo()
        left, right, shared = rows[block.row], block.col.astype(np.int64), block.data
        similar = (shared >= threshold * (sizes[left] + sizes[right] - shared) - 1e-9) & (left != right)
        left, right = left[similar], right[similar]
        codes = np.minimum(left, right) * len(sizes) + np.maximum(left, right)
        listed = np.isin(codes, known)
        true += len(codes)
        hit += int((listed | ((family[left] == family[right]) & (family[left] != NO_FAMILY))).sum())
    return hit / true if true else 1.0
