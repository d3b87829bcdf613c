"""Answers in a folder: the same as in one file, whoever writes them, whatever interrupts it, wherever it lies."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from backbone.remote.places import Place
from commands.answers import predict_batch as command
from eval.evaluate_answers import evaluate_answers, read_all_answers, render_answers
from pipeline.batch import BatchOptions, predict_batch
from pipeline.batch_rows import AnswerOptions
from pipeline.engine_choice import EngineChoice
from pipeline.shards.cut import FOLDER
from pipeline.shards.folder import Finished
from pipeline.shards.options import RayOptions, ShardsOptions, Share, ray_options, shards_options
from pipeline.shards.part_file import PartWriter, read_answers
from pipeline.shards.plan import PLAN, SUCCESS, read_plan
from pipeline.shards.run import answer_shards
from pipeline.shards.worker import Job, Piece, ShardWorker
from tests.test_predict import records
from tickets.errors import DuetError, InputError
from tickets.schema import Ticket, write_tickets

ONNX = EngineChoice("onnx", together=4)


def write_folder(folder: Path, files: int = 3, rows: int = 5) -> Path:
    folder.mkdir()
    for number in range(files):
        lines = ["id,subject,body", *(f"{number}-{i},s,My printer {i} of {number} is broken" for i in range(rows))]
        (folder / f"t{number}.csv").write_text("\n".join([*lines, f"{number}-empty,,"]) + "\n", encoding="utf-8")
    return folder


def answer(source: Path | str, out: Path, **given: Any) -> Finished | None:
    return answer_shards(ShardsOptions(str(source), out=str(out), labels_only=True, **given), None, ONNX)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return list(read_all_answers(str(folder)))


def test_a_folder_has_the_answers_of_one_file(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in")
    assert answer(source, tmp_path / "out") == Finished(files=3, rows=18, errors=3)
    expected = []
    for file in sorted(source.iterdir()):
        line_file = tmp_path / f"{file.stem}.jsonl"
        predict_batch(BatchOptions(str(file), line_file, labels_only=True), None, ONNX)
        expected += records(line_file)
    assert rows_of(tmp_path / "out") == expected
    table = pq.read_table(tmp_path / "out")  # as others read such a folder
    assert table.column("id").to_pylist() == [row["id"] for row in expected]
    success = json.loads((tmp_path / "out" / SUCCESS).read_text())
    assert (success["rows"], success["errors"], len(success["files"])) == (18, 3, 3)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        SUCCESS, PLAN, *(f"part-00000{i}.parquet" for i in range(3))
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [1, 4, 6, 100])
def test_one_file_is_cut_and_its_copies_are_deleted(tmp_path: Path, rows: int) -> None:
    source = write_folder(tmp_path / "in", files=1) / "t0.csv"
    finished = answer(source, tmp_path / "out", shard_rows=rows)
    assert finished == Finished(files=-(-6 // rows), rows=6, errors=1)
    predict_batch(BatchOptions(str(source), tmp_path / "a.jsonl", labels_only=True), None, ONNX)
    assert rows_of(tmp_path / "out") == records(tmp_path / "a.jsonl")
    assert not (tmp_path / "out" / FOLDER).exists()
    before = (tmp_path / "out" / SUCCESS).stat().st_mtime_ns
    assert answer(source, tmp_path / "out", shard_rows=rows) == finished
    assert (tmp_path / "out" / SUCCESS).stat().st_mtime_ns == before
    assert not (tmp_path / "out" / FOLDER).exists()


def test_rows_without_an_id_are_told_apart_by_their_file(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "in" / name).write_text("subject,body\ns,one\ns,two\n", encoding="utf-8")
    answer(tmp_path / "in", tmp_path / "out")
    assert [row["id"] for row in rows_of(tmp_path / "out")] == [
        "a.csv:000001", "a.csv:000002", "b.csv:000001", "b.csv:000002"
    ]  # fmt: skip


def test_a_pattern_and_what_lies_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_folder(tmp_path / "in")
    (source / "README.md").write_text("no tickets")
    (source / ".hidden.csv").write_text("id,body\n1,x\n")
    assert answer(f"{source}/t[01].csv", tmp_path / "some") == Finished(2, 12, 2)
    assert "Not read" not in capsys.readouterr().err
    assert answer(source, tmp_path / "all") == Finished(3, 18, 3)
    assert "Not read, because they are no tables: README.md." in capsys.readouterr().err


def test_an_interrupted_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    whole = ShardWorker.answer
    answered: list[int] = []

    def interrupted(self: ShardWorker, piece: Any, on_row: Any) -> Any:
        if len(answered) == 2:
            raise KeyboardInterrupt
        answered.append(piece.shard.number)
        return whole(self, piece, on_row)

    monkeypatch.setattr(ShardWorker, "answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        answer(source, out)
    assert not (out / SUCCESS).exists()
    kept = {path.name: path.read_bytes() for path in out.glob("part-*")}
    assert len(kept) == 2
    monkeypatch.setattr(
        ShardWorker, "answer", lambda self, piece, on_row: answered.append(9) or whole(self, piece, on_row)
    )
    answer(source, out)
    assert answered == [0, 1, 9]
    assert "going on after 2 of 3 files" in capsys.readouterr().err
    assert {name: (out / name).read_bytes() for name in kept} == kept
    answer(source, tmp_path / "again")
    assert rows_of(out) == rows_of(tmp_path / "again")


def test_shares_are_one_folder(tmp_path: Path) -> None:
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    assert answer(source, out, share=Share(2, 2)) is None
    assert not (out / SUCCESS).exists()
    with pytest.raises(InputError, match="no complete answers"):
        rows_of(out)
    assert answer(source, out, share=Share(1, 2)) == Finished(3, 18, 3)
    answer(source, tmp_path / "alone")
    assert rows_of(out) == rows_of(tmp_path / "alone")


def test_shares_of_one_file_are_cut_once(tmp_path: Path) -> None:
    source, out = write_folder(tmp_path / "in", files=1) / "t0.csv", tmp_path / "out"
    assert [answer(source, out, share=Share(n, 3), shard_rows=2) for n in (1, 2, 3)] == [None, None, Finished(3, 6, 1)]
    assert [path.name for path in out.iterdir() if path.suffix != ".parquet"] in ([SUCCESS, PLAN], [PLAN, SUCCESS])


def change_source(source: Path, out: Path) -> dict[str, Any]:
    (source / "t1.csv").write_text("id,body\n1,another\n")
    return {}


def add_file(source: Path, out: Path) -> dict[str, Any]:
    shutil.copy(source / "t1.csv", source / "t9.csv")
    return {}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (change_source, "another content"),
        (add_file, "another content"),
        (lambda *_: {"html": False}, "another cleaning"),
        (lambda *_: {"maps": ("body=subject",)}, "another map"),
    ],
)
def test_other_tickets_or_options_are_refused(
    tmp_path: Path, change: Callable[[Path, Path], dict[str, Any]], says: str
) -> None:
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    answer(source, out)
    given = change(source, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match=says):
        answer(source, out, **given)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    finished = answer(source, out, restart=True, **given)
    assert finished and finished.files == len(list(source.iterdir()))


@pytest.mark.parametrize("spoil", [lambda p: p.write_bytes(b"x"), lambda p: p.write_bytes(p.read_bytes()[:-9])])
def test_damaged_parts_are_named(tmp_path: Path, spoil: Callable[[Path], Any]) -> None:
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    answer(source, out)
    spoil(out / "part-000001.parquet")
    for act in (lambda: answer(source, out), lambda: rows_of(out)):
        with pytest.raises(InputError, match=r"part-000001.parquet: no part of duet's answers, or a damaged one"):
            act()
    (out / "part-000001.parquet").unlink()
    (out / SUCCESS).unlink()
    assert answer(source, out) == Finished(3, 18, 3)


def test_a_part_of_another_plan_is_refused(tmp_path: Path) -> None:
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    answer(source, out)
    (out / "part-000001.parquet").write_bytes(PartWriter(["type"], "another", "t1.csv").content())
    with pytest.raises(InputError, match="answered by another model or from other tickets"):
        rows_of(out)


@pytest.mark.parametrize("content", ["[]", "{", '{"format": 9, "shards": []}', '{"format": 1, "shards": [1]}'])
def test_damaged_plans_are_named(tmp_path: Path, content: str) -> None:
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    answer(source, out)
    (out / PLAN).write_text(content)
    with pytest.raises(InputError, match=r"plan"):
        answer(source, out)


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    for restart in (False, True):
        with pytest.raises(InputError, match=r"holds thesis.txt, expected an empty folder"):
            answer(source, out, restart=restart)
    (out / "thesis.txt").rename(out / "part-000000.parquet")
    with pytest.raises(InputError, match="expected an empty folder or answers"):
        answer(source, out, restart=True)
    assert (out / "part-000000.parquet").read_text() == "mine"
    for place in (source, source / "out", tmp_path):
        with pytest.raises(InputError, match="choose another --out"):
            answer(source, place)


@pytest.mark.parametrize("name", ["_in", "_pieces"])
def test_links_are_not_followed(tmp_path: Path, name: str) -> None:
    source, out = write_folder(tmp_path / "in", files=1) / "t0.csv", tmp_path / "out"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    out.mkdir()
    (out / name).symlink_to(tmp_path / "mine")
    for restart in (False, True):
        with pytest.raises(InputError, match=f"{name}: found a symbolic link"):
            answer(source, out, restart=restart)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_source_that_changes_while_it_is_answered_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    whole = ShardWorker.answer

    def change(self: ShardWorker, piece: Any, on_row: Any) -> Any:
        with (source / "t2.csv").open("a") as file:
            file.write("9,s,new\n")
        return whole(self, piece, on_row)

    monkeypatch.setattr(ShardWorker, "answer", change)
    with pytest.raises(InputError, match=r"t2.csv: has changed since the command began"):
        answer(source, out)


def test_halves_of_a_shard_join_to_the_whole(tmp_path: Path) -> None:
    """What a cluster does with a shard that kills its workers, done here."""
    source, out = write_folder(tmp_path / "in", files=1, rows=7), tmp_path / "out"
    answer(source, out)
    whole = rows_of(out)
    options = ShardsOptions(str(source), out=str(out), labels_only=True)
    worker, plan = worker_of(options), read_plan(Place.parse(str(out), "--out"))
    assert plan
    shard = plan.shards[0]
    rows = worker.count(Piece(shard))
    assert rows == 8
    first, rest = Piece(shard).halves(rows)
    second, third = rest.halves(rows - rows // 2)
    facts = [worker.answer(second), worker.answer(first), worker.give_up(third, "its worker died")]
    assert sum(one.rows for one in facts) == rows
    joined = worker.join(shard, [first, second, third])
    lost = third.end - third.first
    assert (joined.rows, joined.errors) == (rows, lost)
    assert rows_of(out)[: rows - lost] == whole[: rows - lost]
    assert "its worker died" in rows_of(out)[-1]["error"]
    assert list((out / "_pieces").iterdir()) == []


def worker_of(options: ShardsOptions) -> ShardWorker:
    plan = read_plan(Place.parse(options.out, "--out"))
    assert plan
    return ShardWorker.open(Job(options, None, ONNX, plan.digest))


def test_a_worker_with_other_files_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    answer(source, out)
    options = ShardsOptions(str(source), out=str(out), labels_only=True)
    with pytest.raises(InputError, match="expected one that all machines share"):
        ShardWorker.open(Job(options, None, ONNX, "0" * 64))
    record = json.loads((out / PLAN).read_text())
    record["model"]["bundle"] = "0" * 64
    (out / PLAN).write_text(json.dumps(record))
    with pytest.raises(InputError, match="another model than where the command runs"):
        worker_of(options)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"shard_rows": 5}, "--shard-rows needs a folder; write it as"),
        ({"share": "1/2"}, "--share needs a folder"),
        ({"ray": "auto"}, "--ray needs a folder"),
        ({"workers": 2}, "--workers without --ray"),
        ({"threads": 2}, "--threads without --ray"),
        ({"ray": "a b", "out": "a/"}, "expected auto, local, or an address"),
        ({"share": "3/2", "out": "a/"}, "expected NUMBER/COUNT"),
        ({"share": "0/2", "out": "a/"}, "expected NUMBER/COUNT"),
        ({"share": "1/2", "restart": True, "out": "a/"}, "--share with --restart"),
        ({"share": "1/2", "ray": "local", "out": "a/"}, "--share with --ray"),
        ({"source": "in"}, "in needs a folder; write it as"),
        ({"source": "in/*.csv"}, "needs a folder"),
        ({"source": "none/*.csv", "out": "a/"}, "no file fits this pattern"),
        ({"source": "none.csv", "out": "a/"}, "no such file"),
        ({"source": "ftp://a/b", "out": "a/"}, "found ftp://, expected a path or an address"),
        ({"source": "s3://key:secret@a/b", "out": "a/"}, "found a key in the address"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "in")
    with pytest.raises(DuetError, match=says) as error:
        command(**{"source": "in/t0.csv", "out": "a.jsonl", "labels_only": True, **given})
    assert "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_the_out_decides_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    options = AnswerOptions("t.csv")
    for out, is_folder in (("a.jsonl", False), ("a/", True), ("there", True), ("s3://b/a", True)):
        assert (shards_options(options, out, False, None, None, None) is not None) == is_folder
    assert ray_options("10.0.0.1:6379", 4, None) == RayOptions("10.0.0.1:6379", 4, 2)


def test_every_kind_of_record_comes_back(tmp_path: Path) -> None:
    full = {
        "id": "1\ud800", "labels": {"type": "Incident"}, "confidence": {"type": 0.5}, "confidence_all": 0.5, "tags": [],
        "reply": "a\0b", "apply": {"type": False}, "needs_review": True, "masked": ["x"], "truncated": False,
        "reply_cut": False,
        "similar": [{"id": "2", "similarity": 1.0, "subject": "", "labels": {"type": "Incident"}, "tags": ["a"],
                     "reply": "", "repeat": True}],
    }  # fmt: skip
    bare = {key: value for key, value in full.items() if key != "similar"} | {"reply": None, "id": "2"}
    failed = {"id": "3", "error": "line 3: no text"}
    writer = PartWriter(["type"], "plan", "t\ud800.csv")
    writer.add([full, bare, failed])
    path = tmp_path / "part.parquet"
    path.write_bytes(writer.content())
    with path.open("rb") as file:
        assert list(read_answers(file)) == [full | {"id": "1\\ud800"}, bare, failed]


def test_saved_answers_are_scored(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    tickets = [
        Ticket(f"{i}", "s", f"My printer {i} is broken", labels={"type": ("Incident", "Request")[i % 2]})
        for i in range(12)
    ]
    for part, some in (("train", tickets), ("validation", tickets[:2]), ("test", tickets[2:])):
        write_tickets(data / f"{part}.jsonl", some)
    answer(data / "test.jsonl", tmp_path / "out", shard_rows=4)
    given = {row["id"]: row["labels"]["type"] for row in rows_of(tmp_path / "out")}
    right = sum(given[ticket.id] == ticket.labels["type"] for ticket in tickets[2:])
    found = evaluate_answers(str(tmp_path / "out"), str(data), "test")
    assert found.columns["type"]["two-stage"].accuracy.value == pytest.approx(right / 10)
    lines = [row for row in rows_of(tmp_path / "out") if row["id"] != "5"] + [{"id": "7x", "error": "line 9: no text"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    partly = evaluate_answers(str(tmp_path / "a.jsonl"), str(data), "test")
    assert (partly.without_answer, partly.others) == (1, 1)
    lost = given["5"] == "Request"
    assert partly.columns["type"]["two-stage"].accuracy.value == pytest.approx((right - lost) / 10)
    assert "10 tickets, 1 of them without an answer, which counts as wrong" in render_answers(partly)
    with (tmp_path / "a.jsonl").open("a") as file:
        file.write(json.dumps(lines[0]) + "\n")
    with pytest.raises(InputError, match="twice"):
        evaluate_answers(str(tmp_path / "a.jsonl"), str(data), "test")
    with pytest.raises(InputError, match="answers no validation ticket"):
        evaluate_answers(str(tmp_path / "out"), str(data), "validation")
    with pytest.raises(InputError, match="no answers there"):
        evaluate_answers(str(tmp_path / "none"), str(data), "test")
