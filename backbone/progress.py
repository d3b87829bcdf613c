"""Progress on stderr: a bar with an estimate in a terminal, nothing in a pipe or a log."""

import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def track(items: Sequence[Item], description: str, unit: str = "batch") -> Iterator[Item]:
    """Yield `items` under a bar that disappears when done."""
    bar = tqdm(items, desc=description, unit=unit, file=sys.stderr, disable=None, leave=False, dynamic_ncols=True)
    yield from bar


def open_bar(total: int, description: str, unit: str) -> "tqdm[NoReturn]":
    """Return a bar to be moved by hand, for work that ends in any order; close it, or use it in a `with`."""
    return tqdm(
        total=total, desc=description, unit=unit, file=sys.stderr, disable=None, leave=False, dynamic_ncols=True
    )
