"""Write docs/cli.md from the help of every command; a test fails when it is stale."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "cli.md"
COMMANDS = (
    "prepare",
    "pretrain",
    "train-cls",
    "train-gen",
    "train-baseline",
    "export",
    "predict",
    "predict-batch",
    "evaluate",
    "compare",
    "human-eval make",
    "human-eval score",
    "check",
)


def page() -> str:
    """The whole page."""
    parts = ["# Commands\n\nMade by `make docs` from `duet COMMAND --help`; `duet` and `python cli.py` are the same.\n"]
    parts += [f"## duet {name}".rstrip() + f"\n\n```text\n{help_of(name.split())}```\n" for name in ["", *COMMANDS]]
    return "\n".join(parts)


def help_of(command: list[str]) -> str:
    """Help text at 80 columns, as `duet` prints it."""
    code = "import sys; sys.argv[0] = 'duet'; import cli; cli.main()"
    environment = {"COLUMNS": "80", "TERMINAL_WIDTH": "80", "PATH": "", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, env=environment, check=True
    )
    return run.stdout


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
