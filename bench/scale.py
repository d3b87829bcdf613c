"""How `predict-batch` grows: labels of 1,000, 10,000 and 100,000 tickets, in this process and by Ray workers.

    python bench/scale.py                                # all sizes; needs `pip install 'ticket-duet[ray]'`
    python bench/scale.py --tickets 10000 --repeats 3    # one size, medians of three runs that take turns

Each run is a command of its own, with one core per worker. A run of one ticket is measured beside it: starting Ray and
opening the model. The rate is of the time beyond that. Memory is the largest resident set of any one process.
"""

import argparse
import csv
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

SOURCE = Path("../shared/data/tickets.csv")
SIZES = (1_000, 10_000, 100_000)
SHARD_ROWS = 500
WAYS = {"this process": (), "1 Ray worker": ("--workers", "1"), "2 Ray workers": ("--workers", "2")}


def main() -> None:
    """Print a row per size and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tickets", type=int, action="append", help="how many; repeatable (default: all sizes)")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--model", default="mini")
    arguments = parser.parse_args()
    print("| tickets | by | seconds | of these, start | tickets/s beyond the start | largest process |")
    print("| --- | --- | --- | --- | --- | --- |")
    with TemporaryDirectory() as scratch:
        for tickets in arguments.tickets or SIZES:
            source, single = Path(scratch) / f"{tickets}.csv", Path(scratch) / "1.csv"
            write_tickets(source, tickets)
            write_tickets(single, 1)
            runs = {name: [run(source, Path(scratch) / "out", words, arguments.model)] for name, words in WAYS.items()}
            starts = {
                name: [run(single, Path(scratch) / "out", words, arguments.model)] for name, words in WAYS.items()
            }
            for _ in range(arguments.repeats - 1):
                for name, words in WAYS.items():
                    runs[name].append(run(source, Path(scratch) / "out", words, arguments.model))
                    starts[name].append(run(single, Path(scratch) / "out", words, arguments.model))
            for name in WAYS:
                seconds = statistics.median(seconds for seconds, _ in runs[name])
                start = statistics.median(seconds for seconds, _ in starts[name])
                memory = max(size for _, size in runs[name])
                rate = tickets / (seconds - start)
                print(f"| {tickets:,} | {name} | {seconds:.1f} | {start:.1f} | {rate:.0f} | {memory / 1e9:.2f} GB |")


def write_tickets(path: Path, count: int) -> None:
    """Write so many of the real tickets, in turn, with ids of their own."""
    with SOURCE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "subject", "body"])
        writer.writerows([i, rows[i % len(rows)]["subject"], rows[i % len(rows)]["body"]] for i in range(count))


def run(source: Path, out: Path, words: tuple[str, ...], model: str) -> tuple[float, int]:
    """Answer a file into a folder; returns seconds, and bytes of the largest process."""
    ray = ("--ray", "local", "--threads", "1", *words) if words else ()
    shards = ("--shard-rows", str(SHARD_ROWS), "--labels-only", "--restart")
    command = [
        sys.executable,
        "cli.py",
        "predict-batch",
        str(source),
        "--out",
        f"{out}/",
        "--model",
        model,
        *shards,
        *ray,
    ]
    environment = {**os.environ, "DUET_THREADS": "1" if not words else words[-1], "OMP_NUM_THREADS": "1"}
    largest, done = 0, threading.Event()

    def watch(process: psutil.Process) -> None:
        nonlocal largest
        while not done.wait(0.5):
            workers = [one for one in psutil.process_iter() if "ray::Worker" in " ".join(_command(one))]
            for one in (process, *workers):
                try:
                    largest = max(largest, one.memory_info().rss)
                except psutil.Error:
                    continue

    begin = time.perf_counter()
    process = subprocess.Popen([*command, *shards, *ray], env=environment, stderr=subprocess.PIPE, text=True)
    watcher = threading.Thread(target=watch, args=(psutil.Process(process.pid),))
    watcher.start()
    _, said = process.communicate()
    seconds = time.perf_counter() - begin
    done.set()
    watcher.join()
    if process.returncode:
        sys.exit(said)
    return seconds, largest


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


if __name__ == "__main__":
    main()
