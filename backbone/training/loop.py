"""Training with safe resumption: from the newest intact checkpoint to the best weights."""

import math
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainerState

from backbone.device import on_cuda
from backbone.process_memory import keep_freed_memory
from backbone.runs.files import disk_guard, read_json
from backbone.runs.layout import METRICS, RESUME_STATE, STATE, TENSORBOARD
from backbone.training import processes
from backbone.training.callbacks import (
    SELECTED,
    BeforeFirstStep,
    EarlyStopping,
    FinalEvaluation,
    History,
    Progress,
    TrainingFinished,
    is_finished,
    tensorboard,
)
from backbone.training.checkpoints import newest_intact
from backbone.training.interrupt import Interrupt
from backbone.training.job import TrainingJob, training_arguments
from backbone.training.sampler import TokenBudgetSampler
from backbone.training.trainer import EVALUATION_PENDING, LAST_LOGGED_STEP, StageTrainer
from tickets.errors import Interrupted, WorkError

_FRESH_STATE: dict[str, Any] = {"seconds": 0.0, EVALUATION_PENDING: False, "loss": 0.0, LAST_LOGGED_STEP: 0}


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
    if not on_cuda():
        keep_freed_memory()
    with disk_guard(folder):
        return _train(job, folder)


def _train(job: TrainingJob, folder: Path) -> TrainingResult:
    sampler = TokenBudgetSampler(
        job.lengths,
        job.config.batch_tokens,
        job.config.batch_tickets,
        job.seed,
        weights=job.weights,
        world_size=processes.world_size(),
        rank=processes.rank(),
    )
    checkpoint = processes.broadcast_from_first(lambda: newest_intact(folder))
    state = TrainerState.load_from_json(str(checkpoint / STATE)) if checkpoint else None
    resume_state = read_json(checkpoint / RESUME_STATE) if checkpoint else _FRESH_STATE
    if checkpoint:
        print(f"resuming from {checkpoint}", file=sys.stderr)
    interrupt = Interrupt()
    patience = job.config.patience
    trainer = StageTrainer(
        job,
        sampler,
        arguments=training_arguments(job, len(sampler), folder),
        seconds_before=resume_state["seconds"],
        interrupt=interrupt,
    )
    for callback in (EarlyStopping(patience), FinalEvaluation(), History(folder.parent / METRICS), Progress()):
        trainer.add_callback(callback)
    trainer.add_callback(interrupt)
    trainer.add_callback(
        BeforeFirstStep(lambda: trainer.restore_loss(resume_state["loss"], resume_state[LAST_LOGGED_STEP]))
    )
    if job.tensorboard:
        trainer.add_callback(tensorboard(folder.parent / TENSORBOARD))
    if resume_state[EVALUATION_PENDING]:
        trainer.add_callback(BeforeFirstStep(trainer.run_pending_evaluation))
    elif state is not None and is_finished(state, patience):
        # all steps are done, and what followed them failed: a further step would change the run
        result = _result(state, resume_state["seconds"], job.section)
        trainer.state = state
        trainer.load_best_weights()
        return result
    _run(trainer, interrupt, checkpoint)
    # accelerate's autocast around forward cannot be switched off by a context; what follows decides for itself
    trainer.accelerator.unwrap_model(job.model, keep_fp32_wrapper=False)
    if interrupt.requested and (trainer.evaluation_pending or not is_finished(trainer.state, patience)):
        processes.fail_together(
            Interrupted(
                f"interrupted at step {trainer.state.global_step} of {trainer.state.max_steps}; saved in {folder}; run "
                "the same command again to go on"
            )
        )
    return _result(trainer.state, trainer.seconds, job.section)


def _run(trainer: StageTrainer, interrupt: Interrupt, checkpoint: Path | None) -> None:
    """Take all steps that are left; an interruption ends them early, with everything saved."""
    with interrupt, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*", category=UserWarning)
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except TrainingFinished:
            trainer.close()
        except KeyboardInterrupt:
            if not trainer.evaluation_pending:
                raise
            trainer.save_before_evaluation()


def _result(state: TrainerState, seconds: float, section: str) -> TrainingResult:
    """Return the evaluation whose weights were kept.

    Raises:
        WorkError: no evaluation had a finite loss, so there is nothing worth keeping.
    """
    history = list(state.log_history)
    finite = [record for record in history if math.isfinite(record.get(SELECTED, math.nan))]
    if not finite:
        processes.fail_together(
            WorkError(
                f"training diverged: no evaluation had a finite validation loss; lower {section}.learning_rate and "
                "start over with --restart"
            )
        )
    return TrainingResult(max(finite, key=lambda record: float(record[SELECTED])), history, seconds)
