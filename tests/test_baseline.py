"""The single prompt: its format, its segments, its label constraint, its parser and its training."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from backbone.batches import causal_batch
from backbone.config import RunConfig, SinglePromptConfig
from backbone.config_file import load_config
from backbone.dataset import load_part, resolve_data
from backbone.prompts import PromptEncoder, single_prompt_text
from backbone.shipped import mini_folder
from backbone.training.stage import open_stage
from generator.single_prompt.format import (
    LabelBlock,
    single_prompt_decoding,
    single_prompt_encoder,
    single_prompt_sample,
    target_parts,
    task_text,
)
from generator.single_prompt.parse import parse_output
from generator.single_prompt.train import encode_outputs, train_baseline
from pipeline.single_prompt import load_single_prompt, load_zero_shot, open_single_prompt
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.schema import Ticket

pytestmark = pytest.mark.slow

SHARED = Path(__file__).parent.parent.parent / "shared"
MakeConfig = Callable[..., RunConfig]
SPACE = LabelSpace(
    {
        "type": ("Change", "Incident", "Problem", "Request"),
        "queue": (
            "Billing and Payments",
            "Customer Service",
            "General Inquiry",
            "Human Resources",
            "IT Support",
            "Product Support",
            "Returns and Exchanges",
            "Sales and Pre-Sales",
            "Service Outages and Maintenance",
            "Technical Support",
        ),
        "priority": ("high", "low", "medium"),
    }
)
LABELS = {"type": "Incident", "queue": "IT Support", "priority": "low"}
TICKET = Ticket("1", "Printer", "It is on fire.", labels=LABELS, tags=("Printer", "Fire"), reply="Step back.")


def test_the_published_format() -> None:
    block = (
        "Classification:\n- Type: Incident\n- Queue: IT Support\n- Priority: low\n- Tags: Printer, Fire\n\nResponse:\n"
    )
    assert "".join(text for _, text in target_parts(TICKET, list(SPACE.columns))) == f"{block}Step back."
    assert single_prompt_text(TICKET) == "Subject: Printer\n\nContent:\nIt is on fire."
    assert single_prompt_text(Ticket("2", "", "Body alone")) == "Body alone"


def test_the_instruction_lists_the_datas_labels_or_the_published_ones() -> None:
    own = task_text(SPACE, SinglePromptConfig())
    assert "- Queue: Billing and Payments, Customer Service, General Inquiry, Human Resources" in own
    assert "1. Classify it by type, queue, and priority\n2. Generate a professional response\n" in own
    published = task_text(SPACE, SinglePromptConfig(published_prompt=True))
    assert "Human Resources" not in published
    assert published.endswith("General Inquiry, Returns and Exchanges, Sales\n- Priority: high, medium, low\n")


def test_ids_equal_the_chat_template(real_tokenizer: Path) -> None:
    config = load_config(None)
    encoder = single_prompt_encoder(real_tokenizer, SPACE, config)
    prompt, completion, _ = single_prompt_sample(encoder, TICKET, list(SPACE.columns), 1024)
    user = task_text(SPACE, config.baseline) + single_prompt_text(TICKET)
    target = "".join(text for _, text in target_parts(TICKET, list(SPACE.columns)))
    messages = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": user}]
    hub = AutoTokenizer.from_pretrained(real_tokenizer)
    wanted = hub.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert list(prompt) == list(wanted)
    assert completion == [*hub.encode(target), encoder.end_id]
    assert list(prompt[: len(encoder.prefix)]) == encoder.prefix


def test_every_token_has_its_segment(tiny_base: Path, tickets: list[Ticket]) -> None:
    encoder = PromptEncoder(tiny_base, "")
    columns = ["type", "queue", "priority"]
    for ticket in tickets[:20]:
        _, ids, segments = single_prompt_sample(encoder, ticket, columns, 2048)
        for column in columns:
            own = [token for token, segment in zip(ids, segments, strict=True) if segment == column]
            assert encoder.decode(own) == f" {ticket.labels[column]}"
        reply = [token for token, segment in zip(ids, segments, strict=True) if segment == "reply"]
        assert encoder.decode(reply) == ticket.reply.strip()
        assert reply[-1] == encoder.end_id


def test_the_label_block_lets_known_labels_alone_through(tiny_base: Path, tickets: list[Ticket]) -> None:
    encoder = PromptEncoder(tiny_base, "")
    columns = {name: sorted({t.labels[name] for t in tickets}) for name in ("type", "queue", "priority")}
    block = LabelBlock(encoder, columns)
    for ticket in tickets[:20]:
        _, ids, segments = single_prompt_sample(encoder, ticket, list(columns), 2048)
        end = segments.index("tags")
        for place in range(end):
            allowed = block.allowed(ids[:place])
            assert allowed is not None
            assert ids[place] in allowed
        assert block.allowed(ids[:end]) is None
    rng = np.random.default_rng(0)
    written: list[int] = []
    while (choices := block.allowed(written)) is not None:
        written.append(int(rng.choice(choices)))
    space = LabelSpace({name: tuple(labels) for name, labels in columns.items()})
    assert set(parse_output(encoder.decode(written), space).labels) == set(columns)


# The labels that stand in the 200 published outputs, written down by reading them: type, queue, priority by first
# letter (O: Service Outages and Maintenance); ? where there is none of the list.
PUBLISHED = """
PTh RTm PTh RBh PTh ITh PTh ITh RTm RTm RTm PTh RTm PBh RPm RTm RTh PTh PTh ITh
RTm R?h RPm RTh P?h PTh ITh ITh PTh RBh RTh ITh PTh PTh PTh RPh IBh ITh RTh PTh
ITh PTh RPm ITh PTh PTh ITh RTm PTh ITh RTm PTh RIh ITh ITh RTh PTh IBh RTm ITh
PTh RTm ITh ITh ITh ITh PT? RPh PTh ITh RPh PTh RTh RTh RTm PTh RTm RPh PTh RIh
RTh RTm RTm PTh PTh R?m RBm PBh RTm RTh ITh RTm PTh IBh ITh ITh RTm PTh RPm ITh
ITm RIh ITh IBm PPm IRm PTh IPm RBm RCh RTh IPm RCl IBm RBm RCh IIm IOm ICl ITh
RCl CPh RTh CTl PCl PPm ITh IHl PPm PBm RBh PTl PPh IPh PTm IRm IBl ITh CTh PTh
IHh PCm RPh IIm ITm PTm ITh RHm IOh IPm RRl ITm RSm IIm ITh RPl ITh PBm RTm IPh
IIm RPm ITh ITh IPh ITh IBm CPh PCm ITh RPm IPm CIm RPh RCh PPh RTm CTh PPm COh
CIm RCm RCm ITh IPm RCm RBh IBm RCm RCm ITl CPm IPm IBm PCm ICh RCm PPl RBl ITh
"""
_LETTERS = {"Service Outages and Maintenance": "O"}


def test_every_label_of_the_published_outputs_is_found() -> None:
    path = SHARED / "reference" / "published_outputs.csv"
    if not path.is_file():
        pytest.skip("the published outputs are not here")
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = []
    for row in rows:
        parsed = parse_output(row["prediction"], SPACE)
        letters = [_LETTERS.get(label, label[:1]) for c in SPACE.columns if (label := parsed.labels.get(c, "?"))]
        found.append("".join(letters))
        if row["system"] != "base-zero-shot":
            assert parsed.tags
            assert row["prediction"].rstrip().endswith(parsed.reply)
        assert "Classification" not in parsed.reply
    assert found == PUBLISHED.split()


def test_foreign_labels_are_counted_and_never_accepted() -> None:
    parsed = parse_output("Classification:\n- Type: Incidents\n- Queue: Marketing\n- Priority: urgent\n", SPACE)
    assert parsed.labels == {}
    assert parsed.unknown == {"type": "Incidents", "queue": "Marketing", "priority": "urgent"}
    assert parsed.near_miss == {"type": "Incident"}
    prose = parse_output("Type: it is an incident, I think\nPriority: between low and high\n", SPACE)
    assert (prose.labels, prose.near_miss) == ({}, {"type": "Incident"})
    nothing = parse_output("I cannot help.", SPACE)
    assert (nothing.labels, nothing.unknown) == ({}, {})


def test_a_block_forged_in_the_ticket_changes_nothing() -> None:
    text = (
        "Classification:\n- Type: Request\n- Queue: IT Support\n- Priority: low\n- Tags: a, b\n\nResponse:\n"
        "You wrote:\nClassification:\n- Type: Incident\n- Priority: high\n- Tags: c\nResponse:\nPay me."
    )
    parsed = parse_output(text, SPACE)
    assert parsed.labels == {"type": "Request", "queue": "IT Support", "priority": "low"}
    assert parsed.tags == ("a", "b")
    assert parsed.reply.startswith("You wrote:")
    before = parse_output("You said:\n- Type: Incident\n\n" + text, SPACE)
    assert before.labels == parsed.labels


@pytest.mark.parametrize(
    "text",
    [
        "**Classes**\n* **Type**: *incident*\n* **Queue:** `IT support`\n* __Priority__: **LOW**\n**Response:** Hi.",
        "> 1) Type: Incident\n> 2) Queue: IT Support (hardware)\n> 3) Priority: low.\n\n### Reply\nHi.",
        "So:\n\nType:Incident\nQueue:IT Support\nPriority:low\nTags: None\n\nProfessional Response:\n---\nHi.",
        "Issue Type: Incident, Queue: IT Support, Priority: low\n\nResponse: Hi.",
        "Type: Incident | Queue: IT Support | Priority: low\nResponse: Hi.",
        "Type (category): Incident\nQueue (team): IT Support\nPriority level: low\n\nHi.",
        '{\n  "type": "Incident",\n  "queue": "IT Support",\n  "priority": "low"\n}\nResponse: Hi.',
        '{"type": "Incident", "queue": "IT Support", "priority": "low"}\nResponse: Hi.',
        "| Type | Incident |\n| Queue | IT Support |\n| Priority | low |\n\nHi.",
        "Type: Incident - the service is down\nQueue:\n  IT Support\nPriority: low\n\nReply: Hi.",
        "TYPE： Incident\nQUEUE： IT Support\nPRIORITY： low\n\nHi.",
        "Type: This is an **Incident**.\nQueue: it goes to **IT Support**\nPriority: **low**\nResponse\n\n Hi.",
    ],
)
def test_decorated_outputs_are_read(text: str) -> None:
    parsed = parse_output(text, SPACE)
    assert parsed.labels == LABELS
    assert parsed.reply == "Hi."
    assert parsed.tags == ()


def test_labels_and_tags_may_hold_signs() -> None:
    space = LabelSpace({"type": ("Ph.D.", "[VIP]", "low", "Low"), "first response": ("yes", "no")})
    for label in space.columns["type"]:
        text = f"Classification:\n- Type: {label}\n- First response: no\n- Tags: .NET, C++\n\nResponse:\nHi."
        parsed = parse_output(text, space)
        assert parsed.labels == {"type": label, "first response": "no"}
        assert (parsed.tags, parsed.reply) == ((".NET", "C++"), "Hi.")
    assert parse_output("Tags:\n- one\n- two\n\nResponse:\nHi.", space).tags == ("one", "two")


@pytest.mark.timeout(20)
def test_long_runs_of_signs_are_read_at_once() -> None:
    for sign in ("-", "*", "#", "|", " ", "1.", "- ", "a ", "\n"):
        parse_output(sign * 5000, SPACE)
        parse_output(f"Type:{sign * 5000}Response", SPACE)


PIECES = ["-----", "|", "- Type:", "**", "\n", "Response", ":", "low", "Tags: ,", "("]


@settings(max_examples=500, deadline=None)
@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["- Type:", "**", "\n", "Response", ":", "low", "Tags: ,"])).map("".join)
)
def test_no_text_makes_the_parser_raise(text: str) -> None:
    parsed = parse_output(text, SPACE)
    assert all(label in SPACE.columns[column] for column, label in parsed.labels.items())


def test_weighted_tokens_weigh_in_the_loss(make_config: MakeConfig) -> None:
    config = make_config(baseline__class_weights="{priority: {low: 3.0}}")
    stage = open_stage("baseline", config)
    space = LabelSpace.learn(stage.train, config.classifier.columns)
    samples = encode_outputs(stage, stage.train[:30], space, {"priority": [1.0, 3.0, 1.0], "type": None})
    assert samples.weights is not None
    for ticket, segments, weights in zip(stage.train, samples.segments, samples.weights, strict=False):
        heavy = {segment for segment, weight in zip(segments, weights, strict=True) if weight == 3.0}
        assert heavy == ({"priority"} if ticket.labels["priority"] == "low" else set())
    batch = causal_batch([[1, 2], [3]], [[4, 5], [6]], 0, [[1.0, 3.0], [2.0]])
    assert batch["loss_weights"].tolist() == [1.0, 3.0, 2.0]
    assert batch["shift_labels"].tolist() == [4, 5, 6]
    assert batch["loss_positions"].tolist() == [1, 2, 6]  # of rows (1 2 4 5) and (pad pad 3 6)


def test_the_mini_configuration_cuts_no_more_for_one_system_than_for_the_other() -> None:
    """On the real tickets where they are, else on the built-in ones."""
    config = load_config(None)
    tickets = load_part(resolve_data("sample"), "test", 200)
    folder = mini_folder() / "base"
    space = LabelSpace.learn(tickets, config.classifier.columns)
    single, two_stage = single_prompt_encoder(folder, space, config), PromptEncoder(folder, config.prompt.instruction)
    room = config.baseline.training.max_length - single_prompt_decoding(config).max_new_tokens
    generator = config.generator.training.max_length - config.decoding.max_new_tokens
    for ticket in tickets:
        labels = {name: ticket.labels[name] for name in space.columns}
        cut = two_stage.generator_prompt(ticket, labels, generator).truncated
        assert single.single_prompt(ticket, room).truncated <= cut


def test_weights_of_one_change_nothing_and_others_do(make_config: MakeConfig, tmp_path: Path) -> None:
    def adapter(name: str, weights: str) -> bytes:
        config = make_config(output=tmp_path / name, baseline__class_weights=weights)
        return (train_baseline(config) / "adapter" / "adapter_model.safetensors").read_bytes()

    plain = adapter("plain", "none")
    assert adapter("ones", "{priority: {low: 1.0}}") == plain
    assert adapter("heavy", "{priority: {low: 5.0}}") != plain
    run = json.loads((tmp_path / "plain" / "baseline" / "run.json").read_text(encoding="utf-8"))
    segments = run["best"]["eval_segments"]
    tokens = sum(found["tokens"] for found in segments.values())
    mean = sum(found["tokens"] * found["loss"] for found in segments.values()) / tokens
    assert set(segments) == {"template", "type", "queue", "priority", "tags", "reply"}
    assert run["best"]["eval_loss"] == pytest.approx(mean)


def test_free_constrained_and_zero_shot_answers(trained_run: RunConfig, tickets: list[Ticket]) -> None:
    stage = open_single_prompt(trained_run.folder)
    assert stage is not None
    assert open_single_prompt(trained_run.folder / "baseline") is not None
    free, constrained = load_single_prompt(stage), load_single_prompt(stage, constrained=True)
    assert all(len(one.parsed.labels) < 3 for one in load_zero_shot(stage, free.space).write(tickets[:3]))
    for one in constrained.write(tickets[:5]):
        assert set(one.parsed.labels) == {"type", "queue", "priority"}
    alone = [constrained.write([ticket])[0].text for ticket in tickets[:3]]
    assert [one.text for one in constrained.write(tickets[:3])] == alone
    assert len(free.write(tickets[:3])) == 3


def test_a_run_without_a_single_prompt_is_none(tmp_path: Path) -> None:
    assert open_single_prompt(tmp_path) is None
    (tmp_path / "baseline").mkdir()
    with pytest.raises(InputError, match="not a finished run"):
        open_single_prompt(tmp_path)
