"""`predict-batch` and `predict` say what is unsure about how a source was read, as `prepare` does."""

from pathlib import Path

import pytest

from pipeline.batch import BatchOptions, predict_batch
from pipeline.engine_choice import EngineChoice
from pipeline.predict import PredictOptions, predict_files
from tickets.preparation.rows import Source

ROWS = "id,subject,body\n" + "".join(f"t{n},s,Der Drucker {n} läuft nicht, bitte Größe prüfen\n" for n in range(4))


def told(content: bytes, folder: Path, capsys: pytest.CaptureFixture[str], encoding: str | None = None) -> list[str]:
    (folder / "t.csv").write_bytes(content)
    options = BatchOptions(str(folder / "t.csv"), folder / "a.jsonl", labels_only=True, encoding=encoding, restart=True)
    predict_batch(options, None, EngineChoice("onnx"))
    return [line for line in capsys.readouterr().err.splitlines() if "ncoding" in line or "Not read" in line]


def test_a_guessed_encoding_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for codec, named in (("cp1252", "Windows-1252"), ("cp850", "IBM 850")):
        notes = told(ROWS.encode(codec), tmp_path, capsys)
        assert len(notes) == 1 and named in notes[0] and "--encoding" in notes[0]
        assert told(ROWS.encode(codec), tmp_path, capsys, encoding=codec) == []
    assert told(ROWS.encode(), tmp_path, capsys) == []


def test_predict_warns_of_a_guessed_encoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes("Der Drucker läuft nicht, bitte Größe prüfen".encode("cp1252"))
    predict_files([path], None, PredictOptions(labels_only=True), EngineChoice("onnx"))
    errors = capsys.readouterr().err
    assert errors.count(f"warning: {path}: not Unicode") == 1 and "save it as UTF-8" in errors
    path.write_text("Der Drucker läuft nicht, bitte Größe prüfen", encoding="utf-8")
    predict_files([path], None, PredictOptions(labels_only=True), EngineChoice("onnx"))
    assert "not Unicode" not in capsys.readouterr().err


def test_columns_that_could_be_labels_mean_nothing_to_who_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"t{n},s,The printer {n} is broken,{('Alpha', 'Beta')[n % 2]}\n" for n in range(40)]
    (tmp_path / "t.csv").write_text("id,subject,body,crew\n" + "".join(rows))
    assert any("Could be labels too" in note for note in Source.open(str(tmp_path / "t.csv")).log.all_notes())
    options = BatchOptions(str(tmp_path / "t.csv"), tmp_path / "a.jsonl", labels_only=True)
    assert predict_batch(options, None, EngineChoice("onnx")) == 40
    assert "Could be labels" not in capsys.readouterr().err
