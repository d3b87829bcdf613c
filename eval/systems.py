"""The systems of a comparison, behind one method: tickets in, outputs out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from backbone.prompts import Prompt
from backbone.runs.files import sha256
from backbone.runs.layout import MANIFEST
from eval.references import majority, nearest_neighbours, tfidf_regression
from generator.single_prompt.parse import parse_output
from pipeline.engine_choice import EngineChoice
from pipeline.model_folder import ModelFolder, StageFolder
from pipeline.single_prompt import SinglePrompt, load_single_prompt, load_zero_shot
from pipeline.two_stage import TwoStage, load_two_stage
from tickets.labels import LabelSpace
from tickets.schema import Answer, Ticket

TOGETHER = 16  # tickets that a system answers at a time
TWO_STAGE, SINGLE, CONSTRAINED = "two-stage", "single-prompt", "single-prompt, constrained"
ZERO_SHOT, TFIDF, MAJORITY = "zero-shot base", "TF-IDF + logistic regression", "majority class"
NEAREST = "nearest neighbour"


@dataclass(frozen=True)
class Output:
    """What one system said to one ticket.

    Attributes:
        labels: labels of the label space, by column.
        unknown_labels: by column, what a single prompt wrote that is not one of the allowed labels.
        nearest: by column, the allowed label most like it; it still counts as wrong.
        reply: None where the system writes none.
        probabilities: calibrated, by column and class; empty where the system has none.
        text: what the model wrote as it came, where labels had to be read from text.
        truncated: the ticket was cut to fit.
        prompt_tokens: tokens that the model read for this ticket.
        written_tokens: tokens that it wrote.
        seconds: of the batch it was in, divided by the tickets in it.
    """

    id: str
    labels: Mapping[str, str]
    reply: str | None = None
    tags: tuple[str, ...] = ()
    unknown_labels: Mapping[str, str] = field(default_factory=dict)
    nearest: Mapping[str, str] = field(default_factory=dict)
    probabilities: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    review: bool = False
    text: str = ""
    truncated: bool = False
    prompt_tokens: int = 0
    written_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Latency:
    """Seconds of one ticket by itself: until labels and tags are known (None if they never are), and to the end."""

    labels: float | None
    answer: float


class System(Protocol):
    """One column of the comparison."""

    name: str

    @property
    def kind(self) -> str:
        """Return the kind; systems of one kind differ in their training alone."""

    @property
    def key(self) -> str:
        """Return what its outputs depend on besides the tickets."""

    def load(self) -> None:
        """Make it ready; the time and memory of this are not the tickets'."""

    def unload(self) -> None:
        """Free its memory."""

    def answer(self, tickets: Sequence[Ticket]) -> list[Output]:
        """Return outputs in the order of the tickets."""

    def reread(self, output: Output) -> Output:
        """Return a saved output as it would be read today."""

    def latency(self, ticket: Ticket) -> Latency | None:
        """Time one ticket by itself; None where that says nothing."""


@dataclass
class TwoStageSystem:
    """A classifier and, where there is one, a generator."""

    name: str
    model: ModelFolder
    kind: str = TWO_STAGE

    @property
    def key(self) -> str:
        """Return the checksums of both runs."""
        return " ".join(sha256(stage.path / MANIFEST) for stage in self.model.stages.values())

    def load(self) -> None:
        self.system  # noqa: B018

    def unload(self) -> None:
        self.__dict__.pop("system", None)

    @cached_property
    def system(self) -> TwoStage:
        """Load both stages; contacts in drafts are not masked, so drafts are scored as written."""
        return load_two_stage(self.model, choice=EngineChoice(together=TOGETHER), allowed=None)

    def answer(self, tickets: Sequence[Ticket]) -> list[Output]:
        start = time.perf_counter()
        answers = self.system.answer(tickets)
        seconds = (time.perf_counter() - start) / len(tickets)
        return [
            Output(
                answer.ticket_id,
                answer.prediction.labels,
                answer.reply,
                tuple(answer.prediction.tags),
                probabilities=answer.prediction.probabilities,
                review=self.system.classifier.needs_review(answer.prediction),  # of the labels alone
                truncated=answer.truncated,
                prompt_tokens=sum(len(prompt.ids) for prompt in prompts) - self._read_once(prompts),
                written_tokens=len(self.system.classifier.encoder.encode_text(answer.reply or "")),
                seconds=seconds,
            )
            for answer, prompts in zip(answers, self._prompts(tickets, answers), strict=True)
        ]

    def _prompts(self, tickets: Sequence[Ticket], answers: Sequence[Answer]) -> list[list[Prompt]]:
        """Return the prompts of both stages, by ticket."""
        stages = [self.system.classifier.prompts(tickets)]
        if self.system.generator is not None:
            stages.append(self.system.generator.prompts(tickets, [answer.prediction.labels for answer in answers]))
        return [list(prompts) for prompts in zip(*stages, strict=True)]

    def _read_once(self, prompts: Sequence[Prompt]) -> int:
        """Count the ids of a ticket's prompts that serve both stages."""
        if not self.system.prefix_caching_engine:
            return 0
        encoder = self.system.classifier.encoder
        starts = [prompt.ids[: encoder.ticket_end(prompt.ids)] for prompt in prompts]
        return len(starts[0]) if starts[0] == starts[-1] else 0

    def reread(self, output: Output) -> Output:
        """Return it unchanged: nothing was read from text."""
        return output

    def latency(self, ticket: Ticket) -> Latency | None:
        """Time one ticket; its labels are known before the reply begins."""
        answer = self.system.answer([ticket])[0]
        return Latency(answer.timings["labels"], sum(answer.timings.values()))


@dataclass
class SinglePromptSystem:
    """A trained single prompt, or the base alone with that prompt."""

    name: str
    kind: str
    stage: StageFolder
    space: LabelSpace

    @property
    def key(self) -> str:
        """Return the checksum of the run, and the way of decoding."""
        return f"{sha256(self.stage.path / MANIFEST)} {self.kind}"

    def load(self) -> None:
        self.system  # noqa: B018

    def unload(self) -> None:
        self.__dict__.pop("system", None)

    @cached_property
    def system(self) -> SinglePrompt:
        if self.kind == ZERO_SHOT:
            return load_zero_shot(self.stage, self.space)
        return load_single_prompt(self.stage, constrained=self.kind == CONSTRAINED)

    def answer(self, tickets: Sequence[Ticket]) -> list[Output]:
        start = time.perf_counter()
        written = self.system.write(tickets)
        seconds = (time.perf_counter() - start) / len(tickets)
        return [
            self.reread(
                Output(
                    ticket.id,
                    {},
                    text=answer.text,
                    truncated=answer.truncated,
                    prompt_tokens=answer.prompt_tokens,
                    written_tokens=answer.written_tokens,
                    seconds=seconds,
                )
            )
            for ticket, answer in zip(tickets, written, strict=True)
        ]

    def reread(self, output: Output) -> Output:
        """Return an output with labels, tags and reply read from its text."""
        parsed = parse_output(output.text, self.space)
        return replace(
            output,
            labels=parsed.labels,
            reply=parsed.reply,
            tags=parsed.tags,
            unknown_labels=parsed.unknown,
            nearest=parsed.near_miss,
            review=len(parsed.labels) < len(self.space.columns),
        )

    def latency(self, ticket: Ticket) -> Latency | None:
        """Time one ticket; labels are known when the line of tags ends, or never if that line or a label is missing."""
        start = time.perf_counter()
        ids: list[int] = []
        label_times: list[float] = []

        def on_token(row: int, token: int) -> None:
            ids.append(token)
            if not label_times and _block_is_over(self.system.encoder.decode(ids)):
                label_times.append(time.perf_counter() - start)

        written = self.system.write([ticket], on_token)[0]
        total = time.perf_counter() - start
        complete = len(written.parsed.labels) == len(self.space.columns)
        return Latency(label_times[0] if label_times and complete else None, total)


@dataclass
class ReferenceSystem:
    """A system without a language model, fitted on the training tickets."""

    name: str
    train: Sequence[Ticket]
    columns: Sequence[str]

    @property
    def kind(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        """Return its name: outputs depend on nothing but the data."""
        return self.name

    def load(self) -> None:
        """Do nothing: `answer` fits."""

    def unload(self) -> None:
        """Do nothing: no weights are kept."""

    def answer(self, tickets: Sequence[Ticket]) -> list[Output]:
        start = time.perf_counter()
        if self.name == NEAREST:
            nearest = nearest_neighbours([t for t in self.train if t.reply] or self.train, tickets)
            rows: list[dict[str, Any]] = [{"labels": t.labels, "tags": t.tags, "reply": t.reply} for t in nearest]
        else:
            fit = {TFIDF: tfidf_regression, MAJORITY: majority}[self.name]
            rows = [{"labels": labels} for labels in fit(self.train, tickets, self.columns)]
        seconds = (time.perf_counter() - start) / len(tickets)
        return [Output(ticket.id, **row, seconds=seconds) for ticket, row in zip(tickets, rows, strict=True)]

    def reread(self, output: Output) -> Output:
        return output

    def latency(self, ticket: Ticket) -> Latency | None:
        """Return None: fitting would hide it."""
        return None


def _block_is_over(text: str) -> bool:
    _, tags, after_tags = text.lower().partition("tags:")
    return bool(tags) and "\n" in after_tags
