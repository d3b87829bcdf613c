"""Files of a bundle that do not belong together, or name others, with sums that are right."""

import json
import math
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from gguf import GGUFWriter
from safetensors.numpy import load_file, save_file

from backbone.adapters import read_adapter
from backbone.config_file import load_config
from backbone.gguf_files import write_base
from backbone.runs.files import sha256
from backbone.runs.folder import verify
from backbone.runs.manifest import read_manifest, unlisted
from backbone.shipped import mini_folder
from classifier.joint import JointDecoder
from engines.gguf_file import check_base
from engines.onnx_file import check_graph, check_graph_once
from eval.training_facts import training_facts
from pipeline.engine_choice import EngineChoice
from pipeline.export.model_card import model_card
from pipeline.model_folder import open_model
from pipeline.two_stage import load_two_stage
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.preparation.token_counts import TokenCounter


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return Path(shutil.copytree(mini_folder(), tmp_path / "mini"))


def resign(folder: Path) -> None:
    """Make the sums of a bundle right again."""
    for path in [*folder.glob("*/manifest.json"), folder / "manifest.json"]:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["files"] = {n: sha256(path.parent / n) for n in record["files"] if (path.parent / n).is_file()}
        path.write_text(json.dumps(record), encoding="utf-8")


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")


def edit_heads(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def edit_type(path: Path, kind: str, size: int) -> None:
    """Write tensors of another type, which numpy lacks."""
    header, at = {}, 0
    for name, values in load_file(path).items():
        header[name] = {"dtype": kind, "shape": values.shape, "data_offsets": [at, at + values.size * size]}
        at += values.size * size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


UNKNOWN = {"type": "WordLevel", "unk_token": "no such token"}
FIXED = {
    "strategy": {"Fixed": 10**9}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
    "pad_token": "x",
}  # fmt: skip
MISFITS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "no head": (
        "heads.safetensors",
        lambda p: edit_heads(p, lambda t: t.pop("head_queue.weight")),
        "head_queue.weight",
    ),
    "one head less": (
        "heads.safetensors",
        lambda p: edit_heads(p, lambda t: (t.pop("head_queue.weight"), t.pop("head_queue.bias"))),
        "has no head for 'queue'",
    ),
    "another head": (
        "heads.safetensors",
        lambda p: edit_heads(p, lambda t: t.update({"head_x.weight": np.ones((2, 256)), "head_x.bias": np.ones(2)})),
        "'x'",
    ),
    "narrow heads": (
        "heads.safetensors",
        lambda p: edit_heads(
            p, lambda t: t.update({n: np.ascontiguousarray(v[:, :9]) for n, v in t.items() if v.ndim == 2})
        ),
        "read states of 9",
    ),
    "whole numbers": (
        "heads.safetensors",
        lambda p: edit_heads(p, lambda t: t.update({n: v.astype(np.int64) for n, v in t.items()})),
        "no matrix of numbers",
    ),
    "fewer classes": ("labels.json", lambda p: edit(p, lambda r: r["columns"].update(queue=["A", "B"])), "has 2"),
    "fewer tags": ("labels.json", lambda p: edit(p, lambda r: r.update(tags=r["tags"][:3])), "has 3"),
    "a class twice": (
        "labels.json",
        lambda p: edit(p, lambda r: r["columns"]["queue"].append("IT Support")),
        "different",
    ),
    "classes no text": ("labels.json", lambda p: edit(p, lambda r: r["columns"].update(queue=[1, 2])), "different"),
    "no columns": ("labels.json", lambda p: edit(p, lambda r: r.update(columns={})), "different names"),
    "no calibration": ("calibration.json", lambda p: edit(p, lambda r: r["heads"].pop("queue")), "nothing for 'queue'"),
    "short offsets": (
        "calibration.json",
        lambda p: edit(p, lambda r: r["heads"]["queue"]["offset"].pop()),
        "9 offsets",
    ),
    "a column of tags": ("labels.json", lambda p: edit(p, lambda r: r["columns"].update(tags=["a", "b"])), "'tags'"),
    "F8 heads": ("heads.safetensors", lambda p: edit_type(p, "F8_E4M3", 1), "of F8_E4M3"),
    "WordLevel": (
        "tokenizer.json",
        lambda p: edit(p, lambda r: r.update(model={**UNKNOWN, "vocab": r["model"]["vocab"]})),
        "a WordLevel model",
    ),
    "dropout": ("tokenizer.json", lambda p: edit(p, lambda r: r["model"].update(dropout=0.5)), "without dropout"),
    "padding": ("tokenizer.json", lambda p: edit(p, lambda r: r.update(padding=FIXED)), "pads every text"),
    "extends": ("config.yaml", lambda p: p.write_text("extends: ../../secret.yaml"), "no file inside"),
    "extends a link": (
        "config.yaml",
        lambda p: (p.write_text("extends: a.yaml"), (p.parent / "a.yaml").symlink_to("/etc/hosts")),
        "no file inside",
    ),
    "deep labels": ("labels.json", lambda p: p.write_text("[" * 100_000), "not a label space"),
    "deep base": ("base.json", lambda p: p.write_text("[" * 100_000), "not the identity"),
    "deep run": ("run.json", lambda p: p.write_text("[" * 100_000), "not readable"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_parts_that_do_not_belong_together_are_refused_by_name(bundle: Path, case: str) -> None:
    name, change, told = MISFITS[case]
    change(bundle / "classifier" / name)
    resign(bundle)
    with pytest.raises(InputError) as error:
        load_two_stage(bundle, labels_only=True, choice=EngineChoice("onnx"))
    assert told in str(error.value) and "\n" not in str(error.value)
    assert "classifier" in str(error.value)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../x", "C:/x", "a\\b", "", ".", "a//b", "out/x", "./x", "a\0b"]
)
def test_names_outside_are_refused_before_they_are_opened(bundle: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (bundle / "out").symlink_to(tmp_path / "elsewhere")
    edit(bundle / "manifest.json", lambda r: r["files"].update({name: "0" * 64}))
    for call in (lambda: verify(bundle), lambda: load_two_stage(bundle, labels_only=True)):
        with pytest.raises(InputError, match="which is no file inside"):
            call()


@pytest.mark.parametrize("name", ["classifier/heads.safetensors", "classifier/labels.json", "classifier/manifest.json"])
def test_a_manifest_lists_what_is_needed(bundle: Path, name: str) -> None:
    edit(bundle / "manifest.json", lambda r: r["files"].pop(name))
    with pytest.raises(InputError, match="missing in manifest"):
        load_two_stage(bundle, labels_only=True)


def test_a_run_lists_what_is_needed(bundle: Path) -> None:
    edit(bundle / "classifier" / "manifest.json", lambda r: r["files"].pop("calibration.json"))
    with pytest.raises(InputError, match=r"calibration.json: missing in manifest"):
        load_two_stage(bundle / "classifier", labels_only=True)


def test_tables_of_label_pairs_that_nothing_vouches_for_are_refused(bundle: Path) -> None:
    edit(bundle / "classifier" / "manifest.json", lambda r: r["files"].pop("joint.json", None))
    (bundle / "classifier" / "joint.json").write_text("{}")
    with pytest.raises(InputError, match=r"joint.json: missing in manifest"):
        load_two_stage(bundle / "classifier", labels_only=True)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", '{"files": []}', '{"files": {"a": 1}}', "\xff", "null"])
def test_a_manifest_that_is_none_is_one_line(bundle: Path, text: str) -> None:
    (bundle / "manifest.json").write_bytes(text.encode("latin-1"))
    for call in (lambda: verify(bundle), lambda: load_two_stage(bundle, labels_only=True)):
        with pytest.raises(InputError, match="manifest") as error:
            call()
        assert "\n" not in str(error.value)


def test_files_that_are_not_listed_are_told(bundle: Path) -> None:
    assert unlisted(bundle) == []
    (bundle / "classifier" / "more.py").write_text("x")
    assert unlisted(bundle) == ["classifier/more.py"]
    assert "classifier/more.py" not in read_manifest(bundle)["files"]


def test_what_a_library_would_read_has_to_be_listed(bundle: Path) -> None:
    """An index leads transformers to files elsewhere, external data onnxruntime to other weights."""
    for name in ("base/model.safetensors.index.json", "base/chat_template.jinja", "onnx-int8/classifier.onnx.data"):
        (bundle / name).write_text("{}")
        with pytest.raises(InputError, match=f"{name}: missing") as error:
            load_two_stage(bundle, choice=EngineChoice("torch" if "base" in name else "onnx"), labels_only=True)
        assert "\n" not in str(error.value)
        (bundle / name).unlink()


def test_a_graph_of_another_form_is_refused(bundle: Path) -> None:
    path = bundle / "onnx-int8" / "classifier.onnx"
    whole = onnx.load_model(path)
    assert check_graph(path).hidden_size == 256 and check_graph(path).scales_over_batch

    def outside(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../../../etc/passwd")

    def loop(model: Any) -> None:
        node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
        inputs, outputs = [value("i", 7, []), value("c", 9, [])], [value("d", 9, [])]
        body = onnx.helper.make_graph([node("Identity", ["c"], ["d"])], "body", inputs, outputs)
        model.graph.node.append(node("Loop", ["n", "t"], [], body=body))

    changes: tuple[Callable[[Any], Any], ...] = (
        outside,
        lambda m: m.graph.initializer[0].dims.append(7),
        lambda m: m.graph.initializer[0].dims.__setitem__(0, -1),
        lambda m: m.graph.input.pop(),
        loop,
        lambda m: setattr(m.graph.output[0], "name", "other"),
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", onnx.TensorProto.FLOAT),
        lambda m: m.graph.ClearField("node"),
    )
    for change in changes:
        model = onnx.ModelProto()
        model.CopyFrom(whole)
        change(model)
        onnx.save_model(model, path)
        with pytest.raises(InputError, match="not a graph of `duet export`"):
            check_graph(path)
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(InputError, match="not a graph"):
        check_graph(path)


def test_a_graph_is_checked_once_for_its_content(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, expected = bundle / "onnx-int8" / "classifier.onnx", check_graph(bundle / "onnx-int8" / "classifier.onnx")
    digest = "0" * 64
    assert check_graph_once(path, digest) == expected
    (kept,) = (tmp_path / "cache").rglob("*.json")
    with monkeypatch.context() as patch:
        patch.setattr("engines.onnx_file.check_graph", lambda _: pytest.fail("checked again"))
        assert check_graph_once(path, digest) == expected
    for damage in ("", "{", "[]", '{"classes": 1}', '{"hidden_size": "x", "scales_over_batch": 1, "classes": {}}'):
        kept.write_text(damage)
        assert check_graph_once(path, digest) == expected
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert check_graph_once(path, digest) == expected


def test_a_graph_of_another_classifier_is_refused(bundle: Path) -> None:
    def fewer(tensors: dict[str, Any]) -> None:
        tensors.update({n: v[:3].copy() for n, v in tensors.items() if "queue" in n})

    folder = bundle / "classifier"
    edit_heads(folder / "heads.safetensors", fewer)
    edit(folder / "labels.json", lambda r: r["columns"].update(queue=r["columns"]["queue"][:3]))
    edit(folder / "calibration.json", lambda r: r["heads"]["queue"].update(offset=[0.0] * 3))
    resign(bundle)
    with pytest.raises(InputError, match=r"its graph is of a classifier with .*10 classes of queue"):
        load_two_stage(bundle, labels_only=True, choice=EngineChoice("onnx"))


def gguf_text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"GGML" + bytes(60),
        b"GGUF" + struct.pack("<IQQ", 2, 1, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 2**63),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", 2**63),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + gguf_text(b"a") + struct.pack("<I", 99),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + gguf_text(b"a") + struct.pack("<IIQ", 9, 4, 2**61),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + gguf_text(b"\xff") + struct.pack("<II", 4, 1),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + gguf_text(b"t") + struct.pack("<IQIQ", 1, 2**40, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + gguf_text(b"t") + struct.pack("<IQIQ", 1, 8, 77, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + gguf_text(b"t") + struct.pack("<IQIQ", 1, 8, 0, 1),
    ],
    ids=range(13),
)
def test_a_gguf_that_contradicts_itself_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "base.gguf").write_bytes(data)
    with pytest.raises(InputError, match="not a GGUF of `duet export`") as error:
        check_base(tmp_path / "base.gguf")
    assert "\n" not in str(error.value)


FOREIGN_KEYS: dict[str, Any] = {
    "qwen2.expert_count": 8,
    "qwen2.expert_used_count": 2,
    "qwen2.nextn_predict_layers": 1,
    "qwen2.embedding_length_out": 7,
    "qwen2.rope.scaling.type": "yarn",
    "qwen2.attention.sliding_window": 4,
    "tokenizer.ggml.scores": "none",
    "tokenizer.ggml.bos_token_id": 2**31,
    "split.count": 3,
}


@pytest.mark.parametrize("key", FOREIGN_KEYS)
def test_keys_that_duet_never_writes_are_refused_by_name(
    key: str, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp obeys them: with 8 experts it ends the process."""
    write_base(tiny_base, tmp_path / "base.gguf", "tiny")
    check_base(tmp_path / "base.gguf")
    value, write = FOREIGN_KEYS[key], GGUFWriter.write_header_to_file

    def write_with_key(writer: GGUFWriter, path: Path | None = None) -> None:
        (writer.add_string if isinstance(value, str) else writer.add_uint32)(key, value)
        write(writer, path)

    monkeypatch.setattr(GGUFWriter, "write_header_to_file", write_with_key)
    write_base(tiny_base, tmp_path / "foreign.gguf", "tiny")
    with pytest.raises(InputError, match=rf"unknown key '{re.escape(key)}'|special tokens"):
        check_base(tmp_path / "foreign.gguf")


@pytest.mark.parametrize(
    "change", [{"lora_alpha": 10**400}, {"lora_alpha": 1e308}, {"lora_alpha": "x"}, {"r": 10**400}, {"r": 0}, {"r": []}]
)
def test_an_adapter_with_absurd_numbers_is_refused(bundle: Path, change: dict[str, Any]) -> None:
    folder = bundle / "classifier" / "adapter"
    edit(folder / "adapter_config.json", lambda r: r.update(change))
    with pytest.raises(InputError, match="not a LoRA adapter") as error:
        read_adapter(folder)
    assert "\n" not in str(error.value)
    edit_type(folder / "adapter_model.safetensors", "F8_E4M3", 1)
    with pytest.raises(InputError, match="not a LoRA adapter"):
        read_adapter(folder)


@pytest.mark.parametrize("value", [10**400, 1e308, math.nan, "x", None, [1]])
def test_tables_of_label_pairs_with_absurd_numbers_are_refused(tmp_path: Path, value: Any) -> None:
    space = LabelSpace({"a": ("x", "y"), "b": ("x", "y")})
    columns = {name: {"scale": 1.0, "weighting": [0.0, 0.0]} for name in space.columns}
    record = {"columns": columns, "tables": [{"columns": ["a", "b"], "scores": [[0.0, 0.0], [0.0, 0.0]]}]}
    path = tmp_path / "joint.json"
    path.write_text(json.dumps(record))
    JointDecoder.load(path, space)
    columns["a"]["scale"] = value
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"joint.json: not ") as error:
        JointDecoder.load(path, space)
    assert "\n" not in str(error.value)


def test_a_configuration_of_ones_own_may_extend_what_it_likes(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(f"extends: {bundle / 'classifier' / 'config.yaml'}\nseed: 7\n")
    assert load_config(tmp_path / "own.yaml").seed == 7


@pytest.mark.parametrize("change", [{"best": None}, {"calibrated": []}, {"train_tickets": "x"}, {"loss_ratio": {}}])
def test_a_run_that_records_something_else_is_one_line(bundle: Path, change: dict[str, Any]) -> None:
    edit(bundle / "classifier" / "run.json", lambda r: r.update(change))
    resign(bundle)
    model = open_model(bundle)
    told = []
    for read in (lambda: model_card(model, "none", []), lambda: training_facts(model.stages["classifier"])):
        try:
            read()
        except InputError as error:
            told.append(str(error))
    assert told and not [line for line in told if "\n" in line]


@pytest.mark.parametrize(("change", "fits"), [({"padding": FIXED}, True), ({"model": {**UNKNOWN, "vocab": {}}}, False)])
def test_prepare_counts_tokens_with_any_tokenizer_or_says_why_not(
    bundle: Path, change: dict[str, Any], fits: bool
) -> None:
    path = bundle / "classifier" / "tokenizer.json"
    edit(path, lambda r: r.update(change))
    if fits:
        assert TokenCounter(path).counts(["my printer is broken"])[0] < 20
        return
    with pytest.raises(InputError, match="not a tokenizer"):
        TokenCounter(path)
