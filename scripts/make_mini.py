"""Make the shipped model folder backbone/mini: base, classifier and generator, on the built-in tickets alone.

Keeps what is already there of runs/mini-base and runs/shipped, so that it can be interrupted and run again.
"""

import shutil
from pathlib import Path

from backbone.base import mini_folder
from backbone.config import RunConfig, load_config
from backbone.pretrain import load_pretrain_config, pretrain
from classifier.train import train_classifier
from generator.train import train_generator

RUN = Path("runs/shipped")
_BASE_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "recipe.yaml")


def main() -> None:
    """Pretrain, install the base, train both adapters on it, install them."""
    recipe = load_pretrain_config(None, [])
    base = Path(recipe.output) if Path(recipe.output).is_dir() else pretrain(recipe)
    install_base(base)
    config: RunConfig = load_config(None, [f"output={RUN}"])
    for name, train in (("classifier", train_classifier), ("generator", train_generator)):
        folder = config.folder / name if (config.folder / name).is_dir() else train(config)
        shutil.rmtree(mini_folder() / name, ignore_errors=True)
        shutil.copytree(folder, mini_folder() / name)


def install_base(source: Path) -> None:
    """Copy the base, its weights in bf16: half the size, and what the frozen base is trained against."""
    import torch
    from safetensors.torch import load_file, save_file

    target = mini_folder() / "base"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in _BASE_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    state = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(source / "model.safetensors").items()}
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
