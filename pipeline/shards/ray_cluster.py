"""A Ray cluster: finding one, or starting one here, and the class of its workers."""

import os
import socket
from typing import Any

from engines.cores import THREADS, usable_cores
from pipeline.shards.options import AUTO, LOCAL, RayOptions
from tickets.errors import InputError
from tickets.plain_reason import plain_reason

_STORE_MEMORY = 100 << 20  # bytes: the smallest store of objects that Ray starts with; nothing large goes through it
_SECONDS_TO_CONNECT = 10


def connected(options: RayOptions) -> Any:
    """Return the ray module, connected to the cluster."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing calls out
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # its other lines are for those who develop it
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a worker that asks for no GPU still sees them
    try:
        import ray
    except ImportError:
        raise InputError("--ray: Ray is not installed; `pip install 'ticket-duet[ray]'` adds it") from None
    started: dict[str, Any] = {}
    if options.address == LOCAL:
        started = {"num_cpus": usable_cores(), "include_dashboard": False, "object_store_memory": _STORE_MEMORY}
    else:
        _check_listening(os.environ.get("RAY_ADDRESS", AUTO) if options.address == AUTO else options.address)
    try:
        ray.init(address=options.address, log_to_driver=False, logging_level="ERROR", **started)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise InputError(_no_cluster(options.address, type(error).__name__)) from None
    return ray


def _check_listening(address: str) -> None:
    """Refuse an address at which nothing listens: Ray would try for minutes.

    Raises:
        InputError: nothing does.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():  # a name that Ray knows, such as `auto`
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS_TO_CONNECT).close()
    except (OSError, OverflowError) as error:
        raise InputError(_no_cluster(address, plain_reason(error))) from None


def _no_cluster(address: str, reason: str) -> str:
    return (
        f"--ray {address}: no cluster there ({reason}); start one with `ray start --head`, give its address, or use "
        "--ray local for workers on this machine"
    )


def worker_class(ray: Any, threads: int) -> Any:
    """Return the class of workers.

    It is made here, because Ray then sends its code: a worker cannot import ours before it knows where it is.
    """

    class Worker:
        def open(self, pickled: bytes, package: str, expected: str) -> tuple[str, Any]:
            """Open the model; returns `done` and the node's id, or the kind of an error and its line."""
            import os
            import pickle
            from importlib.metadata import version
            from importlib.util import find_spec

            if find_spec("ticket_duet"):
                import ticket_duet  # noqa: F401 - which lets our packages be imported
            from tickets.errors import DuetError, InputError

            found = version(package)
            node = ray.get_runtime_context().get_node_id()
            if found != expected:
                return "input", f"node {node}: has duet {found}, expected {expected}; install the same version there"
            os.environ[THREADS] = str(threads)
            from pipeline.shards.worker import ShardWorker

            try:
                self._worker = ShardWorker.open(pickle.loads(pickled))
            except DuetError as error:
                return ("input" if isinstance(error, InputError) else "work"), f"node {node[:12]}: {error}"
            return "done", node

        def answer(self, pickled: bytes) -> tuple[str, Any]:
            """Answer a piece; returns `done` and what became of it, or the kind of an error and its line."""
            import pickle

            from tickets.errors import DuetError, InputError

            try:
                return "done", pickle.dumps(self._worker.answer(pickle.loads(pickled)))
            except DuetError as error:
                return ("input" if isinstance(error, InputError) else "work"), str(error)

    return ray.remote(num_cpus=threads, max_restarts=0)(Worker)
