"""Replies of a trained generator, written by an engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from backbone.config import DecodingConfig, RunConfig
from backbone.prompts import Prompt, PromptEncoder
from backbone.runs.layout import CLASSIFIER, GENERATOR
from engines.protocols import OnToken, SharedPrefix, Writer
from tickets.schema import Ticket


@dataclass(frozen=True)
class Generator:
    """A trained generator: everything but the language model, which an engine runs."""

    encoder: PromptEncoder
    decoding: DecodingConfig
    columns: tuple[str, ...]
    max_length: int
    uses_classifier_prefix: bool = False  # it goes on from the classifier's reading of the ticket

    @classmethod
    def load(cls, encoder: PromptEncoder, config: RunConfig) -> "Generator":
        """As the run was configured."""
        settings = config.generator
        columns, length = config.classifier.columns, settings.training.max_length
        return cls(encoder, config.decoding, columns, length, settings.uses_classifier_prefix)

    def prompts(self, tickets: Sequence[Ticket], labels: Sequence[Mapping[str, str]]) -> list[Prompt]:
        """Encoded prompts, each carrying its ticket's labels, with half of the length kept for the reply."""
        return [
            self.encoder.generator_prompt(ticket, {c: given[c] for c in self.columns if c in given}, self._prompt_limit)
            for ticket, given in zip(tickets, labels, strict=True)
        ]

    def write(
        self,
        prompts: Sequence[Prompt],
        writer: Writer,
        on_token: OnToken | None = None,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[str]:
        """One reply per prompt; `on_text` hears of each when it is complete, with its row."""

        def done(row: int, ids: list[int]) -> None:
            if on_text:
                on_text(row, self._text(ids))

        ids = [prompt.ids for prompt in prompts]
        written = writer.generate(ids, GENERATOR, self.decoding, on_token, done, self.shared_prefix(ids))
        return [self._text(ids) for ids in written]

    def shared_prefix(self, prompts: Sequence[Sequence[int]]) -> SharedPrefix | None:
        """What of the prompts the classifier's adapter reads."""
        return (
            SharedPrefix(CLASSIFIER, [self.encoder.ticket_end(ids) for ids in prompts])
            if self.uses_classifier_prefix
            else None
        )

    def _text(self, ids: Sequence[int]) -> str:
        return self.encoder.decode(ids).strip()

    @property
    def context(self) -> int:
        """Tokens that the longest prompt and its reply can come to."""
        return self._prompt_limit + self.decoding.max_new_tokens

    @property
    def _prompt_limit(self) -> int:
        return self.decoding.prompt_room(self.max_length)
