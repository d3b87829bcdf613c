"""Loaded by every worker of a test's cluster: makes workers slow, and lets a ticket with POISON kill them."""

import os
import signal
import sys
import time
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

WORKER = "pipeline.shards.worker"


class Poisoned(Loader):
    """Loads the module as it is, then lets its worker look at the tickets first."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.inner.exec_module(module)
        worker: Any = module.ShardWorker
        whole = worker.answer

        def answer(self: Any, piece: Any, on_row: Any = lambda row: None) -> Any:
            time.sleep(float(os.environ.get("SECONDS_PER_SHARD", "0")))
            with self._rows(piece.shard) as (rows, _):
                some = list(rows)[piece.first : piece.end]
            if any(row.ticket and "POISON" in row.ticket.body for row in some):
                os.kill(os.getpid(), signal.SIGKILL)
            return whole(self, piece, on_row)

        worker.answer = answer


class Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != WORKER:
            return None
        spec = PathFinder.find_spec(name, path)
        assert spec and spec.loader
        spec.loader = Poisoned(spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
