"""The loss of one training step is that of the CPU in fp32: on a GPU where there is one, else on the CPU in bf16.

    PYTHONPATH=. python tests/test_gpu.py STAGE KEY=VALUE...      # prints the loss of one step

Where there is a GPU, the test starts this for the CPU's loss, in a process that does not see the GPU.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from transformers import Trainer

from backbone.config import RunConfig
from backbone.config_file import load_config
from classifier.train import train_classifier
from generator.train import train_generator
from tests.conftest import as_overrides

pytestmark = [pytest.mark.slow, pytest.mark.gpu]

ROOT = Path(__file__).parent.parent
TRAIN = {"classifier": train_classifier, "generator": train_generator}


class _Stepped(Exception):
    """Ends a training after its first step; its argument is the loss."""


def loss_of_one_step(stage: str, overrides: Sequence[str]) -> float:
    step = Trainer.training_step

    def stepped(*arguments: object, **options: object) -> None:
        raise _Stepped(float(step(*arguments, **options)))

    with pytest.MonkeyPatch.context() as patch, pytest.raises(_Stepped) as ended:
        patch.setattr(Trainer, "training_step", stepped)
        TRAIN[stage](load_config(None, list(overrides)))
    return float(ended.value.args[0])


def loss_on_cpu(stage: str, overrides: Sequence[str]) -> float:
    if not torch.cuda.is_available():
        return loss_of_one_step(stage, overrides)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, stage, *overrides]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return float(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("stage", list(TRAIN))
def test_one_step_has_the_loss_of_fp32_on_the_cpu(
    make_config: Callable[..., RunConfig], tmp_path: Path, stage: str
) -> None:
    settings = as_overrides(make_config(lora__dropout=0.0))
    packing = f"{stage}.training.packing"
    exact = loss_on_cpu(stage, [*settings, f"{packing}=false", f"output={tmp_path / 'exact'}"])
    for packed in ("false", "true"):
        bf16 = ["base.precision=bf16", "base.compute=bf16", f"{packing}={packed}", f"output={tmp_path / packed}"]
        assert loss_of_one_step(stage, [*settings, *bf16]) == pytest.approx(exact, rel=0.02)


if __name__ == "__main__":
    print(loss_of_one_step(sys.argv[1], sys.argv[2:]))
