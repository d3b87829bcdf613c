"""Running a model in training over some rows without training it: the loop behind every evaluation."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch

from backbone.buckets import length_buckets
from backbone.progress import track
from backbone.training import processes

Result = TypeVar("Result")


def evaluate_rows(
    model: Any,
    lengths: Sequence[int],
    batch_tokens: int,
    collate: Callable[[list[int]], dict[str, Any]],
    read: Callable[[Any, list[int]], Sequence[Result]],
    context: Callable[[], AbstractContextManager[Any]],
) -> list[Result]:
    """Run a model in evaluation mode over all rows and return one result per row, in order.

    Rows are batched by length and shared by the processes of a run; each process gets all results.

    Args:
        lengths: tokens of every row.
        batch_tokens: padded tokens per batch, over all processes.
        collate: makes a batch of row numbers.
        read: takes a model's output and the row numbers of its batch; returns one result per row.
        context: opened around each forward pass, such as autocast.
    """
    results: dict[int, Result] = {}
    was_training = model.training
    model.eval()
    buckets = length_buckets(lengths, batch_tokens // processes.world_size())
    for rows in track(processes.local_items(buckets), "evaluating"):
        batch = {k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in collate(rows).items()}
        with torch.no_grad(), context():
            output = model(**batch)
        results |= dict(zip(rows, read(output, rows), strict=True))
    model.train(was_training)
    merged = processes.gather_dicts(results)
    return [merged[row] for row in range(len(lengths))]
