"""Doubt fails closed, files are limited, and nothing that is printed drives a terminal."""

import gzip
import io
import json
import math
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from backbone.config import BaseConfig, DecodingConfig
from backbone.config_file import load_config, read_yaml
from backbone.runs.files import read_json, sha256, write_json
from backbone.shipped import mini_folder
from backbone.training.pretrain import PretrainConfig, load_pretrain_config, pretrain
from engines.addresses import without_credentials
from engines.protocols import Row
from engines.sampling import TokenChooser
from engines.torch import TorchEngine
from eval.human import _safe
from eval.report.blocks import Section, Table
from eval.report.page import _html, _markdown, section_text
from pipeline.two_stage import load_two_stage
from tickets.errors import InputError, WorkError
from tickets.formats.readers import read_rows
from tickets.preparation.prepare import PrepareOptions, prepare
from tickets.raw import RawRow
from tickets.schema import Prediction, Ticket, ticket_from_line, ticket_to_json
from tickets.terminal import JSON_ESCAPES, EscapingStream, escape_controls

ROOT = Path(__file__).parent.parent
BOMB = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) if i else 'x'}]" for i in range(10))
MERGE_BOMB = "a0: &a0 {k: 1}\n" + "\n".join(
    f"a{i}: &a{i}\n  <<: [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)
)


@pytest.mark.parametrize(
    "text",
    [
        "name: 2024-13-45",
        f"seed: {'1' * 5000}",
        "a: &a [*a]",
        "[" * 5000,
        "seed: 0x",
        "lora: {rank: !!float x}",
        "name: !!timestamp x",
        "<<: 3",
        BOMB,
        MERGE_BOMB,
        "x: " + "y" * 2_000_000,
        "seed: *nothing",
        f"seed: 0x{'f' * 100_000}",
        f"seed: 0{'7' * 100_000}",
        f"seed: 1{':11' * 100_000}",
        f"seed: !!int '0b{'1' * 9000}'",
        "".join(f"k{i}: {i}\n" for i in range(60_000)),
        f"a: [{'1,' * 400_000}1]",
        "? " * 5000,
        "".join(f"{' ' * i}a:\n" for i in range(1000)),
        "name: a\nname: b\n",
        "lora: {rank: 8}\nseed: 1\nlora: {rank: 9}\n",
        "lora: {rank: 8, 'rank': 9}\n",
    ],
    ids=range(23),
)
def test_what_is_no_yaml_of_ours_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    start = time.thread_time()
    with pytest.raises(InputError) as error:
        load_config(tmp_path / "c.yaml")
    assert "\n" not in str(error.value) and str(tmp_path / "c.yaml") in str(error.value)
    assert len(str(error.value)) < 600
    assert time.thread_time() - start < 5


def test_a_key_may_stand_over_a_merged_one(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  x: 3\n", encoding="utf-8")
    assert read_yaml(tmp_path / "c.yaml")["b"] == {"x": 3, "y": 2}


def test_keys_are_text_and_anchors_are_copied(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: &a {1: x, No: y}\nb: *a\n", encoding="utf-8")
    record = read_yaml(tmp_path / "c.yaml")
    assert record == {"a": {"1": "x", "No": "y"}, "b": {"1": "x", "No": "y"}}
    assert record["a"] is not record["b"]


@pytest.mark.parametrize(
    "override",
    [
        "classifier.training.learning_rate=.inf",
        "lora.alpha=.inf",
        "lora.alpha=.nan",
        "classifier.training.epochs=.inf",
        "classifier.training.epochs=1e308",
        "lora.rank=1000000000",
        "seed=-1",
        "seed=4294967296",
        "decoding.seed=-1",
        "name=..",
        "name=CON",
        "name=nul.txt",
        "name=com1",
        "name=run.",
        "name=a/b",
        "classifier.class_weights={priority: {low: .inf}}",
        f"seed={'1' * 5000}",
        "name=2024-13-45",
        "data.max_train=1000000000000000000000",
        "classifier.training.max_steps=1000000000000000000000",
        "classifier.training.batch_tokens=1000000000000000000000",
        "lora.alpha=1e308",
        "classifier.class_weights={priority: {low: 1.0e+308}}",
        "classifier.class_weights={priority: {low: 1.0e-320}}",
        "classifier.tag_weight=1e308",
        "decoding.temperature=1e308",
        "classifier.columns=[type, tags]",
        "classifier.columns=[type, type]",
        "classifier.columns=[a.b]",
        f"seed=0x{'f' * 5000}",
    ],
)
def test_absurd_values_are_refused_by_key(override: str) -> None:
    with pytest.raises(InputError) as error:
        load_config(None, [override])
    key = override.partition("=")[0]
    assert key in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("override", ["a." * 3000 + "b=1", "a=" + "[" * 5000, "x=" + "y" * 9000, "z" * 9000 + "=1"])
def test_long_overrides_are_one_short_line(override: str) -> None:
    for load in (load_config, load_pretrain_config):
        with pytest.raises(InputError) as error:
            load(None, [override])
        assert "\n" not in str(error.value) and len(str(error.value)) < 900


@pytest.mark.parametrize(
    "override",
    ["heads=7", "heads=3", "key_value_heads=3", "layers=1000000000", "hidden_size=256000000", "vocabulary=1e12"],
)
def test_shapes_that_are_no_model_are_refused_by_key(override: str) -> None:
    with pytest.raises(InputError, match=f"key '{override.partition('=')[0]}': found"):
        load_pretrain_config(None, [override])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names")
def test_a_configuration_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    for path in (tmp_path / "f", Path("/dev/zero")):
        for load in (load_config, load_pretrain_config):
            with pytest.raises(InputError, match="not a regular file"):
                load(path, [])


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    return Path(shutil.copytree(mini_folder(), tmp_path / "mini"))


def resign(folder: Path) -> None:
    """Make the sums of a bundle right again, as a broken export would have them."""
    for path in [*folder.glob("*/manifest.json"), folder / "manifest.json"]:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["files"] = {name: sha256(path.parent / name) for name in record["files"]}
        path.write_text(json.dumps(record), encoding="utf-8")


def test_heads_that_are_not_numbers_are_refused(damaged: Path) -> None:
    path = damaged / "classifier" / "heads.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    tensors[name] = np.full_like(tensors[name], np.nan)
    save_file(tensors, path)
    resign(damaged)
    with pytest.raises(InputError, match=f"{name} holds NaN or infinity"):
        load_two_stage(damaged, labels_only=True)


@pytest.mark.parametrize(
    ("key", "value"), [("threshold", -1), ("threshold", 2), ("threshold", 10**90), ("tag_threshold", -1)]
)
def test_a_threshold_is_a_confidence(damaged: Path, key: str, value: float) -> None:
    path = damaged / "classifier" / "calibration.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    for part in (record, next(iter(record["heads"].values()))):
        if key in part:
            part[key] = value
    path.write_text(json.dumps(record), encoding="utf-8")
    resign(damaged)
    with pytest.raises(InputError, match="not a calibration"):
        load_two_stage(damaged, labels_only=True)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_calibration_that_makes_no_probabilities_is_refused(damaged: Path, value: float) -> None:
    path = damaged / "classifier" / "calibration.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    next(iter(record["heads"].values()))["temperature"] = value
    path.write_text(json.dumps(record), encoding="utf-8")
    resign(damaged)
    with pytest.raises(InputError, match="not a calibration"):
        load_two_stage(damaged, labels_only=True)


def test_doubt_is_review_and_states_that_are_not_numbers_are_an_error() -> None:
    classifier = load_two_stage(None, labels_only=True).classifier
    column = next(iter(classifier.space.columns))
    label = classifier.space.columns[column][0]
    assert classifier.needs_review(Prediction({column: label}, {column: {label: math.nan}}, {}))
    assert classifier.needs_review(Prediction({}, {}, {}))  # labels that are missing
    hidden = next(iter(classifier.heads.values()))[0].shape[1]
    with pytest.raises(InputError, match="is not a number"):
        classifier.predict(np.full((1, hidden), np.nan, dtype=np.float32))


@given(st.text())
def test_escapes_are_harmless_and_the_same_text_in_json(text: str) -> None:
    clean = escape_controls(json.dumps(text, ensure_ascii=False))
    assert json.loads(clean) == text
    assert all(c in "\n\t" or not (ord(c) < 32 or 127 <= ord(c) < 160) for c in clean)


@given(
    st.text(st.characters(exclude_categories=[])), st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8", "gb18030"])
)
def test_json_on_a_stream_of_any_encoding_is_the_same_text(text: str, encoding: str) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding, errors=JSON_ESCAPES, newline="")
    stream.write(escape_controls(json.dumps(text, ensure_ascii=False)))
    stream.flush()
    parts = json.loads(written.getvalue().decode(encoding))
    assert parts.encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


def test_a_stream_escapes_and_keeps_the_returns_of_progress_bars() -> None:
    escaped = "a\\u000d\\u001b[2Jb\n\t\\u202e"
    for keep, first in ((True, "\r"), (False, "\\u000d")):
        stream = io.StringIO()
        EscapingStream(stream, keep).write("\ra\r\x1b[2Jb\n\t\u202e")
        assert stream.getvalue() == first + escaped


HOSTILE = "a\x1b[2J\x07\x9b31m\u202e\u2066b\rc"


def is_clean(text: str) -> bool:
    return not [c for c in text if c not in "\n\t" and escape_controls(c) != c]


def test_what_is_written_for_people_holds_no_control_character(tmp_path: Path) -> None:
    rows = [
        {"subject": f"{HOSTILE} {i}", "body": f"{HOSTILE} {'x' * i}", HOSTILE: f"{HOSTILE}{i % 2}"} for i in range(40)
    ]
    source = tmp_path / "s.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"subject": "", "body": "", "x": HOSTILE}]))
    maps = (f"queue={HOSTILE}",)
    prepare(PrepareOptions(str(source), tmp_path / "d", maps=maps, split="random"), progress=False)
    for path in (tmp_path / "d").iterdir():
        assert is_clean(path.read_bytes().decode()), path.name
    set_aside = json.loads((tmp_path / "d" / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert set_aside["fields"]["x"] == HOSTILE  # the same text
    parts = [Section(HOSTILE, [HOSTILE, Table([HOSTILE, "b"], [[HOSTILE, "c"]], HOSTILE)])] * 2
    for text in (_markdown(HOSTILE, parts), _html(HOSTILE, parts), section_text(parts[0]), _safe(HOSTILE)):
        assert is_clean(text)
    write_json(tmp_path / "x.json", {HOSTILE: HOSTILE})
    assert is_clean((tmp_path / "x.json").read_text()) and read_json(tmp_path / "x.json") == {HOSTILE: HOSTILE}
    ticket = Ticket(HOSTILE, HOSTILE, HOSTILE)
    assert is_clean(ticket_to_json(ticket)) and ticket_from_line(ticket_to_json(ticket), "x") == ticket


def test_no_control_character_reaches_a_terminal(tmp_path: Path) -> None:
    ticket = tmp_path / "esc\r\x1b[31mname.txt"
    ticket.write_text("Subject: \x1b]0;title\x07 VPN\n\nIt \x9b31m hangs \u202e.", encoding="utf-8")
    for words in (
        [ticket, ticket],
        [ticket, "--json"],
        [tmp_path / "no\x1b[2Jfile.txt"],
        [ticket, "--model", "no\x1b[2J"],
    ):
        command = [sys.executable, str(ROOT / "cli.py"), "predict", "--labels-only", *map(str, words)]
        run = subprocess.run(command, capture_output=True, cwd=ROOT, check=False)
        for output in (run.stdout.decode(), run.stderr.decode()):
            assert not [c for c in output if c not in "\n\t" and (ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e")]
        assert b"Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:s3cret@127.0.0.1:1/v1", "http://127.0.0.1:1/v1"),
        ("https://host/v1?api_key=s3cret", "https://host/v1?[hidden]"),
        ("https://host/v1?s3cret", "https://host/v1?[hidden]"),
        ("https://host/v1#s3cret", "https://host/v1?[hidden]"),
        ("https://u:p@host/v1?key=s3cret", "https://host/v1?[hidden]"),
        ("https://host/v1?key=s3@cret", "https://[hidden]"),
        ("http://user:s3?cret@host/v1", "http://[hidden]"),
        ("http://user:p@ss@host:80/v1", "http://host:80/v1"),
        ("http://[::1", "http://[::1"),
    ],
)
def test_user_and_password_are_never_shown(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/v1?api_key=s3cret",
        "http://127.0.0.1:1/v1?s3cret",
        "http://127.0.0.1:1/v1#s3cret",
        "http://127.0.0.1:1/v1?key=s3@cret",
        "http://user:s3/cret@127.0.0.1:1/v1",
        "http://user:s3#cret@h/v1",
        "http://user:s3?cret@h/v1",
        "http:/user:s3cret@h/v1",
        "user:s3cret@h/v1",
        "http://[::1/v1",
        "http://127.0.0.1:x/v1",
        "http://127.0.0.1:99999999/v1",
        "http://h/v1\nX: y",
        "http://h h/v1",
        "http://",
        "ftp://h/v1",
        "",
    ],
)
def test_what_is_no_address_is_one_line_without_its_password(url: str) -> None:
    pytest.importorskip("openai")
    from engines.server import Server, ServerOptions

    with pytest.raises(InputError, match="expected a URL such as") as error:
        Server(url, 1.0, 0, ServerOptions())
    assert "\n" not in str(error.value) and "s3" not in str(error.value)


@pytest.mark.parametrize("scores", [[np.nan, 1.0], [np.inf, 1.0], [-np.inf, -np.inf]])
def test_scores_that_are_not_numbers_choose_nothing(scores: list[float]) -> None:
    with pytest.raises(WorkError, match="not numbers"):
        TokenChooser(DecodingConfig(), [1]).choose(np.array(scores, dtype=np.float32))
    assert TokenChooser(DecodingConfig(), [1]).choose(np.array([-np.inf, 1.0], dtype=np.float32)) == 1


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_scores_that_are_not_numbers_end_one_row_of_a_torch_batch(tiny_base: Path, temperature: float) -> None:
    """The neighbour in the batch is written as if it were alone."""
    engine = TorchEngine(tiny_base, {}, BaseConfig(path=str(tiny_base), compute="fp32"), 0, 1)
    options = DecodingConfig(max_new_tokens=4, temperature=temperature)
    longer, shorter = [5, 6, 7, 8], [5, 9]
    (alone,) = engine.generate([shorter], "", options)

    def spoil(_: torch.nn.Module, __: tuple[torch.Tensor], logits: torch.Tensor) -> torch.Tensor:
        logits[0] = torch.nan  # the batch begins with the longest
        return logits

    spoilt = engine._model.lm_head.register_forward_hook(spoil)
    rows = [Row(prompt, "", options, "") for prompt in (longer, shorter)]
    assert all(engine.admit(row) for row in rows)
    assert {*engine.step()} == {*rows}
    assert isinstance(rows[0].error, WorkError) and not rows[0].written
    assert rows[1].error is None and rows[1].written == alone
    with pytest.raises(WorkError, match="not numbers"):
        engine.generate([longer, shorter], "", options)
    spoilt.remove()


def test_what_is_ours_to_replace_is_no_source(tmp_path: Path) -> None:
    """The rows that a failed run set aside, and folders on the way, are replaced by the next run."""
    row = '{"subject": "a", "body": "b", "queue": "q"}\n'
    for name in ("f.quarantine.jsonl", "f.old/train.jsonl", "f.partial/train.jsonl"):
        source = tmp_path / name
        source.parent.mkdir(exist_ok=True)
        source.write_text(row, encoding="utf-8")
        with pytest.raises(InputError, match=r"which preparing .*f replaces; give another --out"):
            prepare(PrepareOptions(str(source), tmp_path / "f"))
        assert source.read_text(encoding="utf-8") == row


def test_pretraining_replaces_bases_of_ours_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_text("{}\n")
    (tmp_path / "x.txt").write_text("text")
    for name in ("data", "x.txt", "data/../data"):
        config = PretrainConfig(source=str(tmp_path / "data"), output=str(tmp_path / name))
        with pytest.raises(InputError, match="no base of `duet pretrain`"):
            pretrain(config)
    assert (tmp_path / "data" / "train.jsonl").exists() and (tmp_path / "x.txt").exists()


def rows_of(path: Path) -> list[RawRow]:
    return list(read_rows(str(path)))


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv", "t.json", "t.txt"])
def test_a_line_without_end_is_one_line_of_error(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickets.formats.readers._LONGEST_JSON", 5000)
    monkeypatch.setattr("tickets.encodings.detect.text_lines.__defaults__", (4000,))
    text = ('{"subject": "' if "json" in name else "subject,body\na,") + "x" * 9000
    (tmp_path / name).write_text(text)
    with gzip.open(tmp_path / f"{name}.gz", "wt") as packed:
        packed.write(text)
    for path in (tmp_path / name, tmp_path / f"{name}.gz"):
        with pytest.raises(InputError, match=r"has over .* characters") as error:
            rows_of(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_json_text_is_read_as_a_whole_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickets.formats.readers._LONGEST_JSON", 5000)
    (tmp_path / "t.json").write_text("[\n" + '{"subject": "a", "body": "b"},\n' * 900 + "{}]")
    with pytest.raises(InputError, match="JSON of over 5,000 characters"):
        rows_of(tmp_path / "t.json")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickets.formats.archives._UNSUSPICIOUS", 1 << 20)
    text = b"subject,body\n" + b"a,b\n" * (1 << 20)
    with gzip.open(tmp_path / "t.csv.gz", "wb") as packed:
        packed.write(text)
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", text)
    for name in ("t.csv.gz", "t.zip"):
        with pytest.raises(InputError, match="unpacks to over 300 times its size") as error:
            rows_of(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def test_a_mail_without_end_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickets.formats.mail._LONGEST", 2000)
    mail = "From: a@example.com\nSubject: {}\nDate: Mon, 6 Jan 2025 10:00:00 +0000\n\n{}\n"
    long, short = mail.format("long", "word " * 2000), mail.format("short", "text")
    (tmp_path / "t.eml").write_text(long)
    assert [row.fault for row in rows_of(tmp_path / "t.eml")] == ["mail too long: over 0 MB"]
    separator = "From a@example.com Mon Jan  6 10:00:00 2025\n"
    (tmp_path / "t.mbox").write_text(f"{separator}{long}\n{separator}{short}\n")
    assert [bool(row.fault) for row in rows_of(tmp_path / "t.mbox")] == [True, False]
