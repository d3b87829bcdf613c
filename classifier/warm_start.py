"""Starting a classifier from an earlier run's adapter and heads: `--init-from`."""

import sys
from pathlib import Path

from peft import PeftModel, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file

from backbone.base import BaseIdentity
from backbone.runs.files import sha256
from backbone.runs.layout import ADAPTER, ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE, CLASSIFIER, HEADS, LABELS, MANIFEST
from backbone.training.stage import Stage
from backbone.weights import check_floats
from classifier.head_names import TAGS, head_name
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.own_json import read_own
from tickets.plain_reason import plain_reason

HEADS_KEY = "base_model.model.heads.layers."  # what peft puts before the names of the heads' tensors


def classifier_folder(run: Path) -> Path:
    """Return the classifier's own folder in a run folder, or the folder itself where it is one."""
    return run if (run / ADAPTER).is_dir() else run / CLASSIFIER


def run_identity(run: Path) -> str:
    """Return what tells a classifier run from others, by its content.

    It is empty where there is none, which is refused later.
    """
    manifest = classifier_folder(run) / MANIFEST
    return sha256(manifest) if manifest.is_file() else ""


def start_from(model: PeftModel, run: Path, stage: Stage, space: LabelSpace) -> None:
    """Load the adapter of an earlier run into `model`, and the heads whose classes are the same.

    Raises:
        InputError: not a classifier run, or one of another base or adapter shape.
    """
    folder = classifier_folder(run)
    try:
        for weights in (folder / ADAPTER / ADAPTER_WEIGHTS, folder / HEADS):
            check_floats(weights)
        state = load_file(folder / ADAPTER / ADAPTER_WEIGHTS)
        heads = load_file(folder / HEADS)
        adapter = read_own(folder / ADAPTER / ADAPTER_CONFIG)
        shape = adapter["r"], adapter["lora_alpha"], sorted(adapter["target_modules"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(
            f"--init-from {run}: not a classifier run ({plain_reason(error)}); expected one that train-cls wrote"
        ) from None
    base = BaseIdentity.load(folder / BASE)
    if base.fingerprint != stage.base.fingerprint:
        raise InputError(
            f"--init-from {run}: trained on another base ({base.name}) than this run's {stage.base.name}; set "
            "base.path to it"
        )
    config = model.peft_config["default"]
    for key, found, expected in (
        ("rank", shape[0], config.r),
        ("alpha", shape[1], config.lora_alpha),
        ("targets", shape[2], sorted(config.target_modules)),
    ):
        if found != expected:
            raise InputError(
                f"--init-from {run}: its {key} is {found}, this run's {expected}; use --set lora.{key}={found}"
            )
    earlier = LabelSpace.load(folder / LABELS)
    same = {column for column in space.columns if earlier.columns.get(column) == space.columns[column]}
    same |= {TAGS} if earlier.tags == space.tags else set()
    fresh = model.base_model.model.heads.modules_to_save["default"].layers.state_dict()
    reused = {name: heads[name] for name in fresh if head_name(name) in same}
    set_peft_model_state_dict(
        model, state | {f"{HEADS_KEY}{name}": tensor for name, tensor in (fresh | reused).items()}
    )
    renewed = sorted({head_name(name) for name in fresh if name not in reused})
    if renewed:
        print(f"--init-from: {', '.join(renewed)} start fresh, their classes differ", file=sys.stderr)
