"""Interrupting a training: finish the step, save, stop."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from backbone.training import processes
from tickets.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE = 0.5  # seconds that a second signal leaves the main thread to end by itself


class Interrupt(TrainerCallback):
    """On SIGINT or SIGTERM: finish the step, save, stop; an evaluation is cut off. A second one ends at once.

    Python calls handlers between its own instructions only, and a backward pass is a single one that may take seconds.
    So a thread reads the signals as they arrive, answers the first and, where the second does not end it, the process.
    """

    def __init__(self) -> None:
        self.requested = False
        self._is_stopping = self._is_evaluating = False
        self._previous: dict[int, Any] = {}
        self._previous_wakeup = -1
        self._wakeup = -1

    def __enter__(self) -> None:
        arrived, self._wakeup = os.pipe()
        os.set_blocking(self._wakeup, False)
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        self._previous_wakeup = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(arrived,), daemon=True).start()

    def __exit__(self, *exception: object) -> None:
        signal.set_wakeup_fd(self._previous_wakeup)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._wakeup)  # which ends the thread
        self._wakeup = -1

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save and stop if that was asked of any process."""
        if processes.any_process(self.requested):  # all stop at the same step
            self.requested = self._is_stopping = True
            control.should_save = control.should_training_stop = True

    def run_evaluation(self, evaluate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what `evaluate` returns.

        Raises:
            KeyboardInterrupt: a signal came before or meanwhile. With several processes one that comes meanwhile waits,
                or they would part ways.
        """
        if self._is_stopping:
            raise KeyboardInterrupt
        self._is_evaluating = processes.world_size() == 1
        try:
            return evaluate()
        finally:
            self._is_evaluating = False

    def _handle(self, number: int, frame: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        if self._is_evaluating:
            raise KeyboardInterrupt

    def _watch(self, arrived: int) -> None:
        """Run in a thread until the other end of the pipe is closed."""
        count = 0
        with os.fdopen(arrived, "rb", buffering=0) as signals:
            while number := signals.read(1):
                if number[0] not in _SIGNALS:
                    continue
                count += 1
                if count == 1:
                    when = "" if self._is_evaluating else " after this step"
                    tqdm.write(f"saving{when}; once more to stop at once", file=sys.stderr)  # not into the bar
                else:
                    threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        """End the process, unless the main thread does within the grace."""
        time.sleep(_GRACE)
        if self._wakeup >= 0:
            print("error: interrupted", file=sys.stderr, flush=True)
            os._exit(Interrupted.exit_code)
