"""Whether `predict-batch` keeps up with its engine: both in turn, on the same tickets, with the same bundle.

    PYTHONPATH=. python bench/load.py --model bundle --tickets 2000

The engine's own rate is that of a closed list: all prompts are encoded before, labels are read and replies written in
one go, nothing is parsed or saved. Prints both rates of every round and their ratio, that of processor time too, which
tells more on a machine that does other things; and the memory of the batch process at a quarter of its time and at the
end.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from backbone.dataset import load_part, resolve_data
from backbone.runs.layout import CLASSIFIER, GENERATOR
from bench.cpu_tools import memory
from bench.cpu_work import timed
from engines.writing import write_all
from pipeline.batch import BatchOptions, predict_batch
from pipeline.engine_choice import EngineChoice
from pipeline.two_stage import load_two_stage
from tickets.schema import Ticket


def main() -> None:
    """Measure in turn and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="bundle with a GGUF")
    parser.add_argument("--tickets", type=int, default=2000)
    parser.add_argument("--together", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = resolve_data("sample")
    tickets = [ticket for part in ("test", "validation", "train") for ticket in load_part(folder, part)]
    tickets = (tickets * (arguments.tickets // len(tickets) + 1))[: arguments.tickets]
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](arguments.model, tickets, arguments.together)))
        return
    ratios, processor = [], []
    for number in range(arguments.rounds):
        figures: dict[str, float] = {}
        for side in SIDES:
            done = subprocess.run([sys.executable, *sys.argv, "--side", side], stdout=subprocess.PIPE, check=True)
            figures |= json.loads(done.stdout)
        ratios.append(figures["batch"] / figures["engine"])
        processor.append(figures["engine processor s"] / figures["batch processor s"])
        print(json.dumps({"round": number + 1, **figures, "ratio": ratios[-1]}), flush=True)
    medians = f"{statistics.median(ratios):.3f} of the rate, {statistics.median(processor):.3f} by processor time"
    print(f"median {medians}; {len(tickets):,} tickets, {arguments.together} at once")


def engine_alone(model: Path, tickets: list[Ticket], together: int) -> dict[str, float]:
    """Return answers per second of the engine; the prompts of the replies hold the labels that it gives."""
    system = load_two_stage(model, choice=EngineChoice("llama", together))
    engine: Any = system.label_engine
    classifier, generator = system.classifier, system.generator
    assert generator
    prompts = [prompt.ids for prompt in classifier.prompts(tickets)]
    labels = [prediction.labels for prediction in classifier.predict(engine.encode(prompts, CLASSIFIER))]
    replies = [prompt.ids for prompt in generator.prompts(tickets, labels)]
    options, shared_prefix = generator.decoding, generator.shared_prefix(replies)

    def answer() -> None:
        engine.encode(prompts, CLASSIFIER)
        write_all(engine, replies, GENERATOR, options, shared_prefix=shared_prefix)

    return measured("engine", len(tickets), answer)


def batch(model: Path, tickets: list[Ticket], together: int) -> dict[str, float]:
    """Return answers per second of `predict-batch` once the model is loaded, and resident memory, GB."""
    choice = EngineChoice("llama", together)
    system = load_two_stage(model, choice=choice)
    with tempfile.TemporaryDirectory() as folder, patch("pipeline.batch.load_two_stage", lambda *_: system):
        source, out = Path(folder) / "tickets.jsonl", Path(folder) / "answers.jsonl"
        rows = [json.dumps({"subject": ticket.subject, "body": ticket.body}) for ticket in tickets]
        source.write_text("\n".join(rows) + "\n", encoding="utf-8")
        resident: list[float] = []
        done = threading.Event()

        def watch() -> None:
            while not done.wait(0.5):
                resident.append(memory("self")["VmRSS"])

        watcher = threading.Thread(target=watch)
        watcher.start()
        figures = measured("batch", len(tickets), lambda: predict_batch(BatchOptions(str(source), out), model, choice))
        done.set()
        watcher.join()
    return {
        **figures,
        "GB at a quarter": resident[len(resident) // 4],
        "GB at the end": memory("self")["VmRSS"],
    }


def measured(side: str, count: int, action: Callable[[], Any]) -> dict[str, float]:
    """Return answers per second, and seconds of processor time."""
    before = time.process_time()
    seconds = timed(action)
    return {side: count / seconds, f"{side} processor s": time.process_time() - before}


SIDES: dict[str, Callable[[Path, list[Ticket], int], dict[str, float]]] = {"engine": engine_alone, "batch": batch}


if __name__ == "__main__":
    main()
