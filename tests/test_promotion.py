"""`duet compare --promote`: a new model takes the old one's place when it is better, and nowhere worse."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from backbone.base import BaseIdentity
from backbone.config import RunConfig
from backbone.config_file import load_config
from eval import scoring
from eval.answers import Cost, SystemAnswers
from eval.bootstrap import Resamples, Score
from eval.compare import CompareOptions, compare
from eval.promotion import FROZEN, NEWEST, Promotion, decide
from eval.report.page import read_report
from eval.systems import Output, TwoStageSystem
from pipeline.model_folder import ModelFolder, StageFolder
from tickets.errors import InputError
from tickets.schema import Ticket, write_tickets

ZERO = Score(0.0, 0.0, 0.0)
COST = Cost(None, None, ZERO, None, 0.0, 0.0, 0.0)


def ticket(number: int) -> Ticket:
    return Ticket(f"t{number}", "", f"ticket {number}", labels={"queue": "AB"[number % 2]})


def answered(name: str, data: Path, tickets: Sequence[Ticket], right: Sequence[bool]) -> SystemAnswers:
    """A system that has the tickets of `right` right."""
    config = load_config(None, [f"data.path={data}"])
    stage = StageFolder(data, config, BaseIdentity("b", None, "f"))
    outputs = [
        Output(one.id, {"queue": one.labels["queue"] if is_right else "C"})
        for one, is_right in zip(tickets, right, strict=True)
    ]
    return SystemAnswers(TwoStageSystem(name, ModelFolder(data, {"classifier": stage}, None)), outputs, COST)


def decision(folder: Path, frozen: int, newest: int, old: Sequence[bool], new: Sequence[bool]) -> Promotion:
    """What is decided where the old model's test part holds the first `frozen` of the tickets."""
    tickets = [ticket(number) for number in range(frozen + newest)]
    folder.mkdir(exist_ok=True)
    write_tickets(folder / "test.jsonl", [Ticket("other-id", "", one.body.upper()) for one in tickets[:frozen]])
    write_tickets(folder / "train.jsonl", [ticket(10_000)])
    write_tickets(folder / "validation.jsonl", [ticket(10_001)])
    test = scoring.TestSet(tickets, [], ["queue"], Resamples(len(tickets)))
    return decide(answered("old", folder, tickets, old), answered("new", folder, tickets, new), test)


def marks(count: int, wrong: int) -> list[bool]:
    return [number >= wrong for number in range(count)]


def test_better_and_nowhere_worse_is_promoted(tmp_path: Path) -> None:
    told = decision(tmp_path, 400, 200, marks(600, 90), marks(600, 0))
    assert told.verdict == "promote" and "better in queue accuracy on the frozen tickets by +0.225" in told.reason
    assert told.tickets == {FROZEN: 400, NEWEST: 200}
    assert told.differences[NEWEST]["queue accuracy"].value == 0.0


def test_a_tie_is_keep(tmp_path: Path) -> None:
    told = decision(tmp_path, 400, 200, marks(600, 60), marks(600, 60))
    assert str(told) == "keep: no figure is shown to be better, and no column is worse"


def test_a_loss_on_either_kind_is_keep(tmp_path: Path) -> None:
    old, new = marks(600, 90), marks(600, 0)
    new[400:420] = [False] * 20
    told = decision(tmp_path, 400, 200, old, new)
    assert told.verdict == "keep" and "on the newest tickets" in told.reason and "200 tickets" in told.reason


def test_too_few_tickets_are_keep_and_say_how_many_would_do(tmp_path: Path) -> None:
    old, new = [True] * 40, [True] * 40
    old[:6], new[6:10] = [False] * 6, [False] * 4
    told = decision(tmp_path, 40, 0, old, new)
    assert told.verdict == "keep" and "tickets would tell" in told.reason and told.tickets[NEWEST] == 0


def test_without_newer_tickets_the_reason_says_so(tmp_path: Path) -> None:
    told = decision(tmp_path, 400, 0, marks(400, 90), marks(400, 0))
    assert told.verdict == "promote" and told.reason.endswith("no newer ticket was there to look at")


def test_tickets_that_the_old_model_learnt_count_nowhere(tmp_path: Path) -> None:
    tickets = [ticket(number) for number in range(10)]
    for part in ("train", "validation", "test"):
        write_tickets(tmp_path / f"{part}.jsonl", tickets if part == "train" else [ticket(99)])
    test = scoring.TestSet(tickets, [], ["queue"], Resamples(len(tickets)))
    both = [answered(name, tmp_path, tickets, [True] * 10) for name in ("old", "new")]
    with pytest.raises(InputError, match="trained on all test tickets"):
        decide(both[0], both[1], test)


@pytest.mark.slow
def test_compare_decides_and_reports(
    trained_run: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = Path(shutil.copytree(trained_run.folder, tmp_path / "second"))
    out = tmp_path / "out"
    compare(CompareOptions([trained_run.folder, second], out, timed=0, with_zero_shot=False, promote=True))
    printed = capsys.readouterr()
    assert printed.out.startswith("keep: no figure is shown to be better")
    assert "was trained on other data" not in printed.err
    assert read_report(out)["promotion"]["verdict"] == "keep"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Keep: no figure is shown to be better" in page and "new minus old" in page
    with pytest.raises(InputError, match="found 1 two-stage systems, expected two"):
        compare(CompareOptions([second], tmp_path / "one", promote=True))
