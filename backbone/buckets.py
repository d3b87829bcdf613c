"""Batches of similar length; apart from `batching`, because engines without torch use it too."""

from collections.abc import Sequence


def length_buckets(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Return row numbers in batches of similar length with at most `budget` padded tokens each, longest first."""
    batches: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batches[-1][0]] if batches else 0
        if batches and longest * (len(batches[-1]) + 1) <= budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
