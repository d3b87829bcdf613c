"""`transformers.Trainer` with our batches, parameter groups, evaluation and checkpoints."""

import math
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerControl, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from backbone.runs.files import write_json
from backbone.runs.layout import PLAN, RESUME_STATE
from backbone.training import processes
from backbone.training.callbacks import SELECTED, TrainingFinished, is_finished
from backbone.training.checkpoints import drop_old, find_damage, seal
from backbone.training.interrupt import Interrupt
from backbone.training.job import TrainingJob, make_optimizer
from backbone.training.sampler import TokenBudgetSampler
from backbone.training.selection import LOSS, score
from tickets.errors import WorkError

EVALUATION_PENDING, LAST_LOGGED_STEP = "owed", "logged"  # keys of RESUME_STATE
_WORKERS, _CPU_WORKERS = 2, 0  # processes that collate batches while a GPU computes; a CPU collates between steps


class StageTrainer(Trainer):
    """Trainer with our batches, parameter groups, evaluation and checkpoints."""

    control: TrainerControl

    def __init__(
        self,
        job: TrainingJob,
        sampler: TokenBudgetSampler,
        arguments: TrainingArguments,
        seconds_before: float,
        interrupt: Interrupt,
    ) -> None:
        self._job = job
        self._seconds_before, self._started = seconds_before, time.perf_counter()
        self._sampler, self._interrupt = sampler, interrupt
        self.evaluation_pending = self._is_catching_up = False
        super().__init__(
            model=job.model,
            args=arguments,
            eval_dataset=[0],  # the library asks for one; `evaluate` below does not use it
            optimizers=(make_optimizer(job), None),
        )
        self.callback_handler.callbacks = [
            c for c in self.callback_handler.callbacks if type(c).__name__ != "PrinterCallback"
        ]  # it prints dicts to stdout

    @property
    def seconds(self) -> float:
        """Time of this training so far, earlier sessions included."""
        return self._seconds_before + time.perf_counter() - self._started

    def get_train_dataloader(self) -> DataLoader[int]:
        """Return batches of the token-budget sampler, which splits them across ranks itself.

        accelerate must not prepare it: it would split the batches once more. The Trainer still finds the sampler, and
        calls its `set_epoch`.
        """
        context = None
        on_cuda = self.args.device.type == "cuda"
        workers = _WORKERS if on_cuda else _CPU_WORKERS
        if workers:
            from backbone.training.workers import SignalFreeContext  # imported here: Windows has no fork

            context = SignalFreeContext()  # forks, because what `collate` closes over need not be picklable
        return DataLoader(
            list(range(len(self._job.lengths))),  # type: ignore[arg-type]
            batch_sampler=self._sampler,
            collate_fn=self._job.collate,
            num_workers=workers,
            pin_memory=on_cuda,
            multiprocessing_context=context,
        )

    def log(self, logs: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Record what the Trainer logs and, beside the loss, the share of padding in this epoch's batches."""
        if "loss" in logs:
            self._refuse_if_not_finite(logs["loss"], "training")
            logs["padding"] = 0.0 if self._job.packed else self._sampler.padding
        if "train_runtime" in logs:  # the library's summary covers the last session alone; `seconds` counts all
            logs = {"total_flos": logs["total_flos"]}
        super().log(logs, *args, **kwargs)

    def _refuse_if_not_finite(self, loss: float, part: str) -> None:
        if not math.isfinite(loss):
            processes.fail_together(
                WorkError(
                    f"the {part} loss is not a number at step {self.state.global_step}; expected a finite one; lower "
                    f"{self._job.section}.learning_rate (now {self._job.config.learning_rate:g}) and start over with "
                    "--restart"
                )
            )

    def restore_loss(self, loss: float, logged: int) -> None:
        """Go on summing the training loss of the steps since `logged`, the last step whose loss was logged."""
        self._tr_loss += loss
        self._globalstep_last_logged = logged

    def save_before_evaluation(self) -> None:
        """Save a checkpoint whose evaluation was cut off; it runs when training goes on.

        Where the evaluation was itself one that an interruption had left over, its checkpoint is there already.
        """
        if not self._is_catching_up:
            self._save_checkpoint(self.model, None)

    def run_pending_evaluation(self) -> None:
        """Evaluate the weights of the checkpoint just loaded, as if it had happened when that was written.

        Raises:
            TrainingFinished: by this evaluation, training is over.
        """
        self._is_catching_up = True
        self._determine_best_metric(self.evaluate(), None)
        if self.state.best_global_step:
            self.state.best_model_checkpoint = str(self._best_checkpoint())
        self._is_catching_up = False
        if is_finished(self.state, self._job.config.patience):
            raise TrainingFinished

    def close(self) -> None:
        """Do what the library does at the end of a training, where the pending evaluation was all that was left."""
        self.load_best_weights()
        self.log({"total_flos": self.state.total_flos})
        self.callback_handler.on_train_end(self.args, self.state, self.control)

    def load_best_weights(self) -> None:
        """Load the best weights from this run's folder.

        Raises:
            WorkError: their checkpoint is missing.
        """
        self._load_best_model()

    def _best_checkpoint(self) -> Path:
        return Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"

    def _load_best_model(self) -> None:
        best = self._best_checkpoint()  # the record of a run that was moved names its old folder
        if not best.is_dir():  # the library would only warn, and keep the last weights
            raise WorkError(f"{best}: missing, expected the best weights of this run; start over with --restart")
        self.state.best_model_checkpoint = str(best)
        super()._load_best_model()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        processes.barrier()
        loss = float(self.accelerator.reduce(self._tr_loss.detach().clone(), "mean"))
        processes.broadcast_from_first(lambda: self._seal(loss))

    def _seal(self, loss: float) -> None:
        """Complete a checkpoint and verify it; only then are earlier ones removed."""
        folder = Path(self.args.output_dir)
        checkpoint = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        resume_state = {"seconds": self.seconds, EVALUATION_PENDING: self.evaluation_pending, "loss": loss}
        write_json(checkpoint / RESUME_STATE, {**resume_state, LAST_LOGGED_STEP: self._globalstep_last_logged})
        if (folder.parent / PLAN).is_file():
            shutil.copyfile(folder.parent / PLAN, checkpoint / PLAN)
        seal(checkpoint)
        wrong = find_damage(checkpoint)
        if wrong:
            raise WorkError(f"{checkpoint}: {wrong} right after it was written; set output to a folder on another disk")
        drop_old(folder, [self.state.best_model_checkpoint])

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Run the stage's own evaluation and log it with the prefix `eval_`."""
        self.model.eval()
        self.evaluation_pending = True
        with torch.no_grad():
            results = self._interrupt.run_evaluation(self._job.evaluate)
        self._refuse_if_not_finite(results[LOSS], "validation")
        self.evaluation_pending = False
        metrics = {f"eval_{name}": value for name, value in results.items()}
        metrics[SELECTED] = score(results, self._job.config.select_by)
        self.model.train()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
