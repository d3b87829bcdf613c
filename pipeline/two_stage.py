"""The two-stage system: one base, the classifier's labels first, then the generator's reply that knows them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from backbone.runs.layout import CLASSIFIER, GENERATOR
from classifier.predict import Classifier
from engines.protocols import Encoder, OnToken, PrefixCachingEncoder, Writer
from generator.reply import Generator
from pipeline.engine_choice import EngineChoice, load_engines
from pipeline.model_folder import ModelFolder, open_model
from tickets.errors import InputError
from tickets.schema import Answer, Prediction, Ticket


@dataclass(frozen=True)
class Labelled:
    """Labels of a ticket; `truncated` when the ticket was cut to fit."""

    prediction: Prediction
    truncated: bool


@dataclass(frozen=True)
class Reply:
    """What was written to a ticket."""

    text: str
    truncated: bool


@dataclass(frozen=True)
class TwoStage:
    """`classifier` on `encoder`, then `generator` on `writer`; without the latter two it gives labels alone."""

    classifier: Classifier
    encoder: Encoder
    generator: Generator | None
    writer: Writer | None

    @property
    def caching_encoder(self) -> PrefixCachingEncoder | None:
        """The engine that keeps what it read for labels, for replies that go on from it; None where nothing is kept."""
        encoder: object = self.encoder
        uses_classifier_prefix = self.generator is not None and self.generator.uses_classifier_prefix
        return (
            encoder
            if uses_classifier_prefix and encoder is self.writer and isinstance(encoder, PrefixCachingEncoder)
            else None
        )

    def label(self, tickets: Sequence[Ticket], to_reply: bool = True) -> list[Labelled]:
        """The first stage, in order; `to_reply` when `reply` to the same tickets is what comes next."""
        prompts = self.classifier.prompts(tickets)
        ids = [prompt.ids for prompt in prompts]
        if self.caching_encoder and to_reply:
            ends = [self.classifier.encoder.ticket_end(one) for one in ids]
            states = self.caching_encoder.encode_and_cache(ids, CLASSIFIER, ends)
        else:
            states = self.encoder.encode(ids, CLASSIFIER)
        predictions = self.classifier.read(states)
        return [Labelled(p, prompt.truncated) for p, prompt in zip(predictions, prompts, strict=True)]

    def reply(
        self,
        tickets: Sequence[Ticket],
        labels: Sequence[Mapping[str, str]],
        on_token: OnToken | None = None,
        on_reply: Callable[[int, Reply], None] | None = None,
    ) -> list[Reply]:
        """The second stage, in order; `on_token` hears of every id as it is written, `on_reply` of whole replies."""
        if self.generator is None or self.writer is None:
            raise InputError("this model has no generator; `duet train-gen` adds one")
        prompts = self.generator.prompts(tickets, labels)

        def heard(row: int, text: str) -> None:
            if on_reply:
                on_reply(row, Reply(text, prompts[row].truncated))

        texts = self.generator.write(prompts, self.writer, on_token, heard)
        return [Reply(text, prompt.truncated) for text, prompt in zip(texts, prompts, strict=True)]

    def answer(
        self,
        tickets: Sequence[Ticket],
        labels_only: bool = False,
        on_answer: Callable[[int, Answer], None] | None = None,
    ) -> list[Answer]:
        """Both stages, in order. Timings are seconds for the whole batch: `labels` and `reply`.

        `on_answer` hears of every ticket when its answer is complete, with its row and the timings so far.
        """
        start = time.perf_counter()
        labelled = self.label(tickets, to_reply=not labels_only)
        timings = {"labels": time.perf_counter() - start}
        replies: Sequence[Reply | None] = [None] * len(tickets)

        def heard(row: int, reply: Reply | None) -> None:
            if on_answer:
                on_answer(row, self.compose(tickets[row], labelled[row], reply, timings))

        if self.generator is None or labels_only:
            for row in range(len(tickets)):
                heard(row, None)
        else:
            start = time.perf_counter()
            replies = self.reply(tickets, [one.prediction.labels for one in labelled], on_reply=heard)
            timings["reply"] = time.perf_counter() - start
        return [
            self.compose(ticket, one, reply, timings)
            for ticket, one, reply in zip(tickets, labelled, replies, strict=True)
        ]

    def compose(self, ticket: Ticket, labelled: Labelled, reply: Reply | None, timings: Mapping[str, float]) -> Answer:
        """The answer that two stages come to."""
        return Answer(
            ticket.id,
            labelled.prediction,
            reply.text if reply else None,
            self.classifier.needs_review(labelled.prediction),
            labelled.truncated or bool(reply and reply.truncated),
            timings,
        )


def load_two_stage(path: Path | None, labels_only: bool = False, choice: EngineChoice | None = None) -> TwoStage:
    """Open a model and load it; the shipped mini model without a path.

    Raises:
        InputError: not a model, one without a classifier, or an engine that is not there.
    """
    model = open_model(path)
    if CLASSIFIER not in model.stages:
        raise InputError(
            f"--model {model.path}: has a generator but no classifier; run `duet train-cls` with the same "
            "configuration, which writes into the same run folder"
        )
    stage = model.stages[CLASSIFIER]
    classifier = Classifier.load(stage.path, stage.encoder(), stage.config)
    generator = None if labels_only else _load_generator(model)
    stages = (CLASSIFIER, GENERATOR) if generator else (CLASSIFIER,)
    cells = max(classifier.max_length, generator.context if generator else 0)
    encoder, writer = load_engines(model, choice or EngineChoice(), stages, cells)
    return TwoStage(classifier, encoder, generator, writer)


def _load_generator(model: ModelFolder) -> Generator | None:
    stage = model.stages.get(GENERATOR)
    return None if stage is None else Generator.load(stage.encoder(), stage.config)
