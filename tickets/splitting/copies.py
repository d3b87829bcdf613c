"""Texts that came in hundreds of near-copies or from one template, found before the join of all pairs.

n such texts are n * n / 2 pairs: too many to list, and their bigrams too frequent to be joined on. So a near-copy, such
as an automatic notification, is tied to a leader it resembles closely, and only leaders take part in the join. Texts
of one template, which differ more, form a family: its rows are joined with all rows but those of the family. Buckets
are MinHash keys (Broder 1997), and every tie is verified.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

LIKENESS = 0.8  # Jaccard index with the leader, at least
NO_FAMILY = -1
SMALLEST_FAMILY, _MOST_FAMILIES = 500, 50  # smaller families are left to the exact join
_FAMILY_ROUNDS = 8  # a text with the Jaccard index 0.25 to the others of its template is missed by all with 2 %
SMALLEST_BUCKET = 50  # fewer copies than this are left to the exact join
_ROUNDS, _HASHES = 6, 3
_NEIGHBOURS = 5
_BLOCK = 20_000  # rows or pairs at a time, which bounds the memory


def near_copies(bigrams: sparse.csr_matrix, threshold: float) -> NDArray[np.int64]:
    """Return the leader of every row, shape (rows,): the row itself unless it is one of many near-copies of another.

    Two copies of one leader with the Jaccard index L to it have at least 2 L - 1 with each other, which has to reach
    `threshold`.
    """
    likeness = max(LIKENESS, (1 + threshold) / 2)
    sizes = np.diff(bigrams.indptr).astype(np.int64)
    leaders = np.arange(len(sizes))
    leads = np.zeros(len(sizes), dtype=bool)
    filled = sizes > 0
    for turn in range(_ROUNDS if filled.any() else 0):
        free = np.flatnonzero((leaders == np.arange(len(sizes))) & filled)
        keys = _minhash(bigrams, free, turn, _HASHES)
        order = np.lexsort((~leads[free], keys))  # those who lead already come first in their bucket
        rows, keys = free[order], keys[order]
        _, starts, counts = np.unique(keys, return_index=True, return_counts=True)
        heads = np.repeat(rows[starts], counts)
        many = np.repeat(counts >= SMALLEST_BUCKET, counts) | leads[heads]  # stragglers join a leader in any number
        tied = many & (heads != rows) & ~leads[rows]
        heads, rows = _alike(bigrams, sizes, heads[tied], rows[tied], likeness)
        leaders[rows] = heads
        leads[heads] = True
    return leaders


def copy_pairs(leaders: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return every copy paired with its leader and a few other copies, lower row first, shape (pairs, 2)."""
    copies = np.flatnonzero(leaders != np.arange(len(leaders)))
    copies = copies[np.argsort(leaders[copies], kind="stable")]
    found = [np.stack([leaders[copies], copies], axis=1)]
    for step in range(1, _NEIGHBOURS + 1):
        left, right = copies[:-step], copies[step:]
        same = leaders[left] == leaders[right]
        found.append(np.stack([left[same], right[same]], axis=1))
    pairs = np.concatenate(found).astype(np.int64)
    return np.sort(pairs, axis=1)


def large_families(bigrams: sparse.csr_matrix, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the family of every row, NO_FAMILY for most, (rows,), and the pairs that connect each family, (pairs, 2).

    Families have at least SMALLEST_FAMILY rows. Every row of one is paired with some others, at or above `threshold`.
    """
    rows = bigrams.shape[0]
    sizes = np.diff(bigrams.indptr).astype(np.int64)
    filled = np.flatnonzero(sizes > 0)
    family = np.full(rows, NO_FAMILY)
    if len(filled) < SMALLEST_FAMILY:
        return family, np.empty((0, 2), dtype=np.int64)
    random = np.random.default_rng(0)
    pairs = [np.empty((0, 2), dtype=np.int64)]
    for turn in range(_FAMILY_ROUNDS):
        keys = _minhash(bigrams, filled, turn, hashes=1)
        order = np.lexsort((random.random(len(filled)), keys))
        members, keys = filled[order], keys[order]
        _, starts, counts = np.unique(keys, return_index=True, return_counts=True)
        heads = np.repeat(members[starts], counts)
        tied = np.repeat(counts >= SMALLEST_BUCKET, counts) & (heads != members)
        pairs.append(np.stack(_alike(bigrams, sizes, heads[tied], members[tied], threshold), axis=1))
    ties = np.concatenate(pairs)
    links = sparse.coo_matrix((np.ones(len(ties), dtype=bool), (ties[:, 0], ties[:, 1])), shape=(rows, rows))
    linked = connected_components(links, directed=False)[1]
    counts = np.bincount(linked)
    largest = np.argsort(-counts, kind="stable")[:_MOST_FAMILIES]
    for number, name in enumerate(largest[counts[largest] >= SMALLEST_FAMILY]):
        family[linked == name] = number
    return family, np.unique(np.sort(ties[family[ties[:, 0]] != NO_FAMILY], axis=1), axis=0)


def _minhash(bigrams: sparse.csr_matrix, rows: NDArray[np.int64], turn: int, hashes: int) -> NDArray[np.uint64]:
    """Return one key per row of `rows` (none empty); with more hashes, equal keys mean closer sets."""
    blocks = [_block_keys(bigrams[rows[at : at + _BLOCK]], turn, hashes) for at in range(0, len(rows), _BLOCK)]
    return np.concatenate([np.empty(0, dtype=np.uint64), *blocks])


def _block_keys(bigrams: sparse.csr_matrix, turn: int, hashes: int) -> NDArray[np.uint64]:
    columns = bigrams.indices.astype(np.uint64)
    keys = np.zeros(bigrams.shape[0], dtype=np.uint64)
    for number in range(hashes):
        seed = np.uint64((turn * hashes + number + 1) * 0x9E3779B97F4A7C15 % 2**64)
        mixed = (columns + seed) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x94D049BB133111EB)
        least = np.minimum.reduceat(mixed ^ (mixed >> np.uint64(29)), bigrams.indptr[:-1])
        keys = keys * np.uint64(0x100000001B3) + least
    return keys


def _alike(
    bigrams: sparse.csr_matrix,
    sizes: NDArray[np.int64],
    heads: NDArray[np.int64],
    rows: NDArray[np.int64],
    likeness: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return those of the pairs (head, row) whose Jaccard index reaches `likeness`."""
    alike = np.zeros(len(rows), dtype=bool)
    for at in range(0, len(rows), _BLOCK):
        part = slice(at, at + _BLOCK)
        shared = np.asarray(bigrams[heads[part]].multiply(bigrams[rows[part]]).sum(axis=1)).ravel()
        alike[part] = shared >= likeness * (sizes[heads[part]] + sizes[rows[part]] - shared) - 1e-9
    return heads[alike], rows[alike]
