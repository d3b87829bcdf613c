"""Time and peak memory of `prepare` on synthetic rows: real tickets with their words shuffled, written as CSV.

Run from the repository root: `python bench/prepare.py [ROWS] [SOURCE.csv]`. Every sixth row is a paraphrase (a few
words swapped) of an earlier one, so near-duplicate search has pairs to find.
"""

import csv
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backbone.process_memory import peak_resident
from tickets.preparation.prepare import PrepareOptions, prepare

LIMIT_SECONDS, LIMIT_GB = 90, 1.5


def write_rows(source: Path, target: Path, rows: int) -> None:
    """Write `rows` synthetic rows in the columns of `source`."""
    rng = random.Random(0)
    with source.open(encoding="utf-8", newline="") as file:
        real = list(csv.DictReader(file))
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(real[0]))
        writer.writeheader()
        body: list[str] = []
        for number in range(rows):
            row = dict(rng.choice(real))
            if number % 6 == 5:
                for _ in range(len(body) // 12):
                    a, b = rng.randrange(len(body)), rng.randrange(len(body))
                    body[a], body[b] = body[b], body[a]
            else:
                body = row["body"].split()
                rng.shuffle(body)
            writer.writerow({**row, "body": " ".join(body)})


def main() -> None:
    """Print the figures; exit code 1 when they exceed the limits for 100,000 rows."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    shared = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "tickets.csv"
    source = Path(sys.argv[2]) if len(sys.argv) > 2 else shared
    with tempfile.TemporaryDirectory() as folder:
        synthetic = Path(folder) / "synthetic.csv"
        write_rows(source, synthetic, rows)
        started = time.perf_counter()
        report = prepare(PrepareOptions(str(synthetic), Path(folder) / "out"))
        seconds = time.perf_counter() - started
        size = synthetic.stat().st_size / 1e6
    gigabytes = peak_resident() / 1e9
    duplicates = report.duplicates
    print(f"{rows:,} rows ({size:.0f} MB): {seconds:.1f} s, peak memory {gigabytes:.2f} GB")
    print(f"{duplicates.pairs:,} near-duplicate pairs in {duplicates.groups:,} groups, recall {duplicates.recall:.3f}")
    if rows <= 100_000 and (seconds > LIMIT_SECONDS or gigabytes > LIMIT_GB):
        sys.exit(f"over the limit of {LIMIT_SECONDS} s and {LIMIT_GB} GB")


if __name__ == "__main__":
    main()
