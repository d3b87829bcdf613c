"""The one training module: `transformers.Trainer` with token-budget batches, our evaluation and safe resumption."""

import math
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import is_torch_tf32_available

from backbone.config import TrainingConfig
from backbone.device import uses_liger
from backbone.runs.files import disk_guard, read_json, write_json
from backbone.runs.layout import CLOCK, METRICS, PLAN, STATE, TENSORBOARD
from backbone.training import processes
from backbone.training.callbacks import (
    SELECTED,
    EarlyStopping,
    FinalEvaluation,
    Finished,
    History,
    OwedEvaluation,
    Progress,
    Restoration,
    is_over,
    tensorboard,
)
from backbone.training.checkpoints import drop_old, fault, newest_intact, seal
from backbone.training.interrupt import Interrupt
from backbone.training.sampler import TokenBudgetSampler
from backbone.training.selection import score
from tickets.errors import InputError, Interrupted, WorkError

# in every checkpoint: seconds of training so far, whether its evaluation is still to come, and the loss not yet logged

_WORKERS, _CPU_WORKERS = 2, 0  # collating is quick; a GPU must not wait for it all the same


@dataclass(frozen=True)
class TrainingJob:
    """Everything that differs between stages.

    `collate` turns row numbers into a batch for `model`, which returns its loss; `evaluate` returns at least `loss`
    (validation, unweighted) and `train_loss` (fixed training sample), both in evaluation mode, and what else
    `config.select_by` may name, higher being better.
    """

    model: nn.Module
    lengths: Sequence[int]
    collate: Callable[[list[int]], dict[str, Any]]
    evaluate: Callable[[], dict[str, Any]]
    config: TrainingConfig
    compute: str = "bf16"
    seed: int = 42
    weights: Sequence[float] | None = None
    head_parameters: Callable[[str], bool] = field(default=lambda name: False)
    packed: bool = False
    tensorboard: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """The best evaluation (whose weights the model now holds), every logged record in order, and how long it took.

    `seconds` counts all sessions of an interrupted run up to their last checkpoints.
    """

    best: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float


def train(job: TrainingJob, folder: Path) -> TrainingResult:
    """Train `job.model` in place, checkpointing under `folder`, and leave the best weights in it.

    Continues from the newest intact checkpoint in `folder` when there is one. SIGINT and SIGTERM save a checkpoint
    and stop. Metrics are written beside `folder` as they come.

    Raises:
        WorkError: interrupted, diverged, or the disk is full.
    """
    with disk_guard(folder):
        return _train(job, folder)


def _train(job: TrainingJob, folder: Path) -> TrainingResult:
    sampler = TokenBudgetSampler(
        job.lengths,
        job.config.batch_tokens,
        job.config.batch_tickets,
        job.seed,
        weights=job.weights,
        parts=processes.count(),
        part=processes.rank(),
    )
    checkpoint = processes.from_first(lambda: newest_intact(folder))
    state = TrainerState.load_from_json(str(checkpoint / STATE)) if checkpoint else None
    clock: dict[str, Any] = (
        read_json(checkpoint / CLOCK) if checkpoint else {"seconds": 0.0, "owed": False, "loss": 0.0, "logged": 0}
    )
    if checkpoint:
        print(f"resuming from {checkpoint}", file=sys.stderr)
    interrupt = Interrupt()
    trainer = _StageTrainer(job, sampler, _arguments(job, len(sampler), folder), clock["seconds"], interrupt)
    patience = job.config.patience
    for callback in (EarlyStopping(patience), FinalEvaluation(), History(folder.parent / METRICS), Progress()):
        trainer.add_callback(callback)
    trainer.add_callback(interrupt)
    trainer.add_callback(Restoration(lambda: trainer.restore_loss(clock["loss"], clock["logged"])))
    if job.tensorboard:
        trainer.add_callback(tensorboard(folder.parent / TENSORBOARD))
    if clock["owed"]:
        trainer.add_callback(OwedEvaluation(trainer.make_up_evaluation, patience))
    elif state is not None and is_over(state, patience):
        # what came after the last step failed; another step would not be the run that was asked for
        result = _result(state, clock["seconds"])
        trainer.state = state
        trainer._load_best_model()
        return result
    with interrupt, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*", category=UserWarning)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except Finished:
            trainer.close()
        except KeyboardInterrupt:
            if not trainer.owes_evaluation:
                raise
            trainer.save_before_evaluation()
    # takes off accelerate's autocast around forward, which no context can switch off: what comes after training decides
    trainer.accelerator.unwrap_model(job.model, keep_fp32_wrapper=False)
    if interrupt.requested and (trainer.owes_evaluation or not is_over(trainer.state, patience)):
        processes.fail_together(
            Interrupted(
                f"interrupted at step {trainer.state.global_step} of {trainer.state.max_steps}; saved in {folder}; run "
                "the same command again to go on"
            )
        )
    return _result(trainer.state, trainer.seconds)


def _result(state: TrainerState, seconds: float) -> TrainingResult:
    """The evaluation whose weights were kept.

    Raises:
        WorkError: no evaluation had a finite loss, so there is nothing worth keeping.
    """
    history = list(state.log_history)
    finite = [record for record in history if math.isfinite(record.get(SELECTED, math.nan))]
    if not finite:
        processes.fail_together(
            WorkError(
                "training diverged: no evaluation had a finite validation loss; lower training.learning_rate and start "
                "over with --restart"
            )
        )
    return TrainingResult(max(finite, key=lambda record: float(record[SELECTED])), history, seconds)


def _arguments(job: TrainingJob, batches: int, folder: Path) -> TrainingArguments:
    config = job.config
    steps = max(1, batches // config.accumulation)
    every = max(1, steps // config.evaluations_per_epoch)
    if config.max_steps > 0:
        every = min(every, config.max_steps)
    on_cpu = not torch.cuda.is_available()
    is_distributed = processes.count() > 1
    if not on_cpu and job.compute == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            f"{torch.cuda.get_device_name()} cannot compute in bf16; set base.precision=auto and base.compute=auto, or "
            "use a GPU of the Ampere generation or later"
        )
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_tickets,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup,  # below 1: a share of all steps
        max_grad_norm=config.max_grad_norm,
        bf16=job.compute == "bf16",
        tf32=is_torch_tf32_available() or None,
        use_cpu=on_cpu,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        load_best_model_at_end=True,
        metric_for_best_model=SELECTED,
        greater_is_better=True,
        logging_steps=10,
        seed=job.seed,
        disable_tqdm=True,
        report_to=[],
        remove_unused_columns=False,
        use_liger_kernel=uses_liger(),
        # the losses are ours already; these stand in for layers of the base
        liger_kernel_config={
            "rope": True,
            "rms_norm": True,
            "swiglu": True,
            "cross_entropy": False,
            "fused_linear_cross_entropy": False,
        },
        ddp_find_unused_parameters=False if is_distributed else None,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # the Trainer would otherwise wrap the model in DataParallel, which splits our batches
    return arguments


class _StageTrainer(Trainer):
    """Trainer with our batches, parameter groups and evaluation."""

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
        self.owes_evaluation = self._is_making_up = False
        super().__init__(
            model=job.model,
            args=arguments,
            eval_dataset=[0],  # wanted by a check, unused: `evaluate` below is ours
            optimizers=(_optimizer(job), None),
        )
        self.callback_handler.callbacks = [
            c for c in self.callback_handler.callbacks if type(c).__name__ != "PrinterCallback"
        ]  # it prints dicts to stdout

    @property
    def seconds(self) -> float:
        """Time of this training so far, earlier sessions included."""
        return self._seconds_before + time.perf_counter() - self._started

    def get_train_dataloader(self) -> DataLoader[int]:
        """Batches of the token-budget sampler, which knows of other processes by itself.

        Not prepared by accelerate, which would deal out batches once more. The Trainer reaches the sampler for
        `set_epoch`.
        """
        on_cuda = self.args.device.type == "cuda"
        workers = _WORKERS if on_cuda else _CPU_WORKERS
        return DataLoader(
            list(range(len(self._job.lengths))),  # type: ignore[arg-type]
            batch_sampler=self._sampler,
            collate_fn=self._job.collate,
            num_workers=workers,
            pin_memory=on_cuda,
            multiprocessing_context=_forked() if workers else None,
        )

    def log(self, logs: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """The Trainer's record; beside the loss, how much of the batches of this epoch is padding."""
        if "loss" in logs:
            logs["padding"] = 0.0 if self._job.packed else self._sampler.padding
        if "train_runtime" in logs:  # the library's summary is of the last session alone; `seconds` counts all
            logs = {"total_flos": logs["total_flos"]}
        super().log(logs, *args, **kwargs)

    def restore_loss(self, loss: float, logged: int) -> None:
        """Go on summing the training loss of the steps since `logged`, the last step whose loss is on record."""
        self._tr_loss += loss
        self._globalstep_last_logged = logged

    def save_before_evaluation(self) -> None:
        """A checkpoint whose evaluation was cut off: it is made up for when training goes on.

        What that needs is on disk already where the evaluation was itself one to be made up.
        """
        if not self._is_making_up:
            self._save_checkpoint(self.model, None)

    def make_up_evaluation(self) -> None:
        """Evaluate the weights of the checkpoint just loaded, as if it happened when that was written."""
        self._is_making_up = True
        self._determine_best_metric(self.evaluate(), None)
        if self.state.best_global_step:
            self.state.best_model_checkpoint = str(self._best_checkpoint())
        self._is_making_up = False

    def close(self) -> None:
        """What the library does at the end of a training, for one whose last evaluation was made up for."""
        self._load_best_model()
        self.log({"total_flos": self.state.total_flos})
        self.callback_handler.on_train_end(self.args, self.state, self.control)

    def _best_checkpoint(self) -> Path:
        return Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.best_global_step}"

    def _load_best_model(self) -> None:
        """Load the best weights from this run's folder: the record of a run that was moved names the old one."""
        best = self._best_checkpoint()
        if not best.is_dir():  # the library would only warn, and keep the last weights
            raise WorkError(f"{best}: missing, expected the best weights of this run; start over with --restart")
        self.state.best_model_checkpoint = str(best)
        super()._load_best_model()

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save, seal, verify; only then earlier checkpoints go."""
        super()._save_checkpoint(model, trial)
        processes.wait()
        loss = float(self.accelerator.reduce(self._tr_loss.detach().clone(), "mean"))
        processes.from_first(lambda: self._seal(loss))

    def _seal(self, loss: float) -> None:
        folder = Path(self.args.output_dir)
        checkpoint = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        clock = {"seconds": self.seconds, "owed": self.owes_evaluation, "loss": loss}
        write_json(checkpoint / CLOCK, {**clock, "logged": self._globalstep_last_logged})
        if (folder.parent / PLAN).is_file():
            shutil.copyfile(folder.parent / PLAN, checkpoint / PLAN)
        seal(checkpoint)
        wrong = fault(checkpoint)
        if wrong:
            raise WorkError(f"{checkpoint}: {wrong} right after it was written; the disk cannot be trusted")
        drop_old(folder, [self.state.best_model_checkpoint])

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The stage's own evaluation, logged with the prefix `eval_`."""
        self.model.eval()
        self.owes_evaluation = True
        with torch.no_grad():
            found = self._interrupt.evaluating(self._job.evaluate)
        self.owes_evaluation = False
        metrics = {f"eval_{name}": value for name, value in found.items()}
        metrics[SELECTED] = score(found, self._job.config.select_by)
        self.model.train()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _forked() -> BaseContext:
    """Forked, because what collates need not be picklable; imported here, because Windows has no fork."""
    from backbone.training.workers import SignalFreeContext

    return SignalFreeContext()


def _optimizer(job: TrainingJob) -> torch.optim.Optimizer:
    """AdamW; matrices decay, vectors do not, and heads may learn at their own rate."""
    config = job.config
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in job.model.named_parameters():
        if parameter.requires_grad:
            is_head = job.head_parameters(name) and config.head_learning_rate is not None
            rate = config.head_learning_rate if is_head else config.learning_rate
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate or config.learning_rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": found, "lr": rate, "weight_decay": decay} for (rate, decay), found in groups.items()], fused=True
    )
