"""Cleaning: what is undone, what must survive, what is counted."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickets.cleaning import Cleaner, strip_quotes


@pytest.mark.parametrize(
    "text",
    [
        "a < b and c > d",
        "Hello <name>, call <tel_num> or <Tel Nummer>",
        "write to <max@firma.de> or <https://firma.de/a?b=1&copy=2>",
        "R&D; AT&T &",
        "see <a> and <code>",
        r"C:\new\test and \\nas01\temp and CORP\nina",
        "Am Montag schrieb ich alles auf: es fehlt viel",
        "> only a quotation",
    ],
)
def test_what_is_not_markup_survives(text: str) -> None:
    cleaner = Cleaner()
    assert cleaner.clean(text) == text
    assert sum(cleaner.counts.values()) == 0


@pytest.mark.parametrize(
    ("raw", "clean", "step"),
    [
        (r"Dear team,\n\nI am\tlate.\r\nBye", "Dear team,\n\nI am late.\nBye", "escapes"),
        (r"Team:\n\nHello", "Team:\n\nHello", "escapes"),
        ("one<br>two<br/>three", "one\ntwo\nthree", "html"),
        ('<p class="a>b">Hi&nbsp;<b>you</b> &amp; me</p>', "Hi you & me", "html"),
        ("<html><head><title>x</title></head><style>p{}</style><ul><li>a</li><li>b</li></ul>", "- a\n\n- b", "html"),
        ("<p>Hi <name></p>", "Hi <name>", "html"),
        ("Thanks.\n\nOn Mon, 3 Mar 2025 at 10:00, Max <m@x.de> wrote:\n> old\n> text", "Thanks.", "quotes"),
        ("Danke.\nAm 03.03.2025 um 10:00 schrieb Max Muster <m@x.de>:\nalt", "Danke.", "quotes"),
        ("Hi\n-----Original Message-----\nFrom: a", "Hi", "quotes"),
        ("Hi\n\nVon: A\nGesendet: Montag\nAn: B\nBetreff: C\n\nalt", "Hi", "quotes"),
        ("On 3 Mar 2025, Max wrote:\n> old\n\nMy answer below", "My answer below", "quotes"),
        ("> does it work?\nYes.", "Yes.", "quotes"),
    ],
)
def test_each_step_cleans_counts_and_can_be_switched_off(raw: str, clean: str, step: str) -> None:
    cleaner = Cleaner()
    assert cleaner.clean(raw) == clean
    assert cleaner.counts == {"escapes": 0, "html": 0, "quotes": 0, step: 1}
    off = Cleaner(**{step: False})
    assert off.clean(raw) != clean or raw.count("\n") == 0
    assert off.counts[step] == 0


def test_a_thread_without_own_words_is_kept_whole() -> None:
    thread = "-----Original Message-----\nFrom: a\nplease help"
    assert strip_quotes(thread) == thread


def test_whitespace_and_control_characters() -> None:
    assert Cleaner().clean(" a\x00\x07  b\r\n\r\n\r\n\r\nc\u200b\ufeff \ud800 ") == "a b\n\nc"


@given(st.text(alphabet=st.sampled_from("ab<>&;/\\nrt\n \"'=:-pOn1\ud800\x00"), max_size=200))
def test_cleaning_never_fails_and_always_gives_plain_text(text: str) -> None:
    clean = Cleaner().clean(text)
    assert clean == clean.strip() and "\x00" not in clean
    clean.encode("utf-8")


@pytest.mark.parametrize(
    "piece", ["<script>", "<a ", '<p "', "<!--", "\\", "On 1 ", ">", "&#", "C:\\a", "From: a\n", "\n>"]
)
def test_hostile_texts_take_linear_time(piece: str) -> None:
    start = time.perf_counter()
    Cleaner().clean(piece * (300_000 // len(piece)))
    assert time.perf_counter() - start < 5
