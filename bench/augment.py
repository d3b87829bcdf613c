"""What new tickets for a rare class are worth: recall of the class and macro-F1 of its column, with a control.

    python bench/augment.py                             # texts by SmolLM2 on this machine, which takes a while
    python bench/augment.py --endpoint URL --model NAME # texts by a server
    python bench/augment.py --base mini                 # also train the classifier on the mini base (an hour and more)
    python bench/augment.py --fold 0                    # one split alone

Three grouped splits whose test parts have no ticket in common. Every head is trained three times: on the training
tickets, with new tickets beside them, and with copies of real tickets of the class in the same number. Figures are
pooled over the splits; intervals are of paired differences to the training tickets alone. Answers and folders are kept
under runs/augment: interrupted, run it again. Tables are Markdown on stdout.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from backbone.config_file import load_config
from backbone.dataset import load_part, load_synthetic
from bench.folds import SEEDS, prepare_fold
from classifier.tfidf import tfidf_features
from classifier.train import train_classifier
from engines.asking import AskSettings
from eval.bootstrap import Difference, Resamples
from eval.labels import macro_f1_replicates
from pipeline.augment.plan import AugmentOptions, has
from pipeline.augment.run import augment, cache_path, render
from pipeline.two_stage import load_two_stage
from tickets.errors import WorkError
from tickets.schema import PARTS, Ticket, ticket_to_json

OUT = Path("runs/augment")
COLUMN, LABEL = "priority", "low"
PLAIN, NEW, COPIES = "training tickets", "with new tickets", "with copies"


@dataclass(frozen=True)
class Fold:
    """One split: its test tickets, and the folders that are trained on, by what is beside the training tickets."""

    number: int
    test: Sequence[Ticket]
    folders: Mapping[str, Path]

    def train(self, way: str) -> list[Ticket]:
        """Return what a head learns from."""
        real = load_part(self.folders[way], "train")
        return [*real, *load_synthetic(self.folders[way], real)]


def main() -> None:
    """Make the new tickets that are missing, and print a table of every kind of head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoint", default="", help="an OpenAI-compatible server")
    parser.add_argument("--model", default="smollm2", help="its model, or a base on this machine")
    parser.add_argument("--limit", type=int, default=60, help="tickets to ask about, per split")
    parser.add_argument("--max-tokens", type=int, default=300)
    parser.add_argument("--no-label-check", action="store_true", help="take new tickets whose label is in doubt")
    parser.add_argument("--base", choices=("mini",), help="also train the classifier on this base")
    parser.add_argument("--fold", action="append", type=int, choices=range(len(SEEDS)), help="default: all")
    arguments = parser.parse_args()
    folds = [_fold(number, arguments) for number in arguments.fold or range(len(SEEDS))]
    test = [ticket for fold in folds for ticket in fold.test]
    print(f"\n{len(test):,} test tickets, {sum(has(ticket, (COLUMN, LABEL)) for ticket in test)} of them {LABEL}\n")
    print(f"| head | beside the training tickets | recall of {LABEL} | difference | macro-F1 | difference |")
    print("| --- | --- | --- | --- | --- | --- |")
    for weights in (None, "balanced"):
        name = f"TF-IDF, {weights or 'no'} weights"
        _print(
            name,
            test,
            {way: [label for fold in folds for label in _tfidf(fold, way, weights)] for way in folds[0].folders},
        )
    if arguments.base:
        _print("mini", test, {way: [label for fold in folds for label in _mini(fold, way)] for way in folds[0].folders})


def _fold(number: int, arguments: argparse.Namespace) -> Fold:
    data, suffix = prepare_fold(number), "-unchecked" if arguments.no_label_check else ""
    name = arguments.model.replace("/", "-")
    new, copies = OUT / f"{name}{suffix}-fold{number}", OUT / f"{name}{suffix}-copies{number}"
    OUT.mkdir(parents=True, exist_ok=True)
    settings = AskSettings(
        arguments.endpoint, arguments.model, temperature=0.7, max_tokens=arguments.max_tokens, seed=SEEDS[number]
    )
    options = AugmentOptions(
        data=str(data),
        out=new,
        where=[f"{COLUMN}={LABEL}"],
        settings=settings,
        limit=arguments.limit,
        label_check=not arguments.no_label_check,
    )
    if not new.is_dir():
        answered = cache_path(OUT / f"{name}-fold{number}")
        if answered.is_file() and not cache_path(new).is_file():  # the label check changes no question
            shutil.copyfile(answered, cache_path(new))
        try:
            print(f"split {number}\n{render(augment(options))}", flush=True)
        except WorkError as error:
            print(f"split {number}: {error}", flush=True)
            _write_folder(data, new, [])
    if not copies.is_dir():
        real = load_part(data, "train")
        count = len(load_synthetic(new, real))
        parents = [ticket for ticket in real if has(ticket, (COLUMN, LABEL))]
        rows = np.random.default_rng(SEEDS[number]).choice(len(parents), count, replace=False)
        _write_folder(data, copies, [_copy(parents[row]) for row in rows.tolist()])
    return Fold(number, load_part(data, "test"), {PLAIN: data, NEW: new, COPIES: copies})


def _copy(ticket: Ticket) -> Ticket:
    return replace(ticket, id=f"{ticket.id}~copy", reply="", synthetic=True, parent=ticket.id)


def _write_folder(data: Path, folder: Path, added: Sequence[Ticket]) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name in (*(f"{part}.jsonl" for part in PARTS), "report.json"):
        shutil.copyfile(data / name, partial / name)
    with (partial / "train.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(ticket_to_json(ticket) + "\n" for ticket in added)
    partial.rename(folder)


def _tfidf(fold: Fold, way: str, weights: str | None) -> list[str]:
    train = [ticket for ticket in fold.train(way) if COLUMN in ticket.labels]
    features, asked = tfidf_features(train, fold.test)
    model = LogisticRegression(C=10.0, class_weight=weights, max_iter=1000)
    model.fit(features, [ticket.labels[COLUMN] for ticket in train])
    return [str(label) for label in model.predict(asked)]


def _mini(fold: Fold, way: str) -> list[str]:
    output = OUT / f"mini-{fold.folders[way].name}"
    overrides = [f"data.path={fold.folders[way]}", f"output={output}", f"seed={SEEDS[fold.number]}"]
    config = load_config(None, overrides)
    if not (output / "classifier").is_dir():
        train_classifier(config)
    answers = load_two_stage(output, labels_only=True).answer(fold.test, labels_only=True)
    return [answer.prediction.labels[COLUMN] for answer in answers]


def _print(head: str, test: Sequence[Ticket], labels: Mapping[str, Sequence[str]]) -> None:
    resamples, truth = Resamples(len(test)), [ticket.labels[COLUMN] for ticket in test]
    recalls = {
        way: np.array([float(g == t) if t == LABEL else np.nan for g, t in zip(given, truth, strict=True)])
        for way, given in labels.items()
    }
    f1 = {way: macro_f1_replicates(truth, given, resamples) for way, given in labels.items()}
    for way in labels:
        cells = [f"{np.nanmean(recalls[way]):.3f}", "", f"{f1[way][-1]:.3f}", ""]
        if way != PLAIN:
            cells[1] = _shown(resamples.difference(recalls[way], recalls[PLAIN]))
            cells[3] = _shown(resamples.replicate_difference(f1[way], f1[PLAIN]))
        print(f"| {head} | {way.removeprefix('with ')} | " + " | ".join(cells) + " |", flush=True)


def _shown(difference: Difference) -> str:
    return f"{difference.value:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


if __name__ == "__main__":
    main()
