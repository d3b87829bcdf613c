"""Labels that a person takes for one: named in the report, and a line break inside a label is a space."""

import csv
from pathlib import Path

import pytest

from tests.test_prepare import table
from tickets.errors import InputError
from tickets.preparation.describe import Report
from tickets.preparation.prepare import PrepareOptions, prepare

TEXTS = [row[2] for row in table(16)]


def prepared(tmp_path: Path, labels: list[str], count: int = 16) -> Report:
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerow(["body", "queue"])
        csv.writer(out).writerows([text, labels[n % len(labels)]] for n, text in enumerate(TEXTS[:count]))
    return prepare(PrepareOptions(str(tmp_path / "t.csv"), tmp_path / "out", split="random"), progress=False)


@pytest.mark.parametrize(
    "labels",
    [
        ["Hardware", "hardware"],
        ["HARDWARE", "Hardware", "hardware", "Hard ware"],
        ["on-call", "On Call"],
        ["on_call", "on call"],
        ["Büro", "Bu\u0308ro"],
        ["ＶＰＮ", "vpn"],
    ],
)
def test_labels_that_differ_in_spelling_are_named(tmp_path: Path, labels: list[str]) -> None:
    (note,) = (note for note in prepared(tmp_path, [*labels, "Network"]).notes if "differ only in case" in note)
    assert note.startswith("queue: ") and all(repr(label) in note for label in labels[:2])
    assert "Network" not in note


@pytest.mark.parametrize("labels", [["A", "B"], ["C", "C++"], ["1", "10"], ["Müller", "Muller"]])
def test_different_labels_are_not(tmp_path: Path, labels: list[str]) -> None:
    assert not any("differ only in case" in note for note in prepared(tmp_path, labels).notes)


@pytest.mark.parametrize("label", ["Second\nlevel", "Second\r\nlevel", "Second \n level", "Second\u2028level"])
def test_a_line_break_in_a_label_is_a_space(tmp_path: Path, label: str) -> None:
    assert set(prepared(tmp_path, [label, "Second level"]).labels["queue"].counts) == {"Second level"}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_too_few_tickets_need_no_advice_on_rare_classes(tmp_path: Path, count: int) -> None:
    with pytest.raises(InputError, match=r"give more tickets$"):
        prepared(tmp_path, list("ABC"), count)
