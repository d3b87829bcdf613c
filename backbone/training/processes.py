"""One run in several processes, as `torchrun` and `accelerate launch` start them: who writes, and how all agree."""

import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from tickets.errors import DuetError

_COLLECTIVE_TIMEOUT = timedelta(hours=2)  # the others wait while the first downloads a base or writes a checkpoint
Result = TypeVar("Result")
Item = TypeVar("Item")
Key = TypeVar("Key")


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return the number of this one, from 0."""
    return int(os.environ.get("RANK", "0"))


def is_first() -> bool:
    """Return whether this process is the one that writes."""
    return rank() == 0


def connect() -> None:
    """Join the others; nothing to do for a single process."""
    if world_size() == 1:
        return
    import torch
    from accelerate import PartialState

    PartialState(cpu=not torch.cuda.is_available(), timeout=_COLLECTIVE_TIMEOUT)


def broadcast_from_first(make: Callable[[], Result]) -> Result:
    """Return what `make` returns in the first process, in all of them; where it fails, all end, one with the reason."""
    if world_size() == 1:
        return make()
    from torch.distributed import broadcast_object_list

    outcome: list[Any] = [None, None]
    error: Exception | None = None
    if is_first():
        try:
            outcome[0] = make()
        except Exception as failure:  # whatever it is, the others must not wait for what will not come
            error, outcome[1] = failure, getattr(failure, "exit_code", 1)
    broadcast_object_list(outcome)
    if error is not None:
        raise error
    if outcome[1] is not None:
        sys.exit(outcome[1])
    result: Result = outcome[0]
    return result


def fail_together(error: DuetError) -> NoReturn:
    """Raise what all processes know of: the first one tells it, the others end with the same exit code."""
    if is_first():
        raise error
    sys.exit(error.exit_code)


def local_items(items: Sequence[Item]) -> list[Item]:
    """Return this process's items. Every process gets as many; where the number is uneven, some come twice."""
    most = -(-len(items) // world_size())
    mine = list(items[rank() :: world_size()])
    return mine + [items[-1]] * (most - len(mine))


def gather_dicts(results: dict[Key, Result]) -> dict[Key, Result]:
    """Return the entries of all processes, in all of them."""
    if world_size() == 1:
        return results
    from torch.distributed import all_gather_object

    parts: list[dict[Key, Result]] = [{} for _ in range(world_size())]
    all_gather_object(parts, results)
    return {key: value for part in parts for key, value in part.items()}


def any_process(flag: bool) -> bool:
    """Return whether it is true in any process."""
    if world_size() == 1:
        return flag
    import torch
    from torch.distributed import ReduceOp, all_reduce

    outcome = torch.tensor(int(flag), device="cuda" if torch.cuda.is_available() else "cpu")
    all_reduce(outcome, op=ReduceOp.MAX)
    return bool(outcome.item())


def barrier() -> None:
    """Wait until all processes are here."""
    if world_size() > 1:
        import torch.distributed

        torch.distributed.barrier()
