"""Exporting a bundle: what is in it, what is refused, and that damage is told before anything is loaded."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backbone.config import RunConfig
from backbone.dataset import load_part
from backbone.runs.files import sha256
from backbone.runs.layout import MANIFEST
from classifier.onnx_export import check_size
from pipeline.batch import BatchOptions, predict_batch
from pipeline.engine_choice import EngineChoice
from pipeline.export import check as export_check
from pipeline.export import parity
from pipeline.export.bundle import Bundle
from pipeline.export.export import export
from pipeline.export.options import ExportOptions
from pipeline.export.parity import ColumnParity, Parity
from pipeline.predict import PredictOptions, predict_files
from pipeline.two_stage import load_two_stage
from tickets.errors import InputError, WorkError
from tickets.schema import Ticket, write_tickets

pytestmark = pytest.mark.slow

pytest.importorskip("llama_cpp")


@pytest.fixture(scope="module")
def bundle(trained_run: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundle") / "bundle"
    text = export(ExportOptions(trained_run.folder, out, quant="f16", onnx=True, merged=True, check=24, memory=True))
    assert "0 labels changed" in text
    return out


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copied"))


def test_a_bundle_holds_what_it_says(bundle: Path, trained_run: RunConfig) -> None:
    record = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    assert {"base.f16.gguf", "classifier.lora.gguf", "generator.lora.gguf", "generator.f16.gguf", "Modelfile"} <= set(
        record["files"]
    )
    assert record["bundle"]["base"]["fingerprint"]
    assert set(record["bundle"]["runs"]) == {"classifier", "generator"}
    checks = json.loads((bundle / "check.json").read_text(encoding="utf-8"))["check"]
    names = ["GGUF f16", "merged generator f16", "ONNX fp32", "ONNX int8"]
    assert [check["name"] for check in checks] == names
    for check in (checks[0], checks[2]):
        assert all(column["flips"] == 0 for column in check["columns"].values())
        assert check["state_difference"] < 0.01
    assert checks[0]["reply_tokens"] == 1.0
    run = json.loads((trained_run.folder / "classifier" / "run.json").read_text(encoding="utf-8"))
    accuracy = run["calibrated"]["type"]["accuracy"]
    assert f"{accuracy:.3f}" in (bundle / "README.md").read_text(encoding="utf-8")
    assert not bundle.with_name("bundle.partial").exists()


def test_resolved_tickets_are_shown_beside_an_answer(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], tickets: list[Ticket]
) -> None:
    (tmp_path / "ticket.txt").write_text(tickets[0].text, encoding="utf-8")
    options = PredictOptions(as_json=True, labels_only=True, similar=2)
    predict_files([tmp_path / "ticket.txt"], bundle, options)
    found = json.loads(capsys.readouterr().out)["similar"]
    assert len(found) == 2 and found[0]["similarity"] >= found[1]["similarity"] > 0
    assert set(found[0]) == {"id", "similarity", "subject", "labels", "tags", "reply", "repeat"}
    write_tickets(tmp_path / "t.jsonl", tickets[:3])
    batch = BatchOptions(str(tmp_path / "t.jsonl"), tmp_path / "a.jsonl", labels_only=True, similar=2)
    assert predict_batch(batch, bundle, EngineChoice()) == 3
    answers = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()]
    assert answers[0]["similar"] == found and all(len(answer["similar"]) == 2 for answer in answers)


@pytest.mark.parametrize("engine", ["auto", "llama", "onnx", "torch"])
def test_every_engine_answers_alike(bundle: Path, trained_run: RunConfig, engine: str, tickets: list[Ticket]) -> None:
    if engine in ("auto", "onnx"):  # fp32, because int8 may differ
        bundle = Path(shutil.copytree(bundle, bundle.parent / f"fp32-{engine}"))
        record = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
        del record["files"]["onnx-int8/classifier.onnx"]
        (bundle / MANIFEST).write_text(json.dumps(record))
    expected = load_two_stage(trained_run.folder).answer(tickets[:6])
    found = load_two_stage(bundle, choice=EngineChoice(engine, together=4)).answer(tickets[:6])
    for one, other in zip(expected, found, strict=True):
        assert one.prediction.labels == other.prediction.labels
        assert one.reply == other.reply
        for column, confidence in one.prediction.confidence.items():
            assert confidence == pytest.approx(other.prediction.confidence[column], abs=2e-3)


@pytest.mark.parametrize("engine", ["llama", "onnx"])
def test_cpu_predictions_import_neither_torch_nor_transformers(bundle: Path, tmp_path: Path, engine: str) -> None:
    (tmp_path / "ticket.txt").write_text("Subject: VPN\n\nIt is down.", encoding="utf-8")
    code = (
        "import sys, cli\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code, end\n"
        "print(sorted({'torch', 'transformers', 'peft', 'sklearn'} & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "predict", str(tmp_path / "ticket.txt"), "--model", str(bundle)]
    done = subprocess.run([*command, "--engine", engine], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[]"), done.stderr
    assert done.stdout.startswith("type ")


@pytest.mark.parametrize(
    ("engine", "name"),
    [
        ("llama", "base.f16.gguf"),
        ("llama", "classifier.lora.gguf"),
        ("onnx", "onnx-int8/classifier.onnx"),
        ("llama", "classifier/heads.safetensors"),
        ("llama", "generator/labels.json"),
    ],
)
@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "missing"])
def test_a_damaged_file_is_refused_by_name_before_anything_is_loaded(
    copied: Path, engine: str, name: str, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = copied / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        middle = len(content) // 2
        changed = {
            "truncated": content[:-1],
            "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "foreign": (copied / "generator.lora.gguf").read_bytes(),
        }
        path.write_bytes(changed[damage])

    def loaded(*_: Any, **__: Any) -> None:
        raise AssertionError("a damaged bundle was loaded")

    monkeypatch.setattr("engines.llama.LlamaEngine.__init__", loaded)
    monkeypatch.setattr("engines.onnx.OnnxEngine.__init__", loaded)
    with pytest.raises(InputError, match=path.name):
        load_two_stage(copied, labels_only=engine == "onnx", choice=EngineChoice(engine))


@pytest.mark.parametrize(
    "manifest",
    [
        None,
        "",
        "[]",
        "{}",
        '{"files": {}}',
        '{"bundle": 3, "files": {}}',
        '{"bundle": {"format": 1, "quant": "f16"}, "files": {}}',
        '{"bundle": {"format": 1, "quant": "f16"}, "files": []}',
        '{"bundle": {"format": 1}, "files": {"check.json": ""}}',
    ],
)
def test_a_bundle_without_its_manifest_is_refused(copied: Path, manifest: str | None) -> None:
    path = copied / MANIFEST
    path.unlink()
    if manifest is not None:
        path.write_text(manifest, encoding="utf-8")
    with pytest.raises(InputError, match="restore it, or export again"):
        load_two_stage(copied)


def test_verify_finds_damage_that_no_engine_reads(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "cli.py", "verify", str(copied)]
    root = Path(__file__).parent.parent
    whole = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (whole.returncode, whole.stderr) == (0, "")
    (copied / "README.md").write_text("mine", encoding="utf-8")
    damaged = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert damaged.returncode == 2
    assert "README.md: damaged" in damaged.stderr


def test_a_folder_of_somebody_else_is_left_alone(trained_run: RunConfig, tmp_path: Path) -> None:
    mine = tmp_path / "out.partial" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    with pytest.raises(InputError, match="is no unfinished export"):
        export(ExportOptions(trained_run.folder, tmp_path / "out", quant="f16", check=2))
    assert mine.read_text() == "precious"


def test_a_damaged_adapter_is_refused_before_the_base_is_loaded(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copied / "generator.lora.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("engines.llama_model._load_model", lambda *_: pytest.fail("loaded"))
    with pytest.raises(InputError, match=r"generator\.lora\.gguf: damaged"):
        load_two_stage(copied, choice=EngineChoice("llama"))


def test_engines_that_are_not_there_are_one_line(trained_run: RunConfig, copied: Path) -> None:
    with pytest.raises(InputError, match="duet export"):
        load_two_stage(trained_run.folder, choice=EngineChoice("llama"))
    with pytest.raises(InputError, match="--onnx"):
        load_two_stage(trained_run.folder, choice=EngineChoice("onnx"))
    with pytest.raises(InputError, match="expected one of auto, onnx, llama, torch"):
        EngineChoice("vulkan")
    record = json.loads((copied / MANIFEST).read_text(encoding="utf-8"))
    record["bundle"]["format"] = 2
    (copied / MANIFEST).write_text(json.dumps(record))
    with pytest.raises(InputError, match="format 2"):
        Bundle.open(copied)


def test_a_bundle_without_its_base_still_answers(copied: Path, trained_run: RunConfig, tickets: list[Ticket]) -> None:
    """A CPU box has no safetensors of a 7B base: nothing may look for them."""
    for stage in ("classifier", "generator"):
        record = json.loads((copied / stage / "base.json").read_text(encoding="utf-8"))
        record |= {"name": "/nowhere/qwen2", "folder": ""}
        text = json.dumps(record)
        (copied / stage / "base.json").write_text(text)
        manifest = json.loads((copied / stage / MANIFEST).read_text(encoding="utf-8"))
        manifest["files"]["base.json"] = sha256(copied / stage / "base.json")
        (copied / stage / MANIFEST).write_text(json.dumps(manifest))
        whole = json.loads((copied / MANIFEST).read_text(encoding="utf-8"))
        changed = (f"{stage}/base.json", f"{stage}/{MANIFEST}")
        whole["files"] |= {name: sha256(copied / name) for name in changed}
        (copied / MANIFEST).write_text(json.dumps(whole))
    answers = load_two_stage(copied).answer(tickets[:2])
    assert all(answer.reply is not None for answer in answers)
    with pytest.raises(InputError, match="/nowhere/qwen2"):
        load_two_stage(copied, choice=EngineChoice("torch"))


def test_stages_of_another_bundle_are_refused(copied: Path) -> None:
    """A stage folder that agrees with its own manifest, but not with the bundle's."""
    other = copied / "classifier"
    labels = json.loads((other / "labels.json").read_text(encoding="utf-8"))
    (other / "labels.json").write_text(json.dumps(labels))
    manifest = json.loads((other / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"]["labels.json"] = sha256(other / "labels.json")
    (other / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"classifier/.*: damaged"):
        load_two_stage(copied, labels_only=True)


def _edited_run(run: Path, out: Path, stage: str, name: str, edit: dict[str, Any]) -> Path:
    """A copy of a run with keys of one JSON file replaced, its manifest put right."""
    shutil.copytree(run, out)
    path = out / stage / name
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **edit}), encoding="utf-8")
    manifest = json.loads((out / stage / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"][name] = sha256(path)
    (out / stage / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    return out


@pytest.mark.parametrize(
    ("stage", "name", "edit", "words"),
    [
        ("generator", "base.json", {"fingerprint": "0" * 64}, "another base"),
        ("generator", "labels.json", {"columns": {"type": ["a", "b"]}}, "other labels .* in type"),
        ("generator", "tokenizer.json", {"truncation": {}}, "another tokenizer"),
        ("classifier", "adapter/adapter_config.json", {"use_rslora": True}, "use_rslora"),
        ("generator", "adapter/adapter_config.json", {"alpha_pattern": {"q_proj": 2}}, "alpha_pattern"),
    ],
)
def test_runs_that_do_not_fit_are_refused(
    trained_run: RunConfig, tmp_path: Path, stage: str, name: str, edit: dict[str, Any], words: str
) -> None:
    run = _edited_run(trained_run.folder, tmp_path / "run", stage, name, edit)
    with pytest.raises(InputError, match=words):
        export(ExportOptions(run, tmp_path / "out", quant="f16", check=2))
    assert not (tmp_path / "out").exists()


def test_bad_export_options_are_one_line(trained_run: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of auto, f16, q8_0"):
        ExportOptions(None, tmp_path, quant="q3_k")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is no bundle"):
        export(ExportOptions(trained_run.folder, tmp_path, quant="f16"))
    with pytest.raises(InputError, match="no classifier"):
        export(ExportOptions(trained_run.folder / "generator", tmp_path / "out", quant="f16"))
    with pytest.raises(InputError, match="no generator"):
        export(ExportOptions(trained_run.folder, tmp_path / "out", trained_run.folder / "classifier", quant="f16"))
    with pytest.raises(InputError, match="--data"):
        export(ExportOptions(trained_run.folder, tmp_path / "out", quant="f16", data="/nowhere"))


def test_onnx_is_for_bases_up_to_1_5b(tmp_path: Path) -> None:
    heads = {"num_attention_heads": 28, "num_key_value_heads": 4, "num_hidden_layers": 28}
    shape = {"hidden_size": 3584, "intermediate_size": 18944, "vocab_size": 152064, **heads}
    (tmp_path / "config.json").write_text(json.dumps(shape))
    with pytest.raises(InputError, match=r"7\.\d billion parameters, expected at most 1.5B"):
        check_size(tmp_path, None)
    check_size(tmp_path, 4)  # the first blocks of a large base
    heads = {"num_attention_heads": 12, "num_key_value_heads": 2, "num_hidden_layers": 28}
    shape = {"hidden_size": 1536, "intermediate_size": 8960, "vocab_size": 151936, **heads}
    (tmp_path / "config.json").write_text(json.dumps(shape))
    check_size(tmp_path, None)


@pytest.mark.parametrize(
    ("lost", "flips", "words"), [(9, 0, "lowers the accuracy of type from 0.800 to 0.755"), (0, 1, "changes 1")]
)
def test_an_export_that_changed_the_model_is_not_kept(
    trained_run: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lost: int,
    flips: int,
    words: str,
) -> None:
    compare = parity.compare_with_reference

    def changed(*arguments: Any) -> Parity:
        result = compare(*arguments)
        column = ColumnParity(flips, 0, tickets=200, right_before=160, lost=lost, won=0)
        return Parity(**{**vars(result), "columns": {**result.columns, "type": column}})

    monkeypatch.setattr(export_check, "compare_with_reference", changed)
    out = tmp_path / "out"
    with pytest.raises(WorkError, match=words):
        export(ExportOptions(trained_run.folder, out, quant="f16", check=4))
    assert not out.exists()
    assert "4 validation tickets" in capsys.readouterr().err  # what was found is told all the same
    monkeypatch.undo()
    times = {path.name: path.stat().st_mtime_ns for path in out.with_name("out.partial").glob("*.gguf")}
    export(ExportOptions(trained_run.folder, out, quant="f16", check=4))  # goes on: the files are there already
    assert {name: (out / name).stat().st_mtime_ns for name in times} == times


@pytest.mark.parametrize(
    ("tickets", "lost", "won", "verdict"),
    [
        (24, 1, 0, "kept"),  # 4.2 points, and one label
        (24, 2, 0, "warned, 3202"),
        (64, 2, 0, "warned, 1201"),
        (64, 3, 0, "refused"),  # 4.7 points
        (256, 3, 1, "kept"),  # 0.8 points
        (256, 4, 1, "warned, 751"),  # 1.2 points, exact interval from -0.6
        (256, 6, 0, "refused"),  # 2.3 points, clear of zero
        (256, 5, 0, "warned, 751"),  # 2.0 points, p = 0.06
        (1000, 25, 9, "refused"),  # 1.6 points, clear of zero
        (1000, 20, 9, "warned, 1115"),  # 1.1 points
        (1000, 9, 0, "kept"),  # 0.9 points, clear of zero
        (2000, 300, 240, "refused"),  # 3.0 points, clear of zero
        (256, 0, 9, "kept"),
    ],
)
def test_a_loss_is_refused_when_it_is_no_chance(tickets: int, lost: int, won: int, verdict: str) -> None:
    column = ColumnParity(lost + won, 0, tickets=tickets, right_before=tickets * 3 // 4, lost=lost, won=won)
    result = Parity("GGUF q8_0", tickets, {"type": column}, None, 0, 0, None)
    fault, warnings = export_check._fault(result, exact=False), list(export_check._warnings(result))
    assert (fault is not None) == (verdict == "refused")
    if verdict.startswith("warned"):
        assert verdict.removeprefix("warned, ") in warnings[0]
    if verdict == "kept":
        assert not warnings
    record = result.to_dict()["columns"]["type"]
    assert record["accuracy_before"] - record["accuracy_after"] == pytest.approx((lost - won) / tickets)


def test_what_an_earlier_attempt_left_is_not_published(
    trained_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused --onnx --merged export, then one without: neither its graphs nor its generator may ship unchecked."""

    def refused(*_: Any) -> None:
        raise WorkError("refused")

    out = tmp_path / "out"
    monkeypatch.setattr("pipeline.export.export.check_export", refused)
    with pytest.raises(WorkError, match="refused"):
        export(ExportOptions(trained_run.folder, out, quant="q8_0", onnx=True, merged=True, check=2))
    partial = tmp_path / "out.partial"
    assert (partial / "onnx-int8").is_dir()
    (partial / "base.f16.gguf.unfinished").write_bytes(b"half")
    monkeypatch.undo()
    export(ExportOptions(trained_run.folder, out, quant="q8_0", check=2))
    files = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["files"]
    assert not [name for name in files if "onnx" in name or "unfinished" in name or name.startswith("generator.q")]
    assert "Modelfile" not in files


def test_a_full_disk_is_one_line_and_the_export_goes_on(
    trained_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def full(*_: Any, **__: Any) -> None:
        raise OSError("3000000 requested and 0 written")  # numpy's tofile, really

    monkeypatch.setattr("gguf.GGUFWriter.write_tensor_data", full)
    with pytest.raises(WorkError, match="disk is full"):
        export(ExportOptions(trained_run.folder, out, quant="f16", check=2))
    monkeypatch.undo()
    monkeypatch.setattr("backbone.runs.folder._files", full)
    with pytest.raises(WorkError, match="disk is full"):
        export(ExportOptions(trained_run.folder, out, quant="f16", check=2))
    monkeypatch.undo()
    written = (tmp_path / "out.partial" / "base.f16.gguf").stat().st_mtime_ns
    export(ExportOptions(trained_run.folder, out, quant="f16", check=2))
    assert (out / "base.f16.gguf").stat().st_mtime_ns == written


def test_places_that_cannot_be_written_are_one_line(trained_run: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="choose another --out"):
        export(ExportOptions(trained_run.folder, tmp_path / "file" / "out", quant="f16", check=2))


def test_quantised_bases_say_what_changed(trained_run: RunConfig, tmp_path: Path) -> None:
    text = export(ExportOptions(trained_run.folder, tmp_path / "out", quant="q8_0", check=8))
    assert "GGUF q8_0: 8 validation tickets" in text
    assert (tmp_path / "out" / "base.q8_0.gguf").is_file()
    assert not (tmp_path / "out" / "base.f16.gguf").exists()


def test_without_llama_cpp_labels_still_export_and_run(
    trained_run: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_data: Path
) -> None:
    monkeypatch.setattr("pipeline.export.options.find_spec", lambda name: None)
    with pytest.raises(InputError, match="make llama"):
        ExportOptions(trained_run.folder, tmp_path / "out")
    with pytest.raises(InputError, match="goes with --onnx"):
        ExportOptions(trained_run.folder, tmp_path / "out", quant="none")
    text = export(ExportOptions(trained_run.folder, tmp_path / "out", quant="none", onnx=True, check=4))
    assert "GGUF" not in text
    answers = load_two_stage(tmp_path / "out").answer(load_part(small_data, "test")[:2])  # replies by torch
    assert all(answer.reply is not None for answer in answers)


def test_a_bundle_says_how_to_add_llama_cpp(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tickets: list[Ticket]
) -> None:
    monkeypatch.setattr("pipeline.engine_choice.find_spec", lambda name: None if name == "llama_cpp" else object())
    assert load_two_stage(bundle).answer(tickets[:1])[0].reply is not None
    assert "make llama" in capsys.readouterr().err


def test_a_classifier_alone_becomes_a_bundle_of_labels(
    trained_run: RunConfig, tmp_path: Path, small_data: Path
) -> None:
    export(ExportOptions(trained_run.folder / "classifier", tmp_path / "out", quant="f16", check=4))
    answers = load_two_stage(tmp_path / "out").answer(load_part(small_data, "test")[:2])
    assert [answer.reply for answer in answers] == [None, None]
