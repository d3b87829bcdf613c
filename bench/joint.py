"""The evidence for "two stages or one prompt" at mini scale: both systems, same budget, several seeds, and the levers.

    python bench/joint.py                                # everything; hours on two cores
    python bench/joint.py --split grouped --seed 42      # one cell of the table
    python bench/joint.py --split grouped --wider        # and the single prompt at double rank and at double epochs
    python bench/joint.py --levers                       # the levers of the published plan, one at a time

Real tickets, each split with the shipped base pretrained further on its own training tickets; the built-in ones with
the shipped base. In the split `halves` the base reads one half of the English training tickets and the adapters learn
the other: only there has the base not read the replies that the adapters' training loss is measured on. Every adapter
is trained for two epochs with the built-in configuration. What is done is kept under runs/joint: interrupted, run it
again. Tables are Markdown on stdout. OMP_NUM_THREADS=1 and two processes use two cores better than one process does.
"""

import argparse
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.dataset import load_part
from backbone.runs.layout import BASELINE, CLASSIFIER, GENERATOR
from backbone.training.pretrain import load_pretrain_config, pretrain
from classifier.train import train_classifier
from eval.compare import CompareOptions, compare
from eval.reply_metrics import ROUGE_L
from eval.report.page import read_report
from eval.report.verdicts import low_recall
from generator.single_prompt.train import train_baseline
from generator.train import train_generator
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.schema import write_tickets

OUT, RESULTS = Path("runs/joint"), Path("runs/results")
SOURCE = "../shared/data/tickets.csv"
SEEDS = {"grouped": (42, 43, 44), "published": (42,), "german": (42,), "halves": (42,), "sample": (42,)}
LIMIT = {"sample": 300}  # test tickets that are answered, of 752
BASE_EPOCHS = {"halves": 8}  # as many steps as four epochs of the whole
EPOCHS = [f"{stage}.training.epochs=2" for stage in (CLASSIFIER, GENERATOR, BASELINE)]
UNWEIGHTED = ["classifier.class_weights=none"]
WIDER = {  # the single prompt at twice the parameters and at twice the compute
    "2rank": ["lora.rank=64"],
    "2epochs": ["baseline.training.epochs=4"],
}
LEVERS = {
    "unweighted": UNWEIGHTED,
    "weighted": [],
    "resampled": [*UNWEIGHTED, "classifier.sampling=priority"],
    "regularised": [
        *UNWEIGHTED,
        "classifier.training.learning_rate=2.5e-4",
        "classifier.training.head_learning_rate=7.5e-4",
        "lora.dropout=0.15",
        "classifier.training.weight_decay=0.05",
    ],
    "rank8": [*UNWEIGHTED, "lora.rank=8"],
    # what early stopping would save is read off its curve: the best weights are kept with and without it
    "long": [*UNWEIGHTED, "classifier.training.epochs=5", "classifier.training.patience=50"],
}
READINGS = {"own reading": [], "the classifier's": ["generator.reading=classifier"]}
COLUMNS = ("type", "queue", "priority")


def main() -> None:
    """Train what is missing, compare, print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", action="append", choices=list(SEEDS))
    parser.add_argument("--seed", action="append", type=int)
    parser.add_argument("--wider", action="store_true", help="also the single prompt at double rank and double epochs")
    parser.add_argument("--levers", action="store_true")
    parser.add_argument("--readings", action="store_true", help="the generator on its own and the classifier's reading")
    parser.add_argument("--lever", action="append", choices=list(LEVERS), help="only this one; all without it")
    arguments = parser.parse_args()
    for split in arguments.split or list(SEEDS):
        seeds = [seed for seed in SEEDS[split] if not arguments.seed or seed in arguments.seed]
        if arguments.readings:
            _readings(split, seeds)
        elif arguments.levers:
            if split == "grouped":
                _levers(split, seeds, arguments.lever or list(LEVERS))
        else:
            _systems(split, seeds, arguments.wider)


def _systems(split: str, seeds: Sequence[int], wider: bool) -> None:
    _provide_base(split)
    reports = []
    for seed in seeds:
        main_run = _config(split, f"seed{seed}", seed, [])
        for stage, train in ((CLASSIFIER, train_classifier), (GENERATOR, train_generator), (BASELINE, train_baseline)):
            if not (main_run.folder / stage).is_dir():
                train(main_run)
        unweighted = _config(split, f"seed{seed}-unweighted", seed, UNWEIGHTED)
        if not (unweighted.folder / CLASSIFIER).is_dir():
            train_classifier(unweighted)
        if not (unweighted.folder / GENERATOR).is_dir():  # one generator serves both classifiers
            shutil.copytree(main_run.folder / GENERATOR, unweighted.folder / GENERATOR)
        runs = [main_run.folder, unweighted.folder]
        if wider and seed == SEEDS[split][0]:
            for name, overrides in WIDER.items():
                wide = _config(split, f"seed{seed}-{name}", seed, overrides)
                if not (wide.folder / BASELINE).is_dir():
                    train_baseline(wide)
                runs.append(wide.folder)
        out = OUT / split / f"seed{seed}-comparison"
        first = seed == SEEDS[split][0]
        options = CompareOptions(runs, out, with_zero_shot=first and split == "grouped", limit=LIMIT.get(split))
        compare(options if first else replace(options, timed=0))  # times of one seed are enough
        reports.append(read_report(out))
    print(f"\n### {split}\n\n{_table(reports, seeds)}\n")


def _levers(split: str, seeds: Sequence[int], names: Sequence[str]) -> None:
    _provide_base(split)
    figures: dict[str, list[Mapping[str, Any]]] = {}
    for seed in seeds:
        runs = {}
        for name in names:
            own = f"seed{seed}-{name}" if name != "weighted" else f"seed{seed}"
            config = _config(split, own, seed, LEVERS[name])
            if not (config.folder / CLASSIFIER).is_dir():
                train_classifier(config)
            runs[name] = config.folder / CLASSIFIER
        out = OUT / split / f"seed{seed}-levers"
        compare(CompareOptions(list(runs.values()), out, timed=0, with_zero_shot=False))
        systems = read_report(out)["systems"]
        for name, system in zip(runs, systems, strict=False):
            figures.setdefault(name, []).append(system)
    print(f"\n### levers, {split}, seeds {', '.join(map(str, seeds))}\n")
    print("| classifier | Priority accuracy | Priority macro-F1 | recall of low | Queue accuracy | loss ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, systems in figures.items():
        rows = [
            [s["columns"]["priority"]["accuracy"]["value"] for s in systems],
            [s["columns"]["priority"]["macro_f1"]["value"] for s in systems],
            [(low_recall(s) or {"value": 0.0})["value"] for s in systems],
            [s["columns"]["queue"]["accuracy"]["value"] for s in systems],
            [s["training"][0]["ratio"] for s in systems],
        ]
        print(f"| {name} | " + " | ".join(map(_spread, rows)) + " |")


def _readings(split: str, seeds: Sequence[int]) -> None:
    """Train one classifier per seed, and two generators that differ in whose adapter reads the ticket."""
    _provide_base(split)
    print(f"\n### whose reading, {split}\n")
    print(
        "| seed | generator | validation loss of the reply | ROUGE-L | the classifier's minus own, 95 % interval, p |"
    )
    print("| --- | --- | --- | --- | --- |")
    for seed in seeds:
        runs: list[Path] = []
        for name, overrides in zip(("own", "handed"), READINGS.values(), strict=True):
            config = _config(split, f"seed{seed}-{name}", seed, [*UNWEIGHTED, *overrides])
            if not (config.folder / CLASSIFIER).is_dir() and runs:
                shutil.copytree(runs[0] / CLASSIFIER, config.folder / CLASSIFIER)
            elif not (config.folder / CLASSIFIER).is_dir():
                train_classifier(config)
            if not (config.folder / GENERATOR).is_dir():
                train_generator(config)
            runs.append(config.folder)
        out = OUT / split / f"seed{seed}-readings"
        compare(CompareOptions(runs, out, timed=0, with_zero_shot=False))
        report = read_report(out)
        gap = report["pairs"][0]["replies"][ROUGE_L]
        # pairs are first minus second
        change = f"{-gap['value']:+.3f} ({-gap['high']:+.3f} to {-gap['low']:+.3f}), {gap['p']:.2f}"
        for name, system, change_text in zip(READINGS, report["systems"], ("", change), strict=False):
            loss = next(facts["reply"]["validation"] for facts in system["training"] if facts["reply"])
            print(f"| {seed} | {name} | {loss:.3f} | {system['replies'][ROUGE_L]['value']:.3f} | {change_text} |")


def _provide_base(split: str) -> None:
    """Prepare the tickets of a split and pretrain its base, unless that is done."""
    if split == "sample":
        return
    data, base = RESULTS / split / "data", RESULTS / split / "base"
    if not data.is_dir():
        kind, language = ("published" if split == "published" else "grouped"), ("de" if split == "german" else "en")
        prepare(PrepareOptions(source=SOURCE, out=data, split=kind, languages=(language,)))
        if split == "halves":
            _halve(data)
    if not base.is_dir():
        source = data.with_name("read-by-base") if split == "halves" else data
        recipe = [f"source={source}", f"output={base}", "init_from=mini"]
        pretrain(load_pretrain_config(None, [*recipe, f"training.epochs={BASE_EPOCHS.get(split, 4)}"]))


def _halve(data: Path) -> None:
    """Leave every second training ticket in `data`, and the others, with the same validation tickets, beside it."""
    tickets = load_part(data, "train")
    other = data.with_name("read-by-base")
    shutil.copytree(data, other)
    write_tickets(data / "train.jsonl", tickets[::2])
    write_tickets(other / "train.jsonl", tickets[1::2])


def _config(split: str, name: str, seed: int, overrides: Sequence[str]) -> RunConfig:
    locations = ["data.path=sample"]
    if split != "sample":
        locations = [f"data.path={RESULTS / split / 'data'}", f"base.path={RESULTS / split / 'base'}"]
    return load_config(None, [*locations, f"output={OUT / split / name}", f"seed={seed}", *EPOCHS, *overrides])


def _table(reports: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> str:
    """Return means over seeds with their range; runs of different seeds are matched by name without the seed."""
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for seed, report in zip(seeds, reports, strict=True):
        for system in report["systems"]:
            by_name.setdefault(system["name"].replace(f"(seed{seed})", "").replace(f"seed{seed}-", ""), []).append(
                system
            )
    head = ["system", *(f"{c}: accuracy" for c in COLUMNS), *(f"{c}: macro-F1" for c in COLUMNS)]
    head += ["recall of low", "all right", "tags", "unparsable", "ROUGE-L", "labels after, s", "answer after, s"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    for name, systems in by_name.items():
        cells = [_spread([s["columns"][c]["accuracy"]["value"] for s in systems]) for c in COLUMNS]
        cells += [_spread([s["columns"][c]["macro_f1"]["value"] for s in systems]) for c in COLUMNS]
        cells.append(_spread([(low_recall(s) or {"value": 0.0})["value"] for s in systems]))
        cells.append(_spread([s["exact_match"]["value"] for s in systems]))
        cells.append(_spread([s["tags"]["value"] for s in systems if s["tags"]]))
        cells.append(_spread([s["unparsable"]["value"] for s in systems]))
        cells.append(_spread([s["replies"][ROUGE_L]["value"] for s in systems if s["replies"]]))
        for figure in ("labels_s", "answer_s"):
            cells.append(_spread([s["cost"][figure]["value"] for s in systems if s["cost"][figure]], 2))
        lines.append(f"| {name.strip()} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: Sequence[float], digits: int = 3) -> str:
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.{digits}f}-{max(values):.{digits}f})"


if __name__ == "__main__":
    main()
