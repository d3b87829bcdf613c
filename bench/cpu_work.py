"""The tickets, files and engine that the CPU rows share."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbone.config import DecodingConfig
from backbone.config_file import load_config
from backbone.prompts import Prompt, PromptEncoder
from generator.single_prompt.format import REPLY, TAGS, single_prompt_encoder, single_prompt_sample
from tickets.cleaning.clean import Cleaner
from tickets.labels import LabelSpace
from tickets.preparation.rows import Source
from tickets.schema import Ticket

TICKETS = Path("../shared/data/tickets.csv")
STAGES = ("classifier", "generator")
QUANT = "q4_k_m"
RANK = 32
COLUMNS = ("type", "queue", "priority")


@dataclass(frozen=True)
class Work:
    """One ticket as both systems see it, with the lengths they have to write."""

    classifier: Prompt
    generator: Prompt
    single: Prompt
    labels: int
    labels_and_tags: int
    heading: int
    reply: int


def load_work(scratch: Path, count: int) -> tuple[PromptEncoder, list[Work]]:
    """Return the English tickets of median length, encoded."""
    source, cleaner = Source.open(str(TICKETS)), Cleaner(escapes=True)
    tickets = [source.ticket(source.cells(row), i, cleaner) for i, row in enumerate(source.rows, start=1)]
    tickets = [ticket for ticket in tickets if ticket.language == "en" and ticket.reply]
    config = load_config(None)
    two_stage = PromptEncoder(scratch / "base", config.prompt.instruction)
    single = single_prompt_encoder(scratch / "base", LabelSpace.learn(tickets, COLUMNS), config)
    work = [_work(ticket, two_stage, single) for ticket in tickets]
    work.sort(key=lambda one: len(one.classifier.ids) + one.reply)
    middle = len(work) // 2
    return two_stage, work[middle - count // 2 : middle - count // 2 + count]


def _work(ticket: Ticket, two_stage: PromptEncoder, single: PromptEncoder) -> Work:
    labels = {column: ticket.labels[column] for column in COLUMNS}
    prompt, written, segments = single_prompt_sample(single, ticket, COLUMNS, 2048)
    tags, reply = segments.index(TAGS), segments.index(REPLY)
    tags_end = len(segments) - segments[::-1].index(TAGS)
    return Work(
        two_stage.classifier_prompt(ticket, 1024),
        two_stage.generator_prompt(ticket, labels, 1024),
        Prompt(prompt, False),
        labels=tags - len(two_stage.encode_text("\n- Tags:")),
        labels_and_tags=tags_end,
        heading=reply - tags_end,
        reply=len(written) - reply,
    )


def make_files(scratch: Path) -> None:
    """Make base, quantised GGUF and adapters, unless they are there."""
    from backbone.gguf_files import write_adapter, write_base
    from bench.shapes import QWEN2_7B, random_adapter, write_random_base
    from engines.llama_model import quantize

    scratch.mkdir(parents=True, exist_ok=True)
    if not (scratch / "base" / "config.json").is_file():
        write_random_base(scratch / "base", QWEN2_7B)
    for seed, stage in enumerate(STAGES):
        if not (scratch / f"{stage}.lora.gguf").is_file():
            write_adapter(random_adapter(QWEN2_7B, RANK, seed), scratch / f"{stage}.lora.gguf", scratch / "base", stage)
    target, half = scratch / f"base.{QUANT}.gguf", scratch / "base.f16.gguf"
    if not target.is_file():
        write_base(scratch / "base", half, "Qwen2-7B shape, random")
        quantize(half, target, QUANT)
        half.unlink()


def engine(
    scratch: Path, encoder: PromptEncoder, prefix: Sequence[int], sequences: int = 1, cells: int = 2048, **options: Any
) -> Any:
    """Return the llama engine with both adapters; the single-prompt system uses the generator's."""
    from engines.kv_allocator import ContextSizes
    from engines.llama import LlamaEngine
    from engines.llama_model import LlamaOptions

    adapters = {stage: scratch / f"{stage}.lora.gguf" for stage in STAGES}
    prefixes = {"classifier": encoder.prefix, "generator": list(prefix)}
    sizes = ContextSizes(sequences, cells)
    return LlamaEngine(scratch / f"base.{QUANT}.gguf", adapters, prefixes, (), sizes, LlamaOptions(**options))


def timed(action: Callable[[], Any]) -> float:
    """Return the seconds that `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def tokens(count: int) -> DecodingConfig:
    """Write exactly so many: random weights never end."""
    return DecodingConfig(max_new_tokens=count)
