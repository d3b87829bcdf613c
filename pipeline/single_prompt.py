"""The single-prompt system: one prompt in, label block and reply out; the other side of the comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backbone.config import DecodingConfig
from backbone.prompts import PromptEncoder
from backbone.runs.layout import ADAPTER, BASELINE, LABELS
from engines.protocols import OnToken
from generator.single_prompt.format import LabelBlock, single_prompt_decoding, single_prompt_encoder
from generator.single_prompt.parse import Parsed, parse_output
from pipeline.model_folder import StageFolder, open_stage_folder
from tickets.labels import LabelSpace
from tickets.schema import Ticket

if TYPE_CHECKING:
    from engines.torch import TorchEngine

NO_ADAPTER = ""


@dataclass(frozen=True)
class Written:
    """What one ticket got: the text as it came, what it says, tokens read and written, whether the ticket was cut."""

    text: str
    parsed: Parsed
    prompt_tokens: int
    written_tokens: int
    truncated: bool


@dataclass(frozen=True)
class SinglePrompt:
    """A language model that writes labels, tags and reply in one go.

    Attributes:
        adapter: name of the adapter in `engine`; NO_ADAPTER for the base itself (zero-shot).
        constrained: only known labels may be written.
    """

    encoder: PromptEncoder
    engine: "TorchEngine"
    adapter: str
    space: LabelSpace
    decoding: DecodingConfig
    max_length: int
    constrained: bool = False

    def write(self, tickets: Sequence[Ticket], on_token: OnToken | None = None) -> list[Written]:
        """Return what the model writes to tickets, in order; `on_token` hears of every id as it comes."""
        limit = self.decoding.prompt_room(self.max_length)
        prompts = [self.encoder.single_prompt(ticket, limit) for ticket in tickets]
        allowed = LabelBlock(self.encoder, self.space.columns).allowed if self.constrained else None
        written = self.engine.generate([p.ids for p in prompts], self.adapter, self.decoding, on_token, allowed=allowed)
        texts = [self.encoder.decode(ids) for ids in written]
        return [
            Written(text, parse_output(text, self.space), len(prompt.ids), len(ids), prompt.truncated)
            for text, ids, prompt in zip(texts, written, prompts, strict=True)
        ]


def load_single_prompt(stage: StageFolder, constrained: bool = False) -> SinglePrompt:
    """Load a trained single prompt.

    Raises:
        InputError: its base is not to be had, or a file is damaged.
    """
    space = LabelSpace.load(stage.path / LABELS)
    return _load(stage, space, {BASELINE: stage.path / ADAPTER}, constrained)


def load_zero_shot(stage: StageFolder, space: LabelSpace) -> SinglePrompt:
    """Return the base of any run with the single prompt and no adapter."""
    return _load(stage, space, {}, False)


def open_single_prompt(run: Path) -> StageFolder | None:
    """Open the single prompt's run: `run`/baseline, or `run` itself if that is its name; None if there is none."""
    folder = run / BASELINE if (run / BASELINE).is_dir() else run
    return open_stage_folder(folder) if folder.name == BASELINE and folder.is_dir() else None


def _load(stage: StageFolder, space: LabelSpace, adapters: dict[str, Path], constrained: bool) -> SinglePrompt:
    from engines.torch import TorchEngine  # seconds of imports

    config = stage.config
    encoder = single_prompt_encoder(stage.path, space, config)
    engine = TorchEngine(stage.base_folder(), adapters, config.base, encoder.pad_id, encoder.end_id)
    return SinglePrompt(
        encoder,
        engine,
        next(iter(adapters), NO_ADAPTER),
        space,
        single_prompt_decoding(config),
        config.baseline.training.max_length,
        constrained,
    )
