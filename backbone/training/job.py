"""What differs between trainings: the model, its batches, its evaluation; and the optimiser that follows from it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments
from transformers.utils import is_torch_tf32_available

from backbone.config import TrainingConfig
from backbone.device import uses_liger
from backbone.training import processes
from backbone.training.callbacks import SELECTED
from tickets.errors import InputError


@dataclass(frozen=True)
class TrainingJob:
    """Everything that differs between stages.

    `collate` turns row numbers into a batch for `model`, which returns its loss; `evaluate` returns at least `loss`
    (validation, unweighted) and `train_loss` (fixed training sample), both in evaluation mode, and what else
    `config.select_by` may name, higher being better. `section` is where `config` stands in the configuration.
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
    section: str = "training"


def make_optimizer(job: TrainingJob) -> torch.optim.Optimizer:
    """Return AdamW; matrices decay, vectors do not, and heads may learn at their own rate."""
    config = job.config
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in job.model.named_parameters():
        if parameter.requires_grad:
            is_head = job.head_parameters(name) and config.head_learning_rate is not None
            rate = config.head_learning_rate if is_head else config.learning_rate
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate or config.learning_rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()],
        fused=True,
    )


def training_arguments(job: TrainingJob, batches: int, folder: Path) -> TrainingArguments:
    """Return the Trainer's arguments for a job whose epochs have so many batches.

    Raises:
        InputError: the GPU cannot compute in the wanted format.
    """
    config = job.config
    steps = max(1, batches // config.accumulation)
    every = max(1, steps // config.evaluations_per_epoch)
    if config.max_steps > 0:
        every = min(every, config.max_steps)
    on_cpu = not torch.cuda.is_available()
    is_distributed = processes.world_size() > 1
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
