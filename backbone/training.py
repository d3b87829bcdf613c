"""The one training module: `transformers.Trainer` with token-budget batches, our evaluation and safe resumption."""

import math
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import is_torch_tf32_available

from backbone.batching import IGNORE, TokenBudgetSampler
from backbone.checkpoints import STATE, drop_old, fault, newest_intact, seal
from backbone.config import TrainingConfig
from backbone.runs import disk_guard, read_json, write_json
from tickets.errors import InputError, WorkError

_CLOCK = "clock.json"  # in every checkpoint: seconds of training so far


@dataclass(frozen=True)
class TrainingJob:
    """Everything that differs between stages.

    `collate` turns row numbers into a batch for `model`, which returns its loss; `evaluate` returns at least `loss`
    (validation, unweighted) and `train_loss` (fixed training sample), both in evaluation mode.
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
    and stop.

    Raises:
        WorkError: interrupted, or the disk is full.
    """
    sampler = TokenBudgetSampler(
        job.lengths, job.config.batch_tokens, job.config.batch_tickets, job.seed, weights=job.weights
    )
    checkpoint = newest_intact(folder)
    state = TrainerState.load_from_json(str(checkpoint / STATE)) if checkpoint else None
    seconds_before = float(read_json(checkpoint / _CLOCK)["seconds"]) if checkpoint else 0.0
    if checkpoint:
        print(f"resuming from {checkpoint}", file=sys.stderr)
    trainer = _StageTrainer(job, sampler, _arguments(job, len(sampler), folder), seconds_before)
    interrupt = _Interrupt()
    for callback in (_EarlyStopping(job.config.patience), _FinalEvaluation(), _Progress(), interrupt):
        trainer.add_callback(callback)
    if state is not None and _is_over(state, job.config.patience):
        # what came after the last step failed; another step would not be the run that was asked for
        trainer.state = state
        trainer._load_best_model()
        return _result(state, seconds_before)
    with disk_guard(folder), interrupt, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*", category=UserWarning)
        output = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if interrupt.requested and not _is_over(trainer.state, job.config.patience):
        raise WorkError(
            f"interrupted at step {trainer.state.global_step} of {trainer.state.max_steps}; saved in {folder}; run the "
            "same command again to go on"
        )
    return _result(trainer.state, seconds_before + float(output.metrics["train_runtime"]))


def _result(state: TrainerState, seconds: float) -> TrainingResult:
    """The evaluation whose weights were kept.

    Raises:
        WorkError: no evaluation had a finite loss, so there is nothing worth keeping.
    """
    history = list(state.log_history)
    finite = [record for record in _evaluations(history) if math.isfinite(record["eval_loss"])]
    if not finite:
        raise WorkError(
            "training diverged: no evaluation had a finite validation loss; lower training.learning_rate and start "
            "over with --restart"
        )
    return TrainingResult(min(finite, key=lambda record: float(record["eval_loss"])), history, seconds)


def _evaluations(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record for record in history if "eval_loss" in record]


def _is_over(state: TrainerState, patience: int) -> bool:
    """Whether a run has nothing left to do, by its own record."""
    return state.global_step >= state.max_steps or evaluations_since_best(state.log_history) >= patience


def evaluations_since_best(history: Sequence[dict[str, Any]]) -> int:
    """How many evaluations came after the one with the lowest validation loss."""
    losses = [float(record["eval_loss"]) for record in _evaluations(history)]
    best = min((i for i, loss in enumerate(losses) if math.isfinite(loss)), key=lambda i: losses[i], default=-1)
    return len(losses) - 1 - best


def _arguments(job: TrainingJob, batches: int, folder: Path) -> TrainingArguments:
    config = job.config
    steps = max(1, batches // config.accumulation)
    every = max(1, steps // config.evaluations_per_epoch)
    if config.max_steps > 0:
        every = min(every, config.max_steps)
    on_cpu = not torch.cuda.is_available()
    if not on_cpu and job.compute == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            f"{torch.cuda.get_device_name()} cannot compute in bf16; set base.precision=fp32 and base.compute=fp32, or "
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
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_steps=10,
        seed=job.seed,
        disable_tqdm=True,
        report_to=[],
        remove_unused_columns=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # the Trainer would otherwise wrap the model in DataParallel, which splits our batches
    return arguments


class _StageTrainer(Trainer):
    """Trainer with our batches, parameter groups and evaluation."""

    control: TrainerControl

    def __init__(
        self, job: TrainingJob, sampler: TokenBudgetSampler, arguments: TrainingArguments, seconds_before: float
    ) -> None:
        self._job = job
        self._seconds_before, self._started = seconds_before, time.perf_counter()
        self._sampler = sampler
        super().__init__(
            model=job.model,
            args=arguments,
            eval_dataset=[0],  # wanted by a check, unused: `evaluate` below is ours
            optimizers=(_optimizer(job), None),
        )
        self.callback_handler.callbacks = [
            c for c in self.callback_handler.callbacks if type(c).__name__ != "PrinterCallback"
        ]  # it prints dicts to stdout

    def get_train_dataloader(self) -> DataLoader[int]:
        """Batches of the token-budget sampler; the Trainer reaches it for `set_epoch`."""
        rows = list(range(len(self._job.lengths)))
        return DataLoader(rows, batch_sampler=self._sampler, collate_fn=self._job.collate)  # type: ignore[arg-type]

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save, seal, verify; only then earlier checkpoints go."""
        super()._save_checkpoint(model, trial)
        folder = Path(self.args.output_dir)
        checkpoint = folder / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        write_json(checkpoint / _CLOCK, {"seconds": self._seconds_before + time.perf_counter() - self._started})
        seal(checkpoint)
        wrong = fault(checkpoint)
        if wrong:
            raise WorkError(f"{checkpoint}: {wrong} right after it was written; the disk cannot be trusted")
        drop_old(folder, [self.state.best_model_checkpoint])

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The model's own loss; with `loss_weights` (batch, kept) in the batch, cross-entropy weighted by token."""
        weights = inputs.pop("loss_weights", None)
        if weights is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs.pop("shift_labels")
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        losses = cross_entropy(
            outputs.logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE, reduction="none"
        )
        tokens = (labels != IGNORE).sum() if num_items_in_batch is None else num_items_in_batch
        loss = (losses * weights.flatten()).sum() / tokens
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # as the Trainer does: gradients are averaged over processes
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """The stage's own evaluation, logged with the prefix `eval_`."""
        self.model.eval()
        with torch.no_grad():
            metrics = {f"eval_{name}": value for name, value in self._job.evaluate().items()}
        self.model.train()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


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


class _EarlyStopping(TrainerCallback):
    """Stops after so many evaluations without a better one, counted in the history: resuming changes nothing."""

    def __init__(self, patience: int) -> None:
        self._patience = patience

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if evaluations_since_best(state.log_history) >= self._patience:
            control.should_training_stop = True


class _FinalEvaluation(TrainerCallback):
    """Evaluates and saves after the last step too, which need not be a multiple of `eval_steps`."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = control.should_save = True


class _Progress(TrainerCallback):
    """A progress bar with an estimate, and one line per evaluation, on stderr."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
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
        if self._bar is not None and logs and "loss" in logs:
            self._bar.set_postfix_str(f"loss {logs['loss']:.3f}", refresh=False)

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        if self._bar is not None and metrics:
            names = [n for n in metrics if isinstance(metrics[n], float)]
            shown = "  ".join(f"{name.removeprefix('eval_')} {metrics[name]:.3f}" for name in names[:6])
            line = f"step {state.global_step}/{state.max_steps}  epoch {state.epoch or 0:.1f}  {shown}"
            tqdm.write(line, file=sys.stderr)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.close()


class _Interrupt(TrainerCallback):
    """On SIGINT or SIGTERM: finish the step, save, stop. A second one ends at once."""

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.requested:
            control.should_save = control.should_training_stop = True

    def _handle(self, number: int, frame: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        print("saving after this step; once more to stop at once", file=sys.stderr)
