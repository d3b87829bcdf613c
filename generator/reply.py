"""Prompts and replies of a trained generator; an engine writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backbone.config import DecodingConfig, RunConfig
from backbone.prompts import Prompt, PromptEncoder
from backbone.runs.layout import CLASSIFIER, GENERATOR
from engines.protocols import Row, SharedPrefix
from tickets.schema import Ticket

_TORN = "\N{REPLACEMENT CHARACTER}"  # what an unfinished character decodes to


class GrowingReply:
    """The text of a reply that is being written, in pieces that stay as they are; joined, they are the reply."""

    def __init__(self, encoder: PromptEncoder) -> None:
        self._encoder = encoder
        self._ids: list[int] = []  # whose text is not told yet
        self._has_begun = False

    def add(self, token: int) -> str:
        """Return the text that is certain now: whole characters, and no space that may be the last."""
        self._ids.append(token)
        text = self._encoder.decode(self._ids)
        return "" if text.endswith(_TORN) or text[-1:].isspace() else self._told(text)

    def finish(self) -> str:
        """Return the text that was still held back."""
        return self._told(self._encoder.decode(self._ids).rstrip())

    def _told(self, text: str) -> str:
        self._ids = []
        text = text if self._has_begun else text.lstrip()
        self._has_begun = self._has_begun or bool(text)
        return text


@dataclass(frozen=True)
class Generator:
    """A trained generator: everything but the language model, which an engine runs."""

    encoder: PromptEncoder
    decoding: DecodingConfig
    columns: tuple[str, ...]
    max_length: int
    uses_classifier_prefix: bool = False  # it reuses the classifier's KV cache of the ticket

    @classmethod
    def load(cls, encoder: PromptEncoder, config: RunConfig) -> "Generator":
        """Return the generator as the run was configured."""
        settings = config.generator
        columns, length = config.classifier.columns, settings.training.max_length
        return cls(encoder, config.decoding, columns, length, settings.uses_classifier_prefix)

    def prompts(self, tickets: Sequence[Ticket], labels: Sequence[Mapping[str, str]]) -> list[Prompt]:
        """Return encoded prompts, each carrying its ticket's labels, with half of the length kept for the reply."""
        return [
            self.encoder.generator_prompt(ticket, {c: given[c] for c in self.columns if c in given}, self._prompt_limit)
            for ticket, given in zip(tickets, labels, strict=True)
        ]

    def row(self, prompt: Prompt, on_token: Callable[[int], None] | None = None) -> Row:
        """Return what a writer continues."""
        handed_over = self.encoder.ticket_end(prompt.ids) if self.uses_classifier_prefix else 0
        return Row(prompt.ids, GENERATOR, self.decoding, CLASSIFIER if handed_over else "", handed_over, on_token)

    def shared_prefix(self, prompts: Sequence[Sequence[int]]) -> SharedPrefix | None:
        """Return what of the prompts the classifier's adapter reads."""
        return (
            SharedPrefix(CLASSIFIER, [self.encoder.ticket_end(ids) for ids in prompts])
            if self.uses_classifier_prefix
            else None
        )

    def text(self, ids: Sequence[int]) -> str:
        """Return the reply that a row's ids are."""
        return self.encoder.decode(ids).strip()

    @property
    def context(self) -> int:
        """Tokens that the longest prompt and its reply can come to."""
        return self._prompt_limit + self.decoding.max_new_tokens

    @property
    def _prompt_limit(self) -> int:
        return self.decoding.prompt_room(self.max_length)
