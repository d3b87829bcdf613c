"""What every training stage does around the loop: open its run folder, find base and data, save and publish."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbone.base import BaseIdentity, find_base, identify
from backbone.config import RunConfig, dump_config
from backbone.dataset import data_fingerprint, load_part, resolve_data
from backbone.prompts import TOKENIZER_FILES, PromptEncoder
from backbone.runs import CHECKPOINTS, disk_guard, open_partial, publish, run_record, write_json
from tickets.schema import Ticket

if TYPE_CHECKING:
    from torch import Tensor

    from backbone.training import TrainingResult

CLASSIFIER, GENERATOR, BASELINE = "classifier", "generator", "baseline"
ADAPTER, HEADS, LABELS, CALIBRATION, BASE, RUN = (
    "adapter",
    "heads.safetensors",
    "labels.json",
    "calibration.json",
    "base.json",
    "run.json",
)
METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"


@dataclass(frozen=True)
class Stage:
    """An open run of one stage: where it is written, and what it trains on."""

    name: str
    config: RunConfig
    folder: Path
    partial: Path
    base_folder: Path
    base: BaseIdentity
    encoder: PromptEncoder
    train: list[Ticket]
    validation: list[Ticket]
    data: str

    @property
    def checkpoints(self) -> Path:
        """Where the loop keeps its checkpoints."""
        return self.partial / CHECKPOINTS


def open_stage(name: str, config: RunConfig, restart: bool = False, **inputs: str) -> Stage:
    """Resolve base, tokenizer and data and open the stage's folder, continuing an unfinished run of the same plan.

    Args:
        inputs: what else decides the result, by name.

    Raises:
        InputError: something is missing, or an unfinished run there has another configuration or other data.
    """
    folder = config.folder / name
    base_folder = find_base(config.base.path, config.base.revision)
    base = identify(base_folder, config.base.path, config.base.revision)
    data_folder = resolve_data(config.data.path)
    data = data_fingerprint(data_folder)
    plan = {"config": _relevant(name, config), "data": data, "base": base.fingerprint, **inputs}
    partial = open_partial(folder, plan, restart)
    return Stage(
        name=name,
        config=config,
        folder=folder,
        partial=partial,
        base_folder=base_folder,
        base=base,
        encoder=PromptEncoder(base_folder, config.prompt.instruction),
        train=load_part(data_folder, "train", config.data.max_train),
        validation=load_part(data_folder, "validation", config.data.max_validation),
        data=data,
    )


def save_adapter(stage: Stage, model: Any) -> "dict[str, Tensor]":
    """Write the LoRA weights as an ordinary peft adapter; return the other trained tensors by name."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    lora = {name: tensor.contiguous().cpu() for name, tensor in state.items() if "lora_" in name}
    config = model.peft_config["default"]
    config.modules_to_save, config.inference_mode = None, True
    config.base_model_name_or_path, config.task_type = stage.base.name, None
    with disk_guard(stage.partial):
        (stage.partial / ADAPTER).mkdir(exist_ok=True)
        config.save_pretrained(str(stage.partial / ADAPTER))
        save_file(lora, stage.partial / ADAPTER / "adapter_model.safetensors")
    return {name: tensor.contiguous().cpu() for name, tensor in state.items() if name not in lora}


def finish(stage: Stage, result: "TrainingResult", **facts: Any) -> Path:
    """Write what explains the run, drop the checkpoints and publish the folder."""
    partial = stage.partial
    with disk_guard(partial):
        (partial / "config.yaml").write_text(dump_config(stage.config), encoding="utf-8")
        (partial / BASE).write_text(stage.base.to_json(), encoding="utf-8")
        for name in TOKENIZER_FILES:
            if (stage.base_folder / name).is_file():
                shutil.copyfile(stage.base_folder / name, partial / name)
        with (partial / METRICS).open("w", encoding="utf-8") as out:
            out.writelines(_json_line(record) for record in result.history)
        record = run_record(
            stage=stage.name,
            seed=stage.config.seed,
            data=stage.data,
            train_tickets=len(stage.train),
            validation_tickets=len(stage.validation),
            seconds=result.seconds,
            best=result.best,
            loss_ratio=result.best["eval_loss"] / max(result.best["eval_train_loss"], 1e-9),
            **facts,
        )
        write_json(partial / RUN, record)
    publish(partial, stage.folder)
    return stage.folder


def _relevant(name: str, config: RunConfig) -> dict[str, Any]:
    """What of the configuration this stage reads: changing the rest must not stop it from going on."""
    record: dict[str, Any] = config.model_dump(mode="json", exclude={"name", "output"})
    for other in {CLASSIFIER, GENERATOR, BASELINE} - {name}:
        record[other] = {"columns": record[other]["columns"]} if other == CLASSIFIER else {}
    if name == CLASSIFIER:
        del record["decoding"]
    return record


def _json_line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
