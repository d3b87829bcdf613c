"""The two-stage system: one base, the classifier's labels first, then the generator's reply that is given them."""

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

OnLabels = Callable[[int, Prediction], None]  # (row of the ticket, its labels)
OnAnswer = Callable[[int, Answer], None]  # (row of the ticket, its answer, with the timings so far)


@dataclass(frozen=True)
class Labelled:
    """Labels of a ticket; `truncated` when the ticket was cut to fit."""

    prediction: Prediction
    truncated: bool


@dataclass(frozen=True)
class Reply:
    """The reply to a ticket; `truncated` when the ticket was cut to fit."""

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
        """The engine whose KV cache of the first stage the second one continues from; None where there is none."""
        engine: object = self.encoder
        if self.generator is None or not self.generator.uses_classifier_prefix or engine is not self.writer:
            return None
        return engine if isinstance(engine, PrefixCachingEncoder) else None

    def answer(
        self,
        tickets: Sequence[Ticket],
        labels_only: bool = False,
        on_labels: OnLabels | None = None,
        on_token: OnToken | None = None,
        on_answer: OnAnswer | None = None,
    ) -> list[Answer]:
        """Run both stages and return the answers in order.

        Timings are seconds for all tickets together: `labels` and, with replies, `reply`.

        Args:
            on_labels: called for every ticket when the labels of all are known.
            on_token: called for every token of a reply.
            on_answer: called for every ticket when its answer is complete.
        """
        start = time.perf_counter()
        writes = self.generator is not None and not labels_only
        labelled = self.label(tickets, to_reply=writes)
        timings = {"labels": time.perf_counter() - start}
        if on_labels:
            for row, one in enumerate(labelled):
                on_labels(row, one.prediction)

        def complete(row: int, reply: Reply | None) -> None:
            if on_answer:
                on_answer(row, self._compose(tickets[row], labelled[row], reply, timings))

        replies: Sequence[Reply | None] = [None] * len(tickets)
        if writes:
            start = time.perf_counter()
            labels = [one.prediction.labels for one in labelled]
            replies = self.reply(tickets, labels, on_token, on_reply=complete)
            timings["reply"] = time.perf_counter() - start
        else:
            for row in range(len(tickets)):
                complete(row, None)
        rows = zip(tickets, labelled, replies, strict=True)
        return [self._compose(ticket, one, reply, timings) for ticket, one, reply in rows]

    def label(self, tickets: Sequence[Ticket], to_reply: bool = True) -> list[Labelled]:
        """Run the first stage and return the labels in order.

        Args:
            to_reply: `reply` to the same tickets comes next, so the KV cache is worth keeping.
        """
        prompts = self.classifier.prompts(tickets)
        ids = [prompt.ids for prompt in prompts]
        if self.caching_encoder and to_reply:
            lengths = [self.classifier.encoder.ticket_end(prompt) for prompt in ids]
            states = self.caching_encoder.encode_and_cache(ids, CLASSIFIER, lengths)
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
        """Run the second stage and return the replies in order.

        Raises:
            InputError: the model has no generator.
        """
        if self.generator is None or self.writer is None:
            raise InputError("this model has no generator; `duet train-gen` adds one")
        prompts = self.generator.prompts(tickets, labels)

        def complete(row: int, text: str) -> None:
            if on_reply:
                on_reply(row, Reply(text, prompts[row].truncated))

        texts = self.generator.write(prompts, self.writer, on_token, complete)
        return [Reply(text, prompt.truncated) for text, prompt in zip(texts, prompts, strict=True)]

    def _compose(self, ticket: Ticket, labelled: Labelled, reply: Reply | None, timings: Mapping[str, float]) -> Answer:
        return Answer(
            ticket.id,
            labelled.prediction,
            reply.text if reply else None,
            self.classifier.needs_review(labelled.prediction),
            labelled.truncated or bool(reply and reply.truncated),
            dict(timings),
        )


def load_two_stage(
    model: Path | ModelFolder | None, labels_only: bool = False, choice: EngineChoice | None = None
) -> TwoStage:
    """Load a model: a folder, one that is open already, or without any the shipped mini model.

    Raises:
        InputError: not a model, one without a classifier, or an engine that is not there.
    """
    opened = model if isinstance(model, ModelFolder) else open_model(model)
    if CLASSIFIER not in opened.stages:
        raise InputError(
            f"--model {opened.path}: has a generator but no classifier; run `duet train-cls` with the same "
            "configuration, which writes into the same run folder"
        )
    stage = opened.stages[CLASSIFIER]
    classifier = Classifier.load(stage.path, stage.encoder, stage.config)
    writing = None if labels_only else opened.stages.get(GENERATOR)
    generator = Generator.load(writing.encoder, writing.config) if writing else None
    stages = (CLASSIFIER, GENERATOR) if generator else (CLASSIFIER,)
    cells = max(classifier.max_length, generator.context if generator else 0)
    encoder, writer = load_engines(opened, choice or EngineChoice(), stages, cells)
    return TwoStage(classifier, encoder, generator, writer)
