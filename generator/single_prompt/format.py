"""The single-prompt format of the published system: instruction and ticket in, label block and reply out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from backbone.config import DecodingConfig, RunConfig, SinglePromptConfig
from backbone.prompts import PromptEncoder
from tickets.labels import LabelSpace
from tickets.schema import Ticket

HEADING, REPLY_HEADING = "Classification:", "Response:"
TEMPLATE, TAGS, REPLY = "template", "tags", "reply"  # segments of what is written, beside the label columns
UNLABELLED = "no label"  # the segment of a column for which a ticket has no label: written, but not learnt
NO_TAGS = "None"

# What the published system offered: one queue that its data does not have ("Sales"), three of the data's ten missing.
_PUBLISHED = {
    "type": ("Incident", "Request", "Problem", "Change"),
    "queue": (
        "Technical Support",
        "Product Support",
        "Customer Service",
        "IT Support",
        "Billing and Payments",
        "General Inquiry",
        "Returns and Exchanges",
        "Sales",
    ),
    "priority": ("high", "medium", "low"),
}


def task_text(space: LabelSpace, config: SinglePromptConfig) -> str:
    """Return the published instruction, with the label lists of the data (or its own), and the line break after it."""
    columns = _PUBLISHED if config.published_prompt else space.columns
    *names, last = columns
    listed = f"{', '.join(names)}, and {last}" if names else last
    lists = "\n".join(f"- {column.capitalize()}: {', '.join(classes)}" for column, classes in columns.items())
    return (
        "You are an intelligent customer support system. Analyze the ticket below and:\n"
        f"1. Classify it by {listed}\n2. Generate a professional response\n\n"
        f"Available classifications:\n{lists}\n"
    )


def single_prompt_encoder(folder: Path, space: LabelSpace, config: RunConfig) -> PromptEncoder:
    """Return the prompt encoder of the single-prompt format; `folder` holds the tokenizer."""
    return PromptEncoder(folder, config.baseline.system, task_text(space, config.baseline))


def single_prompt_decoding(config: RunConfig) -> DecodingConfig:
    """Return the generator's decoding settings with room for the label block."""
    decoding = config.decoding
    return decoding.model_copy(update={"max_new_tokens": decoding.max_new_tokens + config.baseline.block_tokens})


def target_parts(ticket: Ticket, columns: Sequence[str]) -> list[tuple[str, str]]:
    """Return what the model learns to write, as (segment, text): the label block, then the reply.

    A label's or a tag list's text begins with the space before it, as the tokenizer splits it.
    """
    parts = [(TEMPLATE, HEADING)]
    for column in columns:
        parts.append((TEMPLATE, f"\n- {column.capitalize()}:"))
        parts.append((column, f" {ticket.labels[column]}") if column in ticket.labels else (UNLABELLED, " Unknown"))
    parts += [(TEMPLATE, "\n- Tags:"), (TAGS, f" {', '.join(ticket.tags) or NO_TAGS}")]
    return [*parts, (TEMPLATE, f"\n\n{REPLY_HEADING}\n"), (REPLY, ticket.reply.strip())]


def single_prompt_sample(
    encoder: PromptEncoder, ticket: Ticket, columns: Sequence[str], max_length: int
) -> tuple[tuple[int, ...], list[int], list[str]]:
    """Prompt ids, completion ids and the segment of every completion id; the end token belongs to the reply.

    As for the generator, the completion is cut to half of `max_length` and the ticket to the rest.
    """
    segments, texts = zip(*target_parts(ticket, columns), strict=True)
    ids, parts = encoder.encode_parts(texts)
    completion = [*ids, encoder.end_id][: max_length // 2]
    names = [*(segments[part] for part in parts), REPLY][: max_length // 2]
    return encoder.single_prompt(ticket, max_length - len(completion)).ids, completion, names


class LabelBlock:
    """The label block as a constraint on token ids: the template and known labels up to the tags, then anything.

    A trie per line: the Qwen2 tokenizer never merges over the line breaks that end the lines.
    """

    def __init__(self, encoder: PromptEncoder, columns: Mapping[str, Sequence[str]]) -> None:
        lines = [[f"{HEADING}\n"]]
        lines += [[f"- {column.capitalize()}: {label}\n" for label in labels] for column, labels in columns.items()]
        lines.append(["- Tags:"])
        self._lines = [[encoder.encode_text(text) for text in choices] for choices in lines]

    def allowed(self, written: Sequence[int]) -> list[int] | None:
        """Return ids that may follow `written`; None where every id may."""
        remaining = list(written)
        for choices in self._lines:
            done = next((ids for ids in choices if remaining[: len(ids)] == ids), None)
            if done is None:
                return sorted({ids[len(remaining)] for ids in choices if ids[: len(remaining)] == remaining})
            remaining = remaining[len(done) :]
        return None
