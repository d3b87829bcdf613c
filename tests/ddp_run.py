"""One process of a training that `torchrun` starts: `ddp_run.py STAGE KEY=VALUE ...`.

With DUET_TEST_PARTS=N in a single process, every batch is what N processes would share, in one piece. With
DUET_TEST_STOP=N, the run is killed after step N. Each process writes the tokens of its batches to OUTPUT.tokens.RANK.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from backbone.config_file import load_config
from backbone.training import loop, processes, trainer
from backbone.training.sampler import TokenBudgetSampler

torch.set_num_threads(1)
PARTS = int(os.environ.get("DUET_TEST_PARTS", "0"))
STOP = int(os.environ.get("DUET_TEST_STOP", "0"))


class WholeSampler(TokenBudgetSampler):
    """The batches of all parts, joined."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "world_size": PARTS})
        self._others = [
            TokenBudgetSampler(*args, **{**options, "world_size": PARTS, "rank": part}) for part in range(PARTS)
        ]

    def set_epoch(self, epoch: int) -> None:
        for sampler in self._others:
            sampler.set_epoch(epoch)

    def plan(self) -> list[list[int]]:
        return [
            [row for part in step for row in part]
            for step in zip(*(sampler.plan() for sampler in self._others), strict=True)
        ]


def main() -> None:
    from classifier.train import train_classifier
    from generator.train import train_generator

    stage, *overrides = sys.argv[1:]
    config = load_config(None, overrides)
    if PARTS:
        loop.TokenBudgetSampler = WholeSampler  # type: ignore[misc, attr-defined]
    batch_tokens: list[int] = []
    compute = trainer.StageTrainer.training_step

    def counted(self: Any, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        batch_tokens.append(int(inputs["attention_mask"].sum()))
        if STOP and len(batch_tokens) > STOP:
            os._exit(9)
        return compute(self, model, inputs, *args, **options)

    trainer.StageTrainer.training_step = counted  # type: ignore[method-assign]
    {"classifier": train_classifier, "generator": train_generator}[stage](config)
    Path(f"{config.folder}.tokens.{processes.rank()}").write_text(json.dumps(batch_tokens), encoding="utf-8")


if __name__ == "__main__":
    main()
