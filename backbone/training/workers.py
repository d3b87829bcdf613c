"""Data workers that a signal to the whole process group leaves alone."""

import signal
from multiprocessing.context import ForkContext, ForkProcess


class _Worker(ForkProcess):
    def start(self) -> None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class SignalFreeContext(ForkContext):
    """Forked workers are born with SIGINT and SIGTERM blocked, so that a training that is told to stop can still save.

    To ignore the signals in the worker is too late for one that comes while it starts.
    """

    Process = _Worker
