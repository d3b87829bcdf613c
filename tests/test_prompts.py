"""Prompts: equal to the chat template on ordinary text, and never forged."""

import csv
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from backbone.prompts import PromptEncoder, label_text, ticket_text
from tickets.errors import InputError
from tickets.schema import Ticket

INSTRUCTION = "You handle support tickets."
LABELS = {"type": "Incident", "queue": "Billing and Payments", "priority": "high"}
LITERALS = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<tool_call>",
    "<|fim_prefix|>",
    "<|im_start|>system\n",
    "</s>",
    "<think>",
    "</think>\n\n",
]


@pytest.fixture(scope="module", params=["tiny_base", "real_tokenizer_base", "qwen3_base", "smollm2_base"])
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


@cache
def hub_tokenizer(folder: Path) -> Any:
    return AutoTokenizer.from_pretrained(folder)


def template_ids(folder: Path, turns: Sequence[tuple[str, str]]) -> list[int]:
    tokenizer = hub_tokenizer(folder)
    messages = [{"role": role, "content": text} for role, text in turns]
    ids = tokenizer.apply_chat_template(
        messages,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
        sanitize_control_tokens=True,
        enable_thinking=False,
    )
    return list(ids)


def ordinary_tickets() -> list[Ticket]:
    found = [
        Ticket("1", "Login fails", "Hello,\n\nI cannot log in since 12 March.  Error E-417!\n\nRegards, Anna"),
        Ticket("2", "", "Größe: 3 × 4 µm, Straße, naïve café, 你好, emoji 🙂 and code:\n\tif (a < b) { return; }"),
        Ticket("3", "Rückfrage", "Wann kommt die Rechnung INV-2093 über 149,90 €?\r\nDanke"),
    ]
    path = Path(__file__).parent.parent.parent / "shared" / "data" / "tickets.csv"
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as lines:
            rows = [row for _, row in zip(range(60), csv.DictReader(lines), strict=False)]
        found += [Ticket(str(i), row["subject"], row["body"].replace("\\n", "\n")) for i, row in enumerate(rows)]
    return found


def test_ids_equal_the_chat_template(folder: Path) -> None:
    encoder = PromptEncoder(folder, INSTRUCTION)
    for ticket in ordinary_tickets():
        turns = [("system", INSTRUCTION), ("user", ticket_text(ticket))]
        assert list(encoder.classifier_prompt(ticket, 4096).ids) == template_ids(folder, turns)
        turns.append(("system", label_text(LABELS)))
        assert list(encoder.generator_prompt(ticket, LABELS, 4096).ids) == template_ids(folder, turns)


@cache
def cached_encoder(folder: Path) -> PromptEncoder:
    return PromptEncoder(folder, INSTRUCTION)


def control_ids(encoder: PromptEncoder, ids: Sequence[int]) -> list[int]:
    return [token for token in ids if token in encoder.control_ids]


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.one_of(st.sampled_from(LITERALS), st.text(max_size=12)), max_size=8),
    place=st.sampled_from(["subject", "body", "label"]),
)
def test_no_text_forges_a_control_token(folder: Path, parts: list[str], place: str) -> None:
    encoder = cached_encoder(folder)
    text = "".join(parts)
    hostile = Ticket("h", text if place == "subject" else "s", text if place == "body" else "b")
    labels = {"type": text if place == "label" else "Incident"}
    plain = encoder.generator_prompt(Ticket("p", "s", "b"), {"type": "Incident"}, 4096).ids
    assert control_ids(encoder, encoder.generator_prompt(hostile, labels, 4096).ids) == control_ids(encoder, plain)


def test_added_tokens_that_are_not_special_stay_text_too(tiny_base: Path, tmp_path: Path) -> None:
    record = json.loads((tiny_base / "tokenizer.json").read_text(encoding="utf-8"))
    record["added_tokens"].append({**record["added_tokens"][0], "id": 2000, "content": "<tool_call>", "special": False})
    (tmp_path / "tokenizer.json").write_text(json.dumps(record), encoding="utf-8")
    encoder = PromptEncoder(tmp_path, INSTRUCTION)
    assert 2000 not in encoder.encode_text("a <tool_call> b")


def test_long_tickets_are_cut_and_keep_their_closing(tiny_base: Path) -> None:
    encoder = PromptEncoder(tiny_base, INSTRUCTION)
    short = encoder.classifier_prompt(Ticket("s", "", "word"), 64)
    long = encoder.classifier_prompt(Ticket("l", "", "word " * 2_000_000), 64)  # 10 MB
    assert not short.truncated
    assert long.truncated
    assert len(long.ids) == 64
    assert long.ids[-6:] == short.ids[-6:]


def test_a_reply_ends_with_the_end_token(tiny_base: Path) -> None:
    encoder = PromptEncoder(tiny_base, INSTRUCTION)
    ids = encoder.reply_ids("Dear customer, <|im_end|> done.")
    assert ids[-1] == encoder.end_id
    assert ids.count(encoder.end_id) == 1
    assert encoder.decode(ids) == "Dear customer, <|im_end|> done."


def test_missing_or_foreign_tokenizers_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tokenizer\.json: missing"):
        PromptEncoder(tmp_path, INSTRUCTION)
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="not a tokenizer"):
        PromptEncoder(tmp_path, INSTRUCTION)
