"""What of a run may leave the machine: no ticket, id, path or contact of the team; only what the model needs."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from backbone.base import BaseIdentity
from backbone.config import MINI, SAMPLE, UNPUBLISHED, DataConfig, RunConfig, SinglePromptConfig
from backbone.config_file import dump_config
from backbone.hub.files import LIMITS
from backbone.runs.files import read_json, sha256, write_json
from backbone.runs.layout import (
    ADAPTER,
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    BASE,
    CALIBRATION,
    CLASSIFIER_PREFIX,
    CONFIG,
    HEADS,
    MANIFEST,
    RUN,
)
from backbone.shipped import SMOLLM2
from pipeline.model_folder import StageFolder
from tickets.errors import InputError
from tickets.plain_reason import plain_reason
from tickets.sources import resolved, source_path

# of run.json: what says how good the model is and how to use it. Left out are the fingerprint of the tickets, counts
# per class, the machine, and what a later version may add
_RECORDED = (
    "stage",
    "seed",
    "train_tickets",
    "validation_tickets",
    "seconds",
    "precision",
    "compute",
    "packed",
    "recomputed",
    "reading",
    "best",
    "loss_ratio",
    "calibrated",
    "automated",
    "decode",
    "generated",
    CLASSIFIER_PREFIX,
    "max_length",
    "versions",
    "python",
)
_COUNTS = "confusion"  # end of a key: how many tickets of each class the team has
_TOKENIZER_PATHS = (
    "name_or_path",
    "_name_or_path",
    "tokenizer_file",
    "vocab_file",
    "merges_file",
    "special_tokens_map_file",
    "cache_dir",
)
_WEIGHTS = (HEADS, f"{ADAPTER}/{ADAPTER_WEIGHTS}")
_SHORTEST_PATH = 6  # characters of a path that is looked for: `/srv` may stand in an instruction


@dataclass(frozen=True)
class PublishedStage:
    """The files of one stage as they are published, written to a folder.

    Attributes:
        left_out: names of the run's files that are not published.
        without_contacts: the team's allowed contacts were taken out of the configuration.
    """

    left_out: tuple[str, ...]
    without_contacts: bool


def write_published(stage: StageFolder, target: Path, name: str) -> PublishedStage:
    """Write what is published of a stage into a new folder; large files become links to those of the run.

    Args:
        name: takes the place of the run's own name.

    Raises:
        InputError: a file of the run is not what training writes, or holds a path of this machine.
    """
    base = public_base(stage.base)
    (target / ADAPTER).mkdir(parents=True)
    (target / BASE).write_text(base.to_json(), encoding="utf-8")
    (target / CONFIG).write_text(dump_config(_config(stage.config, base, name)), encoding="utf-8")
    write_json(target / RUN, _record(stage.path))
    write_json(target / ADAPTER / ADAPTER_CONFIG, _adapter_config(stage.path, base))
    if (stage.path / CALIBRATION).is_file():
        calibration = read_json(stage.path / CALIBRATION)
        write_json(target / CALIBRATION, {key: calibration.get(key) for key in ("heads", "tag_threshold")})
    if (stage.path / "tokenizer_config.json").is_file():
        settings = read_json(stage.path / "tokenizer_config.json")
        kept = {key: value for key, value in settings.items() if key not in _TOKENIZER_PATHS}
        write_json(target / "tokenizer_config.json", kept)
    for file in LIMITS:
        if (stage.path / file).is_file() and not (target / file).exists():
            _link(stage.path / file, target / file)
    _refuse_metadata(target)
    _refuse_paths(stage, target)
    sums = {file: sha256(target / file) for file in LIMITS if (target / file).is_file()}
    write_json(target / MANIFEST, {"files": sums})
    there = [path.relative_to(stage.path).as_posix() for path in stage.path.rglob("*") if path.is_file()]
    left_out = sorted(file for file in there if file not in (*sums, MANIFEST))
    return PublishedStage(tuple(left_out), bool(stage.config.decoding.allowed_contacts))


def public_base(base: BaseIdentity) -> BaseIdentity:
    """Return what may be said of a base: the name of a shipped one or of a hub's, or that it is not published."""
    if base.name in (MINI, SMOLLM2):
        return BaseIdentity(base.name, None, base.fingerprint)
    # only where the run says so: a name such as models/qwen may be a folder as well
    if f"models--{base.name.replace('/', '--')}" in Path(base.folder).parts and not source_path(base.name).exists():
        return BaseIdentity(base.name, base.revision, base.fingerprint)
    return BaseIdentity(UNPUBLISHED, None, base.fingerprint)


def _config(config: RunConfig, base: BaseIdentity, name: str) -> RunConfig:
    data = DataConfig(path=SAMPLE if config.data.path == SAMPLE else UNPUBLISHED)
    return config.model_copy(
        update={
            "name": name,
            "output": None,
            "tensorboard": False,
            "data": data,
            "base": config.base.model_copy(update={"path": base.name, "revision": base.revision}),
            "baseline": SinglePromptConfig(),  # of the system that is not published
            "decoding": config.decoding.model_copy(update={"allowed_contacts": ()}),
        }
    )


def _record(folder: Path) -> dict[str, Any]:
    record = read_json(folder / RUN)
    return {key: _without_counts(record[key]) for key in _RECORDED if key in record}


def _without_counts(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without_counts(item) for key, item in value.items() if not str(key).endswith(_COUNTS)}


def _adapter_config(folder: Path, base: BaseIdentity) -> dict[str, Any]:
    return {**read_json(folder / ADAPTER / ADAPTER_CONFIG), "base_model_name_or_path": base.name, "revision": None}


def _link(source: Path, target: Path) -> None:
    """Let a name lead to a file of the run; where the system has no links, copy it."""
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)


def _refuse_metadata(folder: Path) -> None:
    """Refuse weights whose header holds texts: training writes none but the format."""
    for name in _WEIGHTS:
        if not (folder / name).is_file():
            continue
        try:
            with safe_open(folder / name, framework="numpy") as tensors:
                texts = tensors.metadata() or {}
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"{folder / name}: not weights ({plain_reason(error)}); train the run again") from None
        if set(texts) - {"format"}:
            raise InputError(
                f"{(folder / name).resolve()}: its header holds {', '.join(sorted(texts))[:200]}, expected no texts "
                "beside the weights; train the run again"
            )


def _refuse_paths(stage: StageFolder, folder: Path) -> None:
    """Refuse a text that holds a path of this machine: the reductions above leave none, an instruction may have one."""
    paths = [Path.home(), stage.path, source_path(stage.base.folder), source_path(stage.config.data.path)]
    texts = {str(resolved(path)) for path in paths} | {stage.base.folder, str(Path.home())}
    private = [text for text in texts if len(text) >= _SHORTEST_PATH and text.count("/") + text.count("\\") > 1]
    for file in LIMITS:
        if file in (*_WEIGHTS, "tokenizer.json") or not (folder / file).is_file():
            continue
        content = (folder / file).read_text(encoding="utf-8")
        found = next((text for text in private if text in content), None)
        if found is not None:
            raise InputError(
                f"{stage.path / file}: would publish the path {found}; expected no path of this machine in a published "
                "file; take it out of prompt.instruction and train again"
            )
