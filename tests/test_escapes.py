r"""Literal `\n`: a line break where the source writes them so, and never inside a path, a key, a login or code."""

import time

import pytest

from tickets.cleaning.clean import Cleaner
from tickets.cleaning.escapes import unescape, writes_escapes

KEPT = [
    r"C:\temp\new.txt",
    r"C:\Program Files\nodejs\npm.cmd",
    r"C:\Program Files (x86)\nvidia\tools",
    r"C:\Users\Ida Huber\reports",
    r"D:\reports",
    r"D:\new",
    r"C:\t1",
    r'"C:\new\test.txt"',
    r"(C:\new\test.txt)",
    r"\\nas01\reports\new",
    r"HKEY_CURRENT_USER\Software\Acme\reports\new",
    r"HKLM\Software\network\tools",
    r"HKLM:\Software\network",
    r"%APPDATA%\npm\new",
    r"%USERPROFILE%\ntuser.dat",
    r"$env:TEMP\new\run.log",
    r"~\notes\today.txt",
    r".\run.bat",
    r"..\node_modules\new",
    r"Users\nina\reports",
    r"Software\Acme\network",
    r"CORP\nina",
    r"CORP\tanja",
    r"^\d+\t\w+\n$",
    r"^\s*[\r\n]+$",
    r"(\n|\t)",
    r"\nabla \times \rho",
    r'text.split("\n")',
    r'printf("a\n\n");',
    r"join('\r\n')",
]
PLAIN = [f"My printer number {n} is broken since Monday" for n in range(24)]


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (r"Hello,\n", r" is gone\n\nThanks"),
        (r"See ", r"\n\nThanks"),
        (r"It is:\n\n", r"\nThanks"),
        ("", r" and more\r\n\r\n1. Next"),
    ],
)
def test_paths_and_code_stay_between_line_breaks(kept: str, before: str, after: str) -> None:
    if kept.startswith("CORP") and after.startswith("\\"):
        after = f" {after}"  # a login ends at a space
    breaks = {before: before.replace("\\n", "\n"), after: after.replace("\\r", "").replace("\\n", "\n")}
    assert unescape(before + kept + after) == breaks[before] + kept + breaks[after]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (r"It is on drive C:\n\nThanks", "It is on drive C:\n\nThanks"),
        (r"Option D:\nPlease", "Option D:\nPlease"),
        (r"It is late.\nThe end", "It is late.\nThe end"),
        (r"Hi ...\nis it you", "Hi ...\nis it you"),
        (r"on the VPN\nIch auch", "on the VPN\nIch auch"),
        (r"eins\nzwei\ndrei", "eins\nzwei\ndrei"),
        (r"name\tprice\nthree", "name price\nthree"),
        (r'He said "Hello"\n"Bye"', 'He said "Hello"\n"Bye"'),
        (r"Look \[1\]\nBye", "Look \\[1\\]\nBye"),
        (r"Hello\\n\\nMore", "Hello\n\nMore"),
        (r"a\\nB\\n\\nCc", "a\nB\n\nCc"),
        (r"Smile ^^\n\nThanks", "Smile ^^\n\nThanks"),
        (r"Half of 50%\nand %x%\nMore", "Half of 50%\nand %x%\nMore"),
    ],
)
def test_what_looks_like_a_path_but_is_a_line_break(raw: str, clean: str) -> None:
    assert unescape(raw) == clean


def test_one_text_about_code_says_nothing_of_its_source() -> None:
    for text in (r"It prints a\n\n twice\n\nWhy?", r'printf("a\n\n"); shows one line', *KEPT):
        assert not writes_escapes([*PLAIN, text]), text
    many = [f"{text}.\\n\\nKind regards,\\nIda" for text in PLAIN]
    assert writes_escapes(many)
    assert writes_escapes([*many[:4], *PLAIN])
    assert writes_escapes(many[:1]), "a ticket alone, as `predict` reads it"
    single = [f"{text}.\\nThanks" for text in PLAIN]
    assert writes_escapes(single[:5]) and not writes_escapes([*single[:5], *PLAIN, *PLAIN])
    assert not writes_escapes([*many[:2], *(text + ".\n\nRegards" for text in PLAIN)])


def test_the_texts_of_a_source_that_writes_no_breaks_stay() -> None:
    cleaner = Cleaner(escapes=None)
    cleaner.decide_escapes([*PLAIN, *KEPT])
    assert [cleaner.clean(text) for text in KEPT] == KEPT


@pytest.mark.parametrize(
    "piece",
    [
        "C:\\a",
        "\\n",
        "x\\na",
        "a\\ta",
        "\\\\a\\",
        "C:\\Ab Cd ",
        "%a%",
        "..\\",
        "p('a",
        "(\\n|",
        "\\d",
        "^(",
        'x("',
        "~\\r",
    ],
)
def test_hostile_texts_take_linear_time(piece: str) -> None:
    text = piece * (300_000 // len(piece))
    start = time.thread_time()
    unescape(text)
    writes_escapes([text])
    assert time.thread_time() - start < 8
