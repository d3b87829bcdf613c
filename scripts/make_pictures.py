"""Make the pictures of the README from the real thing: a terminal that answers a ticket, a report, the server's pages.

make pictures       # needs Chromium, and a comparison in runs/demo-comparison (`make demo`)
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx2
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.text import Text

from backbone.dataset import load_part, resolve_data
from bench.served import Served
from tickets.schema import Ticket

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "img"
TICKET = "tickets/sample/examples/network.txt"
COLUMNS = 80
REVIEWED = 160  # tickets on the page of statistics
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
    if not REPORT.is_file():
        sys.exit(f"needs {REPORT}; run `make demo` first")
    with tempfile.TemporaryDirectory() as profile:
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--hide-scrollbars",
            "--window-size=1100,1250",
            f"--user-data-dir={profile}",
        ]
        shot = f"--screenshot={PICTURES / 'report.png'}"
        subprocess.run([_browser(), *flags, shot, REPORT.as_uri()], check=True, capture_output=True)


def pages() -> None:
    """Write review.png and statistics.png: a card, and the figures of tickets that were reviewed by their labels.

    The server answers built-in test tickets with the shipped model.
    """
    english = [ticket for ticket in load_part(resolve_data("sample"), "test") if ticket.language == "en"]
    asked = english[: REVIEWED + 1]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as tools:
        server = Served(f"sqlite:///{folder}/duet.db")
        browser = tools.chromium.launch(executable_path=_browser(), args=["--no-sandbox"])
        try:
            with httpx2.Client(base_url=server.address, headers=server.headers, timeout=600) as client:
                for ticket in asked[1:]:
                    _review(client, ticket)
                shown = _store(client, asked[0], labels_only=False)
            page = browser.new_page(viewport={"width": 1280, "height": 900}, locale="en-GB")
            page.goto(f"{server.address}/login")
            page.fill("#token", server.token)
            page.click("button.main")
            for name, path in (("review", f"tickets/{shown}"), ("statistics", "stats")):
                page.goto(f"{server.address}/{path}")
                page.screenshot(path=PICTURES / f"{name}.png")
        finally:
            browser.close()
            server.stop()


def _store(client: httpx2.Client, ticket: Ticket, labels_only: bool) -> str:
    body = {"subject": ticket.subject, "body": ticket.body, "labels_only": labels_only}
    return str(client.post("/v1/tickets?wait=60", json=body).raise_for_status().json()["ticket"])


def _review(client: httpx2.Client, ticket: Ticket) -> None:
    """Store a ticket and decide as somebody does who knows its labels."""
    path = f"/v1/tickets/{_store(client, ticket, labels_only=True)}/reviews"
    decision = {"labels": ticket.labels, "seconds": 12.0}
    client.post(path, json=decision, headers={"If-Match": "0"}).raise_for_status()


def _browser() -> str:
    browser = next((path for name in _CHROMIUM if (path := shutil.which(name))), None)
    if browser is None:
        sys.exit("needs Chromium; install it")
    return browser


if __name__ == "__main__":
    PICTURES.mkdir(parents=True, exist_ok=True)
    terminal()
    report()
    pages()
