"""What the shipped mini model does on built-in test tickets it has never seen.

    python bench/mini.py --replies 200

Prints the share of replies that name the ticket's own product, facts kept, ROUGE-L, and the time a cold process takes
to print labels.
"""

import argparse
import statistics
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path

import yaml
from tqdm import tqdm

from backbone.dataset import load_part, resolve_data
from eval.faithfulness import names_product, own_facts_kept
from generator.rouge import rouge_l
from pipeline.two_stage import load_two_stage

_COLD_RUNS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", type=int, default=200)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--show", type=int, default=0, help="print so many tickets with their replies")
    arguments = parser.parse_args()
    folder = resolve_data("sample")
    tickets = load_part(folder, "test", arguments.replies)
    products = list(chain.from_iterable(yaml.safe_load((folder / "slots.yaml").read_text())["products"].values()))
    system = load_two_stage(arguments.model)
    replies: list[str] = []
    for start in tqdm(range(0, len(tickets), 16), unit="batch"):
        replies += [answer.reply or "" for answer in system.answer(tickets[start : start + 16])]
    print(
        f"replies that name the ticket's own product: {names_product(tickets, replies, products):.1%} of {len(replies)}"
    )
    for name, value in own_facts_kept(tickets, replies).items():
        print(f"{name}: {value:.1%}")
    print(f"ROUGE-L: {rouge_l(replies, [ticket.reply for ticket in tickets]):.3f}")
    print(f"labels from a cold process: median {_cold_seconds(folder):.1f} s of {_COLD_RUNS}")
    for ticket, reply in list(zip(tickets, replies, strict=True))[: arguments.show]:
        print(f"\n--- {ticket.labels}\n{ticket.text}\n>>> {reply}")


def _cold_seconds(folder: Path) -> float:
    example = sorted((folder / "examples").glob("*.txt"))[0]
    seconds = []
    for _ in range(_COLD_RUNS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "cli.py", "predict", example, "--labels-only"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
