"""Texts that came in hundreds of near-copies, such as automatic notifications, found before the join of all pairs.

n near-copies are n * n / 2 pairs: too many to list, and their bigrams too frequent to be joined on. So each is tied to
a leader it resembles closely, and only leaders take part in the join. Buckets are MinHash keys (Broder 1997), and
every tie is verified.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

LIKENESS = 0.8  # Jaccard index with the leader; two copies of one leader then have at least 2 * 0.8 - 1
LOOSEST_COPY = 2 * LIKENESS - 1  # so copies are near-duplicates of each other up to this threshold
SMALLEST_BUCKET = 50  # fewer copies than this are left to the exact join
_ROUNDS, _HASHES = 6, 3
_NEIGHBOURS = 5
_BLOCK = 100_000


def near_copies(bigrams: sparse.csr_matrix) -> NDArray[np.int64]:
    """Leader of every row, shape (rows,): the row itself unless it is one of many near-copies of another."""
    sizes = np.diff(bigrams.indptr).astype(np.int64)
    leaders = np.arange(len(sizes))
    leads = np.zeros(len(sizes), dtype=bool)
    filled = sizes > 0
    for turn in range(_ROUNDS if filled.any() else 0):
        free = np.flatnonzero((leaders == np.arange(len(sizes))) & filled)
        keys = _minhash(bigrams, free, turn)
        order = np.lexsort((~leads[free], keys))  # those who lead already come first in their bucket
        rows, keys = free[order], keys[order]
        _, starts, counts = np.unique(keys, return_index=True, return_counts=True)
        heads = np.repeat(rows[starts], counts)
        many = np.repeat(counts >= SMALLEST_BUCKET, counts) | leads[heads]  # stragglers join a leader in any number
        tied = many & (heads != rows) & ~leads[rows]
        heads, rows = _alike(bigrams, sizes, heads[tied], rows[tied])
        leaders[rows] = heads
        leads[heads] = True
    return leaders


def copy_pairs(leaders: NDArray[np.int64]) -> NDArray[np.int64]:
    """Every copy paired with its leader and a few other copies, lower row first, shape (pairs, 2)."""
    copies = np.flatnonzero(leaders != np.arange(len(leaders)))
    copies = copies[np.argsort(leaders[copies], kind="stable")]
    found = [np.stack([leaders[copies], copies], axis=1)]
    for step in range(1, _NEIGHBOURS + 1):
        left, right = copies[:-step], copies[step:]
        same = leaders[left] == leaders[right]
        found.append(np.stack([left[same], right[same]], axis=1))
    pairs = np.concatenate(found).astype(np.int64)
    return np.sort(pairs, axis=1)


def _minhash(bigrams: sparse.csr_matrix, rows: NDArray[np.int64], turn: int) -> NDArray[np.uint64]:
    """One key per row of `rows` (none empty): equal keys are likely only for nearly equal sets."""
    part = bigrams[rows]
    columns = part.indices.astype(np.uint64)
    keys = np.zeros(len(rows), dtype=np.uint64)
    for number in range(_HASHES):
        seed = np.uint64((turn * _HASHES + number + 1) * 0x9E3779B97F4A7C15 % 2**64)
        mixed = (columns + seed) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
        keys = keys * np.uint64(0x100000001B3) + np.minimum.reduceat(mixed ^ (mixed >> np.uint64(29)), part.indptr[:-1])
    return keys


def _alike(
    bigrams: sparse.csr_matrix, sizes: NDArray[np.int64], heads: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Those of the pairs (head, row) whose Jaccard index reaches `LIKENESS`."""
    alike = np.zeros(len(rows), dtype=bool)
    for at in range(0, len(rows), _BLOCK):
        part = slice(at, at + _BLOCK)
        shared = np.asarray(bigrams[heads[part]].multiply(bigrams[rows[part]]).sum(axis=1)).ravel()
        alike[part] = shared >= LIKENESS * (sizes[heads[part]] + sizes[rows[part]] - shared) - 1e-9
    return heads[alike], rows[alike]
