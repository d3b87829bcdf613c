"""The two-stage system: one base, the classifier's labels first, then the generator's reply that knows them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from backbone.prompts import PromptEncoder
from backbone.stage import ADAPTER, CLASSIFIER, GENERATOR
from classifier.predict import Classifier
from engines.base import Engine
from generator.reply import Generator
from pipeline.model_folder import ModelFolder, open_model
from tickets.errors import InputError
from tickets.schema import Answer, Ticket


@dataclass(frozen=True)
class TwoStage:
    """`classifier` then `generator` on one engine. Either may be absent: labels alone, or replies without labels."""

    engine: Engine
    classifier: Classifier
    generator: Generator | None

    def answer(self, tickets: Sequence[Ticket], labels_only: bool = False) -> list[Answer]:
        """Label and answer tickets, in order.

        Timings are seconds for the whole batch: `labels` and `reply`.
        """
        start = time.perf_counter()
        prompts = self.classifier.prompts(tickets)
        states = self.engine.encode([prompt.ids for prompt in prompts], CLASSIFIER)
        predictions = self.classifier.read(states)
        timings = {"labels": time.perf_counter() - start}
        replies: Sequence[str | None] = [None] * len(tickets)
        truncated = [prompt.truncated for prompt in prompts]
        if self.generator is not None and not labels_only:
            start = time.perf_counter()
            reply_prompts = self.generator.prompts(tickets, [prediction.labels for prediction in predictions])
            replies = self.generator.write(reply_prompts, self.engine)
            truncated = [cut or prompt.truncated for cut, prompt in zip(truncated, reply_prompts, strict=True)]
            timings["reply"] = time.perf_counter() - start
        return [
            Answer(ticket.id, prediction, reply, self.classifier.needs_review(prediction), cut, timings)
            for ticket, prediction, reply, cut in zip(tickets, predictions, replies, truncated, strict=True)
        ]


def load_two_stage(path: Path | None, labels_only: bool = False) -> TwoStage:
    """Open a model and load it into the torch engine; the shipped mini model without a path.

    Raises:
        InputError: not a model, or one without a classifier.
    """
    model = open_model(path)
    if CLASSIFIER not in model.stages:
        raise InputError(
            f"--model {model.path}: has a generator but no classifier; run `duet train-cls` with the same "
            "configuration, which writes into the same run folder"
        )
    stage = model.stages[CLASSIFIER]
    classifier = Classifier.load(stage.path, PromptEncoder(model.base, stage.config.prompt.instruction), stage.config)
    generator = None if labels_only else _load_generator(model)
    return TwoStage(_torch_engine(model, classifier, generator), classifier, generator)


def _load_generator(model: ModelFolder) -> Generator | None:
    stage = model.stages.get(GENERATOR)
    if stage is None:
        return None
    return Generator.load(PromptEncoder(model.base, stage.config.prompt.instruction), stage.config)


def _torch_engine(model: ModelFolder, classifier: Classifier, generator: Generator | None) -> Engine:
    from engines.torch import TorchEngine  # seconds of imports, so only when a model is really run

    wanted = {CLASSIFIER: True, GENERATOR: generator is not None}
    adapters = {name: stage.path / ADAPTER for name, stage in model.stages.items() if wanted[name]}
    encoder = classifier.encoder
    return TorchEngine(model.base, adapters, model.stages[CLASSIFIER].config.base, encoder.pad_id, encoder.end_id)
