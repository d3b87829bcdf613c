"""The table of `make bench-gpu`: what is kept, what failed, and where it is written."""

from pathlib import Path

import pytest
import torch

from backbone.runs.files import write_json
from bench import gpu
from bench.gpu_rows import Cell

_FACTS = {"machine": "Some GPU, CUDA 13.0", "versions": {"torch": "2.13.0"}}


def test_the_table_holds_what_was_measured_and_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "train-classifier.json", {**_FACTS, "cells": [Cell("classifier", "0.60", "0.61", "1 / 2")]})
    write_json(tmp_path / "compile.json", {**_FACTS, "failed": "Error: a | b; runs/bench-gpu/compile.log"})
    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{gpu.BEGIN}old\n{gpu.END}after\n", encoding="utf-8")
    monkeypatch.setattr(gpu, "DOCUMENT", document)
    gpu._write(gpu._table(tmp_path))
    lines = document.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "before" and lines[-1] == "after" and "old" not in lines
    assert lines[2].startswith("Some GPU, CUDA 13.0, torch 2.13.0, ")
    assert "| classifier | 0.60 | 0.61 | 1 / 2 |" in lines
    assert "| compile | | failed | Error: a / b; runs/bench-gpu/compile.log |" in lines


def test_the_document_has_the_place_of_the_table() -> None:
    text = gpu.DOCUMENT.read_text(encoding="utf-8")
    assert text.count(gpu.BEGIN) == text.count(gpu.END) == 1 and text.index(gpu.BEGIN) < text.index(gpu.END)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["gpu.py"])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: no GPU was found")
