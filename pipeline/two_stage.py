"""The two-stage system: one base, the classifier's labels first, then the generator's reply that is given them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from backbone.runs.layout import CLASSIFIER, GENERATOR
from classifier.predict import Classifier
from engines.protocols import HasClassCounts, HasHiddenSize, LabelEngine, OnToken, PrefixCachingEngine, Writer
from generator.reply import Generator
from pipeline.engine_choice import EngineChoice, load_engines
from pipeline.model_folder import ModelFolder
from pipeline.scheduler import LABEL_TOKENS, Labelled, Reply, Request, Scheduler, prefix_caching_engine
from pipeline.shipped import open_to_answer
from tickets.errors import InputError
from tickets.schema import Answer, Prediction, Ticket

if TYPE_CHECKING:
    from tickets.redact.drafts import DraftGuard

OnLabels = Callable[[int, Prediction], None]  # (row of the ticket, its labels)


def _default_guard() -> "DraftGuard":
    from tickets.redact.drafts import DraftGuard  # labels alone do not need it

    return DraftGuard()


@dataclass(frozen=True)
class TwoStage:
    """`classifier` on `label_engine`, then `generator` on `writer`; without the latter two it gives labels alone."""

    classifier: Classifier
    label_engine: LabelEngine
    generator: Generator | None
    writer: Writer | None
    guard: "DraftGuard | None" = field(default_factory=_default_guard)  # masks contacts in drafts, unless None

    @property
    def prefix_caching_engine(self) -> PrefixCachingEngine | None:
        """The engine that caches the classifier's prefix for the generator, or None."""
        return prefix_caching_engine(self.label_engine, self.generator, self.writer)

    def scheduler(self, together: int | None = None, label_tokens: int | None = LABEL_TOKENS) -> Scheduler:
        """Return a scheduler for these engines; `Scheduler` documents the arguments."""
        return Scheduler(
            self.classifier, self.label_engine, self.generator, self.writer, self._compose, together, label_tokens
        )

    def answer(
        self,
        tickets: Sequence[Ticket],
        labels_only: bool = False,
        on_labels: OnLabels | None = None,
        on_token: OnToken | None = None,
    ) -> list[Answer]:
        """Run both stages on a closed list of tickets and return the answers in order.

        Timings are seconds: `labels` until a ticket's labels were known and, with replies, `reply` from there on.

        Args:
            on_labels: called for every ticket when its labels are known.
            on_token: called for every token of a reply.

        Raises:
            DuetError: the first ticket that fails ends all.
        """
        requests = [
            Request(
                ticket,
                labels_only,
                on_labels=partial(on_labels, row) if on_labels else None,
                on_token=partial(on_token, row) if on_token else None,
            )
            for row, ticket in enumerate(tickets)
        ]
        scheduler = self.scheduler(label_tokens=None)
        for request in requests:
            scheduler.add(request)
        try:
            while scheduler.has_work:
                for request in scheduler.step():
                    if request.error:
                        raise request.error
        finally:
            scheduler.clear()  # an interrupted call leaves nothing behind
        return [request.answer for request in requests if request.answer]

    def _compose(self, ticket: Ticket, labelled: Labelled, reply: Reply | None, timings: Mapping[str, float]) -> Answer:
        text = reply.text if reply else None
        masked: tuple[str, ...] = ()
        if text and self.guard:
            text, masked = self.guard.mask(text, ticket.text)
        answer = Answer(
            ticket.id,
            labelled.prediction,
            text,
            self.classifier.needs_review(labelled.prediction) or bool(masked),
            labelled.truncated or bool(reply and reply.truncated),
            dict(timings),
            apply=self.classifier.applicable(labelled.prediction),
            masked=masked,
            reply_cut=bool(reply and reply.cut),
        )
        return answer if answer.reply_is_whole else replace(answer, needs_review=True)


def load_classifier(opened: ModelFolder) -> Classifier:
    """Load what decides by the scores of heads: labels, heads and calibration, and no weights of the base.

    Raises:
        InputError: the model has no classifier.
    """
    if CLASSIFIER not in opened.stages:
        raise InputError(
            f"--model {opened.path}: has a generator but no classifier; run `duet train-cls` with the same "
            "configuration, which writes into the same run folder"
        )
    stage = opened.stages[CLASSIFIER]
    return Classifier.load(stage.path, stage.encoder, stage.config)


def load_two_stage(
    model: Path | ModelFolder | None,
    labels_only: bool = False,
    choice: EngineChoice | None = None,
    allowed: Sequence[str] | None = (),
) -> TwoStage:
    """Load a model: a folder, one that is open already, or without any the shipped one.

    Args:
        allowed: contacts that drafts may hold beside those of the configuration; None masks nothing, to score drafts as
            they were written.

    Raises:
        InputError: not a model, one without a classifier, or an engine that is not there.
    """
    opened = model if isinstance(model, ModelFolder) else open_to_answer(model, choice)
    classifier, stage = load_classifier(opened), opened.stages[CLASSIFIER]
    writing = None if labels_only else opened.stages.get(GENERATOR)
    generator = Generator.load(writing.encoder, writing.config) if writing else None
    stages = (CLASSIFIER, GENERATOR) if generator else (CLASSIFIER,)
    cells = max(classifier.max_length, generator.context if generator else 0)
    label_engine, writer = load_engines(opened, choice or EngineChoice(), stages, cells)
    if isinstance(label_engine, HasHiddenSize) and label_engine.hidden_size != classifier.hidden_size:
        raise InputError(
            f"{stage.path}: its heads read states of {classifier.hidden_size}, and the model gives "
            f"{label_engine.hidden_size}; expected the files of one classifier; train or export it again"
        )
    sizes = {head: len(bias) for head, (_, bias) in classifier.heads.items()}
    if isinstance(label_engine, HasClassCounts) and label_engine.classes and dict(label_engine.classes) != sizes:
        raise InputError(
            f"{opened.path}: its graph is of a classifier with {_counts(label_engine.classes)}, and {stage.path} has "
            f"{_counts(sizes)}; expected one classifier; export the bundle again"
        )
    guard = None
    if allowed is not None and generator and generator.decoding.mask_contacts:
        from tickets.redact.drafts import DraftGuard

        guard = DraftGuard((*generator.decoding.allowed_contacts, *allowed))
    return TwoStage(classifier, label_engine, generator, writer, guard)


def _counts(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{size} classes of {head}" for head, size in sorted(sizes.items()))
