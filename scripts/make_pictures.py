"""Make the pictures of the README from the real thing: a terminal that answers a ticket, and a report.

make pictures       # needs Chromium, and a comparison in runs/demo-comparison (`make demo`)
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "img"
TICKET = "tickets/sample/examples/network.txt"
COLUMNS = 80
REPORT = ROOT / "runs" / "demo-comparison" / "report.html"
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
_LABEL = re.compile(r"^(type|queue|priority|tags|review|reply)\b", re.M)


def terminal() -> None:
    """Write terminal.svg: the ticket, the command and what it prints."""
    command = [sys.executable, "cli.py", "predict", TICKET]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        for line in (
            f"$ cat {TICKET}",
            (ROOT / TICKET).read_text(encoding="utf-8").rstrip(),
            f"$ duet predict {TICKET}",
        ):
            console.print(Text(line, style="bold" if line.startswith("$") else ""), soft_wrap=False)
        text = Text(answer.rstrip())
        text.highlight_regex(_LABEL, "cyan")
        console.print(text)
        picture = console.export_svg(title="duet")
    # fonts from another server would be fetched by whoever looks at the page
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.S)
    (PICTURES / "terminal.svg").write_text(picture, encoding="utf-8")


def report() -> None:
    """Write report.png: the top of the page that `duet compare` wrote."""
    browser = next((path for name in _CHROMIUM if (path := shutil.which(name))), None)
    if browser is None or not REPORT.is_file():
        sys.exit(f"needs Chromium and {REPORT}; install it and run `make demo` first")
    with tempfile.TemporaryDirectory() as profile:
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--hide-scrollbars",
            "--window-size=1100,1250",
            f"--user-data-dir={profile}",
        ]
        shot = f"--screenshot={PICTURES / 'report.png'}"
        subprocess.run([browser, *flags, shot, REPORT.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    PICTURES.mkdir(parents=True, exist_ok=True)
    terminal()
    report()
