"""Files that duet wrote and reads back, changed in between: one line that names the file, never a traceback."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backbone.base import BaseIdentity
from backbone.dataset import load_part
from backbone.runs.files import read_json
from backbone.shipped import mini_folder
from eval.answers import ANSWERS, _kept, _kept_times, read_answers
from eval.compare import CompareOptions, compare
from eval.human import make_sheet
from eval.judge.plan import make_plan
from eval.report.page import REPORT, read_report
from pipeline.batch import BatchOptions, predict_batch
from pipeline.engine_choice import EngineChoice
from tickets.cleaning.steps import CleaningSteps
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.own_json import decode_own, own_records, read_own
from tickets.schema import read_tickets, ticket_to_json

NO_JSON = ("[" * 100_000, "{" * 5, "\xff\xfe", '{"a": ' * 500, f'{{"a": {"1" * 5000}}}', '{"a": "\\ud800"}', "nul", "")
TICKET = '{"id": "1", "subject": "s", "body": "b", "labels": {"queue": "q"}, "tags": [], "reply": "r"}'


@pytest.mark.parametrize("text", NO_JSON, ids=range(len(NO_JSON)))
def test_what_is_no_json_of_ours_is_a_value_error(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        decode_own(text.encode("latin-1"))
    path = tmp_path / "report.json"
    path.write_bytes(text.encode("latin-1"))
    readers: tuple[Callable[[Path], Any], ...] = (read_json, LabelSpace.load, BaseIdentity.load)
    for read in readers:
        with pytest.raises(InputError) as error:
            read(path)
        assert "\n" not in str(error.value) and str(path) in str(error.value)
    assert CleaningSteps.of_prepared(tmp_path) == CleaningSteps()


def test_values_that_are_json_of_ours_are_read() -> None:
    assert decode_own('{"a": ["\\ud83d\\ude00", -1, 2.5, null]}') == {"a": ["\U0001f600", -1, 2.5, None]}


def test_devices_and_large_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="not a regular file"):
        read_json(Path("/dev/zero"))
    with pytest.raises(InputError, match="not a regular file"):
        list(own_records(Path("/dev/zero")))
    monkeypatch.setattr("tickets.own_json._LARGEST", 10)
    monkeypatch.setattr("tickets.own_json._LONGEST_LINE", 10)
    (tmp_path / "x").write_text("[" + "1," * 20 + "1]")
    with pytest.raises(ValueError, match="over 10 bytes"):
        read_own(tmp_path / "x")
    with pytest.raises(ValueError, match="line 1: over 10 bytes"):
        list(own_records(tmp_path / "x"))


@pytest.mark.parametrize(
    "change",
    [
        {"subject": ["s"]},
        {"body": {"a": 1}},
        {"reply": 5},
        {"id": []},
        {"labels": [["queue", "q"]]},
        {"labels": {"queue": {"a": 1}}},
        {"labels": "queue"},
        {"tags": "abc"},
        {"tags": [[]]},
        {"body": "half \ud800"},
    ],
)
def test_prepared_tickets_of_another_form_are_one_line(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text(f"{TICKET}\n{json.dumps({**json.loads(TICKET), **change})}\n")
    with pytest.raises(InputError, match=r"train.jsonl:2: not ") as error:
        read_tickets(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", NO_JSON[:-1], ids=range(len(NO_JSON) - 1))
def test_prepared_tickets_that_are_no_json_are_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(f"{TICKET}\n{text}\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"train.jsonl:2: not ") as error:
        load_part(tmp_path, "train")
    assert "\n" not in str(error.value)


def test_prepared_tickets_with_numbers_are_read_as_before(tmp_path: Path) -> None:
    record = {**json.loads(TICKET), "id": 7, "labels": {"queue": 3, "none": None}, "tags": [1], "language": None}
    (tmp_path / "train.jsonl").write_text(json.dumps(record))
    (ticket,) = read_tickets(tmp_path / "train.jsonl")
    assert json.loads(ticket_to_json(ticket)) | {"tags": ["1"]} == {
        **record, "id": "7", "labels": {"queue": "3"}, "tags": ["1"], "language": "",
    }  # fmt: skip


@pytest.mark.parametrize("line", ["[" * 100_000, '{"id": "\\ud800"}', "[]", '{"x": 1}'])
def test_unfinished_answers_of_another_form_are_one_line(line: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,subject,body\n1,s,My printer is broken\n2,s,VPN hangs\n")
    options = BatchOptions(str(tmp_path / "t.csv"), tmp_path / "a.jsonl", labels_only=True)
    predict_batch(options, None, EngineChoice("onnx"))
    (tmp_path / "a.jsonl").rename(tmp_path / "a.jsonl.partial")
    with pytest.raises(InputError):  # no plan
        predict_batch(options, None, EngineChoice("onnx"))
    (tmp_path / "a.jsonl.partial").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.batch._check_plan", lambda *_: None)
        (tmp_path / "a.jsonl.partial").write_text(line + "\n")
        with pytest.raises(InputError, match="holds something else than answers"):
            predict_batch(options, None, EngineChoice("onnx"))
        (tmp_path / "a.jsonl.plan").write_text("{}")  # it was begun by this command, and damaged since
        with pytest.raises(InputError, match="line 1 is no answer"):
            predict_batch(options, None, EngineChoice("onnx"))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of the shipped mini model, in a folder that tests copy."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    compare(CompareOptions([mini_folder()], out, data="sample", limit=8, timed=0, with_zero_shot=False))
    make_sheet(out, 2)
    return out


@pytest.fixture
def copy(comparison: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(comparison, tmp_path / "c"))


def mutations(record: dict[str, Any], values: tuple[Any, ...] = (None, [], "x", -1, {}, 1e999)) -> list[dict[str, Any]]:
    """Copies of a record with one value of the top, or of what it holds, put in another's place."""
    found = []
    for key, inner in record.items():
        for value in values:
            found.append({**record, key: value})
            if isinstance(inner, dict) and inner:
                found.append({**record, key: {**inner, next(iter(inner)): value}})
            if isinstance(inner, list) and inner and isinstance(inner[0], dict):
                found += [{**record, key: [{**inner[0], name: value}, *inner[1:]]} for name in inner[0]]
    return found


@pytest.mark.slow
def test_a_changed_report_is_shown_or_refused(copy: Path) -> None:
    record = read_report(copy)
    told = 0
    for changed in random.Random(0).sample(mutations(record), 24):  # of a second each
        (copy / REPORT).write_text(json.dumps(changed))
        try:
            read_report(copy)
        except InputError as error:
            assert str(copy / REPORT) in str(error) and "\n" not in str(error)
            told += 1
    assert told > 8
    for text in NO_JSON:
        (copy / REPORT).write_bytes(text.encode("latin-1"))
        with pytest.raises(InputError, match=REPORT):
            read_report(copy)


@pytest.mark.slow
def test_changed_answers_are_refused(copy: Path) -> None:
    path = copy / f"{ANSWERS}.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    record = json.loads(first)
    system = next(iter(record["systems"]))
    said = record["systems"][system]
    wrong: tuple[Any, ...] = (None, [], 1)
    changed = [{**record, key: value} for key in ("id", "subject", "body", "true") for value in wrong]
    changed += [{**record, "systems": value} for value in (*wrong, {}, {system: 1})]
    changed += [
        {**record, "systems": {**record["systems"], system: {**said, key: 1}}} for key in ("labels", "tags", "reply")
    ]
    for text in [*map(json.dumps, changed), *NO_JSON[:-1]]:
        path.write_bytes(text.encode("latin-1") + b"\n" + "".join(rest).encode())
        for read in (read_answers, lambda folder: make_sheet(folder, 2), lambda f: make_plan(f, 5, (), (), 1, 0)):
            with pytest.raises(InputError, match=r"answers.jsonl: not readable") as error:
                read(copy)
            assert "\n" not in str(error.value)


@pytest.mark.slow
def test_kept_answers_of_another_form_are_made_again(copy: Path) -> None:
    tickets = load_part(Path("tickets/sample"), "test")[:8]
    path = next(path for path in (copy / ANSWERS).glob("two-stage-*.jsonl"))
    lines = path.read_text().splitlines(keepends=True)
    whole = len(_kept(path, tickets))
    assert whole
    record = json.loads(lines[0])
    for changed in mutations(record, (None, [1], 10**60, 1e999)):
        path.write_text(json.dumps(changed) + "\n")
        assert len(_kept(path, tickets)) <= 1
    for text in NO_JSON:
        path.write_bytes(text.encode("latin-1") + b"\n")
        assert _kept(path, tickets) == []
    times = path.with_suffix(".times.json")
    assert _kept_times(times, 0)
    for change in ({"labels_s": ["x"]}, {"answer_s": [1e999]}, {"memory_mib": "x"}, {"timed": None}):
        times.write_text(json.dumps({"timed": 0, "labels_s": [], "answer_s": [], "memory_mib": None} | change))
        assert _kept_times(times, 0) is None
