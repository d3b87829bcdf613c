"""The review page in Chromium: keys alone, two browsers, no JavaScript, hostile text, narrow screens.

Runs with `make test-browser`. DUET_SCREENSHOTS names a folder for pictures.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

import uvicorn
from playwright.sync_api import sync_playwright

from tests.serving import Running, running, sqlite_url

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium"),
    pytest.mark.skipif(not os.environ.get("DUET_BROWSER"), reason="make test-browser runs it"),
]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Site:
    """A server with an address, and a browser."""

    server: Running
    address: str
    browser: Any

    def page(self, **options: Any) -> Any:
        """A page of a new browser session, signed in."""
        context = self.browser.new_context(**options)
        page = context.new_page()
        page.goto(f"{self.address}/login")
        page.fill("#token", self.server.tokens["review"])
        with page.expect_navigation():
            page.click("button.main")
        return page


@contextmanager
def listening(server: Running) -> Iterator[str]:
    web = uvicorn.Server(uvicorn.Config(server.client.app, port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=web.run, daemon=True)
    thread.start()
    while not web.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{web.servers[0].sockets[0].getsockname()[1]}"
    web.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def site(tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr("store.jobs.random.random", lambda: 0.5)  # no card is drawn by chance
    with running(sqlite_url(tmp_path)) as server, listening(server) as address:
        yield Site(server, address, browser)


def picture(page: Any, name: str) -> None:
    folder = os.environ.get("DUET_SCREENSHOTS")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_twenty_cards_by_keys_alone(site: Site) -> None:
    for number in range(20):
        site.server.add(f"Ticket {number}")
    page = site.page()
    strokes = 0

    def press(*keys: str) -> None:
        nonlocal strokes
        for key in keys:
            page.keyboard.press(key)
            strokes += 1

    def saved() -> None:
        page.wait_for_load_state("load")
        page.wait_for_function("document.querySelector('[role=status]') || document.querySelector('h1')")

    for action in ["accept"] * 12 + ["correct"] * 5 + ["reject"] * 2 + ["accept"]:
        before = page.url
        title = page.text_content("h1")
        if action == "correct":
            press("Tab", "2")
        with page.expect_navigation():
            press("x" if action == "reject" else "Enter")
        saved()
        assert (page.url, page.text_content("h1")) != (before, title)
    picture(page, "all-done")
    with page.expect_navigation():
        page.click("#undo button")
    with page.expect_navigation():
        press("Enter")
    stats = site.server.ask("GET", "/v1/stats").json()
    assert stats["actions"] == {"accept": 14, "correct": 5, "reject": 2, "undo": 1}
    assert stats["to_review"] == 0 and stats["columns"]["type"]["n"] == 20
    assert strokes <= 80


def test_undo_and_help_have_keys(site: Site) -> None:
    first = site.server.add("First")["ticket"]
    site.server.add("Second")
    page = site.page()
    page.keyboard.press("?")
    assert page.is_visible("text=reject the suggestions;")
    with page.expect_navigation():
        page.keyboard.press("s")
    assert page.text_content("h1") == "Second"
    with page.expect_navigation():
        page.keyboard.press("Enter")
    with page.expect_navigation():
        page.keyboard.press("u")
    assert page.text_content("h1") == "Second" and first not in page.url


def test_the_draft_is_edited_without_leaving_the_keyboard(site: Site) -> None:
    ticket = site.server.add("Letters esux stay letters in a text")["ticket"]
    page = site.page()
    page.keyboard.press("e")
    page.keyboard.press("Control+a")
    page.keyboard.type("sux? 123")
    page.keyboard.press("Enter")
    page.keyboard.type("Regards")
    with page.expect_navigation():
        page.keyboard.press("Control+Enter")
    shown = site.server.ask("GET", f"/v1/tickets/{ticket}").json()
    assert shown["reviews"][-1]["reply"] == "sux? 123\nRegards" and shown["reviews"][-1]["action"] == "correct"


def test_two_browsers_on_one_card(site: Site) -> None:
    ticket = site.server.add("Printer")["ticket"]
    one, two = site.page(), site.page()
    for page in (one, two):
        page.goto(f"{site.address}/tickets/{ticket}")
    with one.expect_navigation():
        one.keyboard.press("Enter")
    two.fill("#reply", "the text of the second")
    with two.expect_navigation():
        two.click("button.main[value=save]")
    assert two.is_visible("text=was faster") and two.input_value("#reply") == "the text of the second"
    picture(two, "conflict")
    with two.expect_navigation():
        two.click("button.main[value=save]")
    shown = site.server.ask("GET", f"/v1/tickets/{ticket}").json()
    assert [review["action"] for review in shown["reviews"]] == ["accept", "correct"]


def test_everything_works_without_javascript(site: Site) -> None:
    for name in ("One", "Two"):
        site.server.add(name)
    page = site.page(java_script_enabled=False)
    page.check("fieldset >> nth=0 >> input[type=radio] >> nth=1")
    page.click("button.main[value=save]")
    assert page.is_visible("text=Corrected.")
    page.click("details.reject summary")
    page.fill("#reason", "not helpful")
    page.click("button[value=reject]")
    assert page.is_visible("text=All done")
    page.click("text=Undo my last decision")
    assert page.is_visible("button[value=save]")


def test_hostile_text_stays_text(site: Site) -> None:
    body = "<script>document.title='owned'</script><img src=x onerror=alert(1)> \u202e" + "x" * 100_000
    site.server.add("<b>bold</b> \u202etxet", body)
    page = site.page()
    errors: list[str] = []
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.reload()
    assert page.title() != "owned" and not errors and page.query_selector("h1 b") is None
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (768, "dark"), (1600, "light"), (1280, "dark")])
def test_pages_fit_the_screen(site: Site, width: int, scheme: str) -> None:
    for number in range(3):
        ticket = site.server.add(f"A rather long subject about invoice {number} of the office in Graz")["ticket"]
    site.server.ask(
        "POST", f"/v1/tickets/{ticket}/reviews", json={"labels": {"queue": "IT"}}, headers={"If-Match": "0"}
    )
    page = site.page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    for path in ("review", "tickets", "stats", "docs", "login"):
        page.goto(f"{site.address}/{path}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        picture(page, f"{path}-{width}-{scheme}")
        unnamed = "[...document.querySelectorAll('input:not([type=hidden]),select,textarea')]" + (
            ".filter(field => !(field.labels && field.labels.length) && !field.ariaLabel).length"
        )
        assert page.evaluate(unnamed) == 0, path
