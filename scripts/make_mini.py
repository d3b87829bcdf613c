"""Make the shipped bundle backbone/mini: base, classifier and generator, on the built-in tickets alone.

Its labels also come as an int8 ONNX graph, which answers without torch; GGUF files and the fp32 graph would take the
folder past 30 MB. Keeps what is already there of runs/mini-base and runs/shipped, so that it can be interrupted and run
again.
"""

import json
import shutil
from pathlib import Path

from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.runs.files import write_json
from backbone.runs.layout import MANIFEST
from backbone.shipped import mini_folder
from backbone.training.pretrain import load_pretrain_config, pretrain
from classifier.train import train_classifier
from generator.train import train_generator
from pipeline.export.bundle import BUNDLE, CARD, CHECK, NO_GGUF, ONNX_FP32, ONNX_INT8
from pipeline.export.export import export
from pipeline.export.options import ExportOptions

RUN, GRAPHS = Path("runs/shipped"), Path("runs/shipped-bundle")
_BASE_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "recipe.yaml")


def main() -> None:
    """Pretrain, install the base, train both adapters on it, install them and the graph of the labels."""
    recipe = load_pretrain_config(None, [])
    base = Path(recipe.output) if Path(recipe.output).is_dir() else pretrain(recipe)
    install_base(base)
    config: RunConfig = load_config(None, [f"output={RUN}"])
    for name, train in (("classifier", train_classifier), ("generator", train_generator)):
        folder = config.folder / name if (config.folder / name).is_dir() else train(config)
        shutil.rmtree(mini_folder() / name, ignore_errors=True)
        shutil.copytree(folder, mini_folder() / name)
    install_graph()


def install_graph() -> None:
    """Export the folder as it stands, checked like every export, and take over all but the fp32 graph."""
    target = mini_folder()
    (target / MANIFEST).unlink(missing_ok=True)  # of the bundle that is replaced
    shutil.rmtree(GRAPHS, ignore_errors=True)
    print(export(ExportOptions(None, GRAPHS, quant=NO_GGUF, onnx=True)))
    left_out = Path(ONNX_FP32).parts[0]
    manifest = json.loads((GRAPHS / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"] = {name: total for name, total in manifest["files"].items() if Path(name).parts[0] != left_out}
    for name, run in manifest[BUNDLE]["runs"].items():
        run["path"] = name
    write_json(GRAPHS / MANIFEST, manifest)
    shutil.rmtree(target / Path(ONNX_INT8).parts[0], ignore_errors=True)
    for name in (Path(ONNX_INT8).parts[0], CHECK, CARD, MANIFEST):
        copy = shutil.copytree if (GRAPHS / name).is_dir() else shutil.copyfile
        copy(GRAPHS / name, target / name)


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
