"""What every training stage does around the loop: open its run folder, find base and data, save and publish."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbone.base import BaseIdentity, find_base, identify
from backbone.config import SAMPLE, RunConfig, TrainingConfig
from backbone.config_file import dump_config
from backbone.dataset import data_fingerprint, load_part, load_synthetic, real_fingerprint, resolve_data
from backbone.device import on_cuda, resolve_formats
from backbone.prompts import TOKENIZER_FILES, PromptEncoder
from backbone.runs.files import disk_guard, write_json
from backbone.runs.folder import check_replaceable, open_partial, paths_written_for, publish, run_record
from backbone.runs.layout import BASE, BASELINE, CHECKPOINTS, CLASSIFIER, CONFIG, GENERATOR, RUN
from backbone.training import processes
from backbone.training.cost import Shape, packs, recomputes, stage_settings
from backbone.training.token_cache import TokenCache
from tickets.cleaning.steps import CleaningSteps
from tickets.schema import Ticket
from tickets.sources import refuse_overlap

if TYPE_CHECKING:
    from backbone.training.loop import TrainingResult


@dataclass(frozen=True)
class Stage:
    """An open run of one stage: where it is written, and what it trains on.

    Attributes:
        asked: the configuration as given; `config` is the same with the formats of the base resolved for this machine.
        synthetic: examples beside `train`, for the classifier alone.
        data, real_data: fingerprints of the tickets, with and without synthetic ones.
    """

    name: str
    asked: RunConfig
    config: RunConfig
    folder: Path
    partial: Path
    base_folder: Path
    base: BaseIdentity
    encoder: PromptEncoder
    train: list[Ticket]
    synthetic: list[Ticket]
    validation: list[Ticket]
    data: str
    real_data: str
    cleaning: CleaningSteps
    packed: bool
    recompute: bool
    tokens: TokenCache

    @property
    def checkpoints(self) -> Path:
        """Where the loop keeps its checkpoints."""
        return self.partial / CHECKPOINTS

    @property
    def settings(self) -> TrainingConfig:
        """How this stage is optimised."""
        return stage_settings(self.config, self.name)


def open_stage(name: str, config: RunConfig, restart: bool = False, **inputs: str) -> Stage:
    """Resolve base, tokenizer and data and open the stage's folder, continuing an unfinished run of the same plan.

    Args:
        inputs: what else decides the result, by name.

    Raises:
        InputError: something is missing, or an unfinished run there has another configuration or other data.
    """
    processes.connect()
    asked, config = config, config.model_copy(update={"base": resolve_formats(config.base)})
    folder = config.folder / name
    base_folder = processes.broadcast_from_first(lambda: find_base(config.base.path, config.base.revision))
    base = identify(base_folder, config.base.path, config.base.revision)
    data_folder = resolve_data(config.data.path)
    data, real_data = data_fingerprint(data_folder), real_fingerprint(data_folder)
    check_output(config, name, data_folder, base_folder)
    plan: dict[str, Any] = {"config": _relevant(name, config), "data": data, "base": base.fingerprint, **inputs}
    if processes.world_size() > 1:
        plan["processes"] = processes.world_size()  # other batches
    partial = processes.broadcast_from_first(lambda: open_partial(folder, plan, restart))
    train = load_part(data_folder, "train", config.data.max_train)
    return Stage(
        name=name,
        asked=asked,
        config=config,
        folder=folder,
        partial=partial,
        base_folder=base_folder,
        base=base,
        encoder=PromptEncoder(base_folder, config.prompt.instruction),
        train=train,
        synthetic=load_synthetic(data_folder, train) if name == CLASSIFIER else [],
        validation=load_part(data_folder, "validation", config.data.max_validation),
        data=data,
        real_data=real_data,
        cleaning=CleaningSteps.of_prepared(data_folder),
        packed=packs(config, name, on_cuda()),
        recompute=recomputes(config, name, Shape.load(base_folder, config, name)),
        tokens=TokenCache(None if config.data.path == SAMPLE else data_folder),  # the package is not written to
    )


def check_output(config: RunConfig, name: str, data: Path, base: Path) -> None:
    """Refuse to write a stage where its data or base lies, or among the data.

    Raises:
        InputError: the folder of the stage and what it reads are not apart, or something else is there.
    """
    # a run may lie below its base, but not around it
    refuse_overlap([data, base / "config.json"], paths_written_for(config.folder / name), "output")
    check_replaceable(config.folder / name)


def finish(stage: Stage, result: "TrainingResult", **facts: Any) -> Path:
    """Write what explains the run, drop the checkpoints and publish the folder."""
    partial = stage.partial
    with disk_guard(partial):
        (partial / CONFIG).write_text(dump_config(stage.asked), encoding="utf-8")
        (partial / BASE).write_text(stage.base.to_json(), encoding="utf-8")
        for name in TOKENIZER_FILES:
            if (stage.base_folder / name).is_file():
                shutil.copyfile(stage.base_folder / name, partial / name)
        record = run_record(
            stage=stage.name,
            seed=stage.config.seed,
            data=stage.data,
            train_tickets=len(stage.train),
            validation_tickets=len(stage.validation),
            **({"real_data": stage.real_data} if stage.real_data != stage.data else {}),
            **({"synthetic_tickets": len(stage.synthetic)} if stage.synthetic else {}),
            seconds=result.seconds,
            precision=stage.config.base.precision,
            compute=stage.config.base.compute,
            packed=stage.packed,
            recomputed=stage.recompute,
            reading=stage.cleaning.to_dict(),
            best=result.best,
            loss_ratio=result.best["eval_loss"] / max(result.best["eval_train_loss"], 1e-9),
            **facts,
        )
        write_json(partial / RUN, record)
    publish(partial, stage.folder)
    return stage.folder


def _relevant(name: str, config: RunConfig) -> dict[str, Any]:
    """Return what of the configuration this stage reads: changing the rest must not stop it from going on."""
    record: dict[str, Any] = config.model_dump(mode="json", exclude={"name", "output", "tensorboard"})
    del record["data"]["path"], record["base"]["path"]  # their fingerprints tell, wherever they lie
    for other in {CLASSIFIER, GENERATOR, BASELINE} - {name}:
        record[other] = {"columns": record[other]["columns"]} if other == CLASSIFIER else {}
    if name == CLASSIFIER:
        del record["decoding"]
        for key in ("decode", "required_columns"):  # they matter when the weights are there; older plans lack them
            del record[name][key]
        if record[name]["layers"] is None:
            del record[name]["layers"]  # older plans lack it
    else:
        del record["decoding"]["mask_contacts"], record["decoding"]["allowed_contacts"]  # of drafts in service
    return record
