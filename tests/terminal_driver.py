"""Many commands in one process, for a test that listens at its terminal.

    python tests/terminal_driver.py FILE

FILE has the words of one command on each line, as JSON.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from backbone.process_memory import peak_resident
from cli import main


def run(words: list[str]) -> int:
    """The exit status of a command."""
    sys.argv = ["duet", *words]
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


if __name__ == "__main__":
    listed = Path(sys.argv[1])  # before the commands' own words take its place
    statuses = [run(json.loads(line)) for line in listed.read_text(encoding="utf-8").splitlines()]
    peak = peak_resident() // 2**20
    Path(f"{listed}.end").write_text(json.dumps({"statuses": statuses, "peak_mb": peak}), encoding="utf-8")
