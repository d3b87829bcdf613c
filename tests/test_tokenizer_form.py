"""Tokenizers that make a short text long: refused by what they are, before a text is given to them."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from backbone.prompts import PromptEncoder
from tickets.errors import InputError

LONG = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1000}

BYTES = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}


def tokenizer(folder: Path, base: Path, **changed: Any) -> Path:
    record = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(base / name, folder)
    (folder / "tokenizer.json").write_text(json.dumps({**record, **changed}), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        {"normalizer": LONG},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, LONG, LONG, LONG]}},
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [LONG]}]}},
        {"normalizer": {"type": "Prepend", "prepend": "a" * 10_000_000}},
        {"decoder": LONG},
        {"decoder": {"type": "Sequence", "decoders": [BYTES, LONG]}},
    ],
    ids=range(6),
)
def test_what_makes_texts_long_is_refused(tiny_base: Path, tmp_path: Path, changed: dict[str, Any]) -> None:
    start = time.thread_time()
    with pytest.raises(InputError, match=r"not a tokenizer \((normalizer|decoder) '(Replace|Prepend)'") as error:
        PromptEncoder(tokenizer(tmp_path, tiny_base, **changed), "i")
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value) and time.thread_time() - start < 5


def test_a_token_as_long_as_a_text_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    record = json.loads((tiny_base / "tokenizer.json").read_text(encoding="utf-8"))
    model = record["model"]
    model["vocab"]["x" * 20_000] = max(model["vocab"].values()) + 1
    with pytest.raises(InputError, match="a token of 20,000 characters"):
        PromptEncoder(tokenizer(tmp_path, tiny_base, model=model), "i")


@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}, {"type": "Sequence", "normalizers": [{"type": "NFC"}]}])
def test_usual_tokenizers_are_taken(tiny_base: Path, tmp_path: Path, normalizer: Any) -> None:
    encoder = PromptEncoder(tokenizer(tmp_path, tiny_base, normalizer=normalizer), "i")
    assert encoder.decode(encoder.encode_text("My printer")) == "My printer"
