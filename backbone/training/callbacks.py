"""What happens around the steps of a training: stopping, evaluating at the end, progress and history."""

import json
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerState

from backbone.runs.files import write_text
from backbone.training import processes
from tickets.errors import InputError

SELECTED = "eval_selected"  # what tells good weights from bad, higher is better
_SHOWN = ("loss", "train_loss", "ratio", "macro_f1", "perplexity")  # on the line of an evaluation, and accuracies


def evaluations_since_best(history: Sequence[dict[str, Any]]) -> int:
    """Return how many evaluations came after the best one."""
    scores = [float(record[SELECTED]) for record in history if SELECTED in record]
    best = max((i for i, score in enumerate(scores) if math.isfinite(score)), key=lambda i: scores[i], default=-1)
    return len(scores) - 1 - best


def is_finished(state: TrainerState, patience: int) -> bool:
    """Return whether a run has nothing left to do, by its own record."""
    return state.global_step >= state.max_steps or evaluations_since_best(state.log_history) >= patience


class EarlyStopping(TrainerCallback):
    """Stops after so many evaluations without a better one, counted in the history: resuming changes nothing."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop where patience is used up."""
        if evaluations_since_best(state.log_history) >= self._patience:
            control.should_training_stop = True


class FinalEvaluation(TrainerCallback):
    """Evaluates and saves after the last step too, which need not be a multiple of `eval_steps`."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for both at the last step."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True


class TrainingFinished(Exception):
    """Raised when the pending evaluation ends training."""


class BeforeFirstStep(TrainerCallback):
    """Does something before the first step of a session, after the library has loaded the checkpoint."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action = action

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._action()


class History(TrainerCallback):
    """Keeps a JSON Lines file of everything logged, so that a run can be followed while it trains."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Write everything so far."""
        if processes.is_first():
            lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in state.log_history]
            write_text(self._path, "".join(lines))


def tensorboard(folder: Path) -> TrainerCallback:
    """Return the library's TensorBoard callback, writing to `folder`.

    Raises:
        InputError: the package is missing.
    """
    from transformers.integrations import TensorBoardCallback

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "tensorboard=true: the package tensorboard is not installed; pip install 'ticket-duet[tensorboard]', or "
            "leave the key out"
        ) from None
    return TensorBoardCallback(SummaryWriter(log_dir=str(folder)) if processes.is_first() else None)


class Progress(TrainerCallback):
    """A progress bar with an estimate, and one line per evaluation, on stderr."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show the bar."""
        self._bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            unit="step",
            file=sys.stderr,
            disable=None,  # no bar in a log: the evaluations' lines are enough there
            dynamic_ncols=True,
            leave=False,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Show the loss on it."""
        if self._bar is not None and logs and "loss" in logs:
            self._bar.set_postfix_str(f"loss {logs['loss']:.3f}", refresh=False)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Print a line that stays."""
        if self._bar is not None and metrics:
            values = {name.removeprefix("eval_"): value for name, value in metrics.items()}
            names = [name for name in values if name in _SHOWN or name.endswith("_accuracy")]
            parts = [f"step {state.global_step}/{state.max_steps}", f"epoch {state.epoch or 0:.1f}"]
            parts += [f"{name} {values[name]:.3f}" for name in names]
            width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
            tqdm.write(_wrapped(parts, width), file=sys.stderr)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.close()


def _wrapped(parts: Sequence[str], width: int | None) -> str:
    """Return parts two spaces apart, on as many lines as `width` columns ask for; on one without."""
    lines = [parts[0]]
    for part in parts[1:]:
        if width is not None and len(lines[-1]) + 2 + len(part) > width:
            lines.append(f"  {part}")
        else:
            lines[-1] += f"  {part}"
    return "\n".join(lines)
