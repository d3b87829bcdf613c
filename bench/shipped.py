"""What the shipped models do on built-in test tickets that they have never seen.

    python bench/shipped.py --model smollm2 --replies 200
    python bench/shipped.py --model mini --replies 200

Prints, for English and German tickets apart: accuracy of the labels beside TF-IDF, the share of replies that name the
ticket's own product, another one, or a number that is not in the ticket, the same for the human replies, and ROUGE-L.
Then what a cold process takes: seconds until the labels, the reply's first word and the end, and its memory.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import yaml
from tqdm import tqdm

from backbone.dataset import load_part, resolve_data
from eval.faithfulness import names_other_product, names_product, states_unknown_fact
from eval.references import tfidf_regression
from generator.rouge import rouge_l
from pipeline.engine_choice import EngineChoice
from pipeline.two_stage import load_two_stage
from tickets.schema import Answer, Ticket

COLUMNS = ("type", "queue", "priority")
LANGUAGES = {"en": "English", "de": "German"}
_TOGETHER = 16
_COLD_RUNS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, help="labelled tickets; all test tickets without it")
    parser.add_argument("--replies", type=int, default=200, help="answered tickets, at most those labelled")
    parser.add_argument("--model", type=Path, default=Path("smollm2"))
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--show", type=int, default=0, help="print so many tickets with their replies")
    arguments = parser.parse_args()
    folder = resolve_data("sample")
    tickets = load_part(folder, "test", arguments.labels)
    products = list(chain.from_iterable(yaml.safe_load((folder / "slots.yaml").read_text())["products"].values()))
    # before the model is loaded here: a child's memory counts from that of its parent
    for run in ("its first", "median of later"):
        colds = [_cold_run(folder, arguments.model) for _ in range(1 if run == "its first" else _COLD_RUNS)]
        labels, word, end, memory = (statistics.median(values) for values in zip(*map(_figures, colds), strict=True))
        print(
            f"\ncold process ({run}): labels {labels:.2f} s, first word {word:.2f} s, end {end:.2f} s, {memory:.0f} MB"
        )
    system = load_two_stage(arguments.model, choice=EngineChoice(arguments.engine, _TOGETHER), allowed=None)
    labelled = system.answer(tickets, labels_only=True)
    answered: list[Answer] = []
    for start in tqdm(range(0, arguments.replies, _TOGETHER), unit="batch"):
        answered += system.answer(tickets[start : min(start + _TOGETHER, arguments.replies)])
    reference = tfidf_regression(load_part(folder, "train"), tickets, COLUMNS)
    for code, language in LANGUAGES.items():
        rows = [i for i, ticket in enumerate(tickets) if ticket.language == code]
        print(f"\n{language}, labels of {len(rows)} tickets: accuracy, and that of TF-IDF + logistic regression")
        for column in COLUMNS:
            ours = _accuracy(tickets, [answer.prediction.labels[column] for answer in labelled], rows, column)
            theirs = _accuracy(tickets, [labels[column] for labels in reference], rows, column)
            print(f"  {column:<10} {ours:.3f}  {theirs:.3f}")
        rows = [row for row in rows if row < arguments.replies]
        _print_replies([tickets[row] for row in rows], [answered[row].reply or "" for row in rows], products)
    for ticket, answer in list(zip(tickets, answered, strict=False))[: arguments.show]:
        print(f"\n--- {dict(ticket.labels)}\n{ticket.text}\n>>> {answer.reply}")


def _print_replies(tickets: Sequence[Ticket], replies: Sequence[str], products: Sequence[str]) -> None:
    human = [ticket.reply for ticket in tickets]
    print(f"{len(tickets)} replies, and the human ones")
    for name, share in (("name the product", names_product), ("name another one", names_other_product)):
        print(f"  {name:<22} {share(tickets, replies, products):.1%}  {share(tickets, human, products):.1%}")
    ours, theirs = (states_unknown_fact(tickets, texts) for texts in (replies, human))
    print(f"  {'state unknown numbers':<22} {ours:.1%}  {theirs:.1%}")
    print(f"  {'ROUGE-L':<22} {rouge_l(replies, human):.3f}")


def _accuracy(tickets: Sequence[Ticket], given: Sequence[str], rows: Sequence[int], column: str) -> float:
    return sum(given[row] == tickets[row].labels[column] for row in rows) / len(rows)


@dataclass(frozen=True)
class _ColdRun:
    labels: float
    first_word: float
    end: float
    megabytes: float


def _figures(run: _ColdRun) -> tuple[float, float, float, float]:
    return run.labels, run.first_word, run.end, run.megabytes


def _cold_run(folder: Path, model: Path) -> _ColdRun:
    """Start a process on an example, and note when its lines come."""
    example = sorted((folder / "examples").glob("*.txt"))[0]
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "cli.py", "predict", example, "--model", model],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    seen: dict[str, float] = {}
    text = b""
    while part := os.read(process.stdout.fileno(), 4096):
        text += part
        for name, mark in (("labels", b"review"), ("word", b"reply")):
            if mark in text:
                seen.setdefault(name, time.perf_counter() - start)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"duet predict ended with {os.waitstatus_to_exitcode(status)}")
    return _ColdRun(seen["labels"], seen["word"], time.perf_counter() - start, usage.ru_maxrss / 1000)


if __name__ == "__main__":
    main()
