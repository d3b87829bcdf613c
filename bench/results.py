"""The evidence of docs/results.md: both splits of real tickets, three systems, with and without class weights.

    python bench/results.py --source ../shared/data/tickets.csv --out runs/results

For each split: prepare, pretrain the mini base further on the training split, train the classifier with balanced class
weights and without, evaluate; for the grouped split also train the generator and show three replies. Finished steps
are kept, so it can be interrupted and run again.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from backbone.config import RunConfig
from backbone.config_file import load_config
from backbone.dataset import load_part
from backbone.runs.files import read_json
from backbone.training.pretrain import load_pretrain_config, pretrain
from classifier.train import train_classifier
from eval.evaluate import Evaluation, evaluate
from generator.train import train_generator
from pipeline.two_stage import load_two_stage
from tickets.preparation.prepare import PrepareOptions, prepare

_REPLY_SPLIT = "grouped"  # replies are shown for one split
_LEVERS = {"weighted": "balanced", "unweighted": "none"}


def main() -> None:
    """Run every step that is not done yet and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="../shared/data/tickets.csv")
    parser.add_argument("--out", type=Path, default=Path("runs/results"))
    parser.add_argument("--split", action="append", choices=["grouped", "published"])
    parser.add_argument("--epochs", type=float, default=4, help="of pretraining")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="KEY=VALUE of the training runs")
    arguments = parser.parse_args()
    for split in arguments.split or ["grouped", "published"]:
        _one_split(split, arguments)


def _one_split(split: str, arguments: argparse.Namespace) -> None:
    folder: Path = arguments.out / split
    data, base = folder / "data", folder / "base"
    if not data.is_dir():
        prepare(PrepareOptions(source=arguments.source, out=data, split=split, languages=("en",)))
    if not base.is_dir():
        recipe = [f"source={data}", f"output={base}", "init_from=mini", f"training.epochs={arguments.epochs}"]
        pretrain(load_pretrain_config(None, recipe))
    evaluations, runs = {}, {}
    for name, weights in _LEVERS.items():
        config = _config(data, base, folder / name, [f"classifier.class_weights={weights}", *arguments.overrides])
        if not (config.folder / "classifier").is_dir():
            train_classifier(config)
        with_replies = split == _REPLY_SPLIT and name == "weighted"
        if with_replies and not (config.folder / "generator").is_dir():
            train_generator(config)
        evaluations[name] = evaluate(config.folder, str(data), "test", 0)
        runs[name] = read_json(config.folder / "classifier" / "run.json")
    (folder / "evaluation.json").write_text(
        json.dumps({name: asdict(evaluation) for name, evaluation in evaluations.items()}, indent=2), encoding="utf-8"
    )
    print(_markdown(split, evaluations))
    for name, record in runs.items():
        best = record["best"]
        print(
            f"- {name}: training loss {best['eval_train_loss']:.3f}, validation {best['eval_loss']:.3f}, ratio "
            f"{record['loss_ratio']:.2f}, best at epoch {best['epoch']:.1f}"
        )
    if split == _REPLY_SPLIT:
        print(_examples(folder / "weighted", data))


def _config(data: Path, base: Path, output: Path, overrides: list[str]) -> RunConfig:
    return load_config(None, [f"data.path={data}", f"base.path={base}", f"output={output}", *overrides])


def _markdown(split: str, evaluations: dict[str, Evaluation]) -> str:
    lines = [
        f"\n### {split} split\n",
        "| head | system | accuracy | macro-F1 | recall of `low` |",
        "| --- | --- | --- | --- | --- |",
    ]
    for column in ("type", "queue", "priority"):
        rows = dict(evaluations["weighted"].columns[column])
        rows["ours, balanced weights"] = rows.pop("two-stage")
        rows["ours, no weights"] = evaluations["unweighted"].columns[column]["two-stage"]
        for name, scores in rows.items():
            low = str(scores.recall.get("low", "")) if column == "priority" else ""
            lines.append(f"| {column} | {name} | {scores.accuracy} | {scores.macro_f1} | {low} |")
    return "\n".join(lines) + "\n"


def _examples(model: Path, data: Path) -> str:
    tickets = load_part(data, "test")[:3]
    parts = []
    for ticket, answer in zip(tickets, load_two_stage(model, allowed=None).answer(tickets), strict=True):
        labels = ", ".join(f"{c}: {v}" for c, v in answer.prediction.labels.items())
        truth = ", ".join(f"{c}: {v}" for c, v in ticket.labels.items())
        parts.append(f"> **{ticket.subject}** {ticket.body}\n\n{labels} (true: {truth})\n\n{answer.reply}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    main()
