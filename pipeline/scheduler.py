"""Decide what each step does: label waiting tickets, admit replies, write one token of every reply."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field

from backbone.prompts import Prompt
from backbone.runs.layout import CLASSIFIER
from classifier.predict import Classifier
from engines.protocols import Encoder, PrefixCachingEncoder, Row, Writer
from generator.reply import Generator
from tickets.schema import Answer, Prediction, Ticket

_LABEL_TICKETS = 64  # largest label group while no reply is being written
LABEL_TOKENS = 512  # token limit of a label group while replies are being written


@dataclass(frozen=True)
class Labelled:
    """Labels of a ticket; `truncated` when the ticket was cut to fit."""

    prediction: Prediction
    truncated: bool


@dataclass(frozen=True)
class Reply:
    """The reply to a ticket; `truncated` when the ticket was cut to fit, `cut` when the reply stops too early."""

    text: str
    truncated: bool
    cut: bool = False


Compose = Callable[[Ticket, Labelled, Reply | None, Mapping[str, float]], Answer]


@dataclass(eq=False)
class Job:
    """One ticket to answer.

    Attributes:
        on_labels: called once, when the labels are known; if it or `on_token` raises, the job ends with that error.
        on_token: called with every id of the reply as it is generated.
        answer: the answer; set when the job ends without error.
        error: why it ended without an answer.
    """

    ticket: Ticket
    labels_only: bool = False
    on_labels: Callable[[Prediction], None] | None = None
    on_token: Callable[[int], None] | None = None
    answer: Answer | None = None
    error: Exception | None = None
    prompt: Prompt | None = None  # the classifier's
    labelled: Labelled | None = None
    reply_prompt: Prompt | None = None
    row: Row | None = None
    timings: dict[str, float] = field(default_factory=dict)
    marked: float = 0.0  # when the present stage began, seconds

    def stop(self) -> None:
        """End the reply at its next token. Any thread may call this, even during a step."""
        if self.row is not None:
            self.row.error = CancelledError()


class Scheduler:
    """Answers jobs that are added at any time; all calls come from one thread.

    Jobs are taken in the order in which they are added. Each step labels at most one group, then continues all replies.
    Neither waits for the other to finish.
    """

    def __init__(
        self,
        classifier: Classifier,
        encoder: Encoder,
        generator: Generator | None,
        writer: Writer | None,
        compose: Compose,
        together: int | None = None,
        label_tokens: int | None = LABEL_TOKENS,
    ) -> None:
        """Take the stages.

        Args:
            compose: makes the answer of ticket, labels, reply and timings.
            together: most replies that are written at a time; None for as many as the writer takes.
            label_tokens: token limit of a label group while replies are written; at least one ticket; None: no limit.
        """
        self._classifier, self._encoder = classifier, encoder
        self._generator, self._writer = generator, writer
        self._cache = caching_encoder(encoder, generator, writer)
        self._compose, self._together, self._label_tokens = compose, together, label_tokens
        self._unlabelled: deque[Job] = deque()
        self._unwritten: deque[Job] = deque()  # labelled, waiting for a place
        self._writing: dict[Row, Job] = {}

    @property
    def has_work(self) -> bool:
        """Whether any job has not ended."""
        return bool(self._unlabelled or self._unwritten or self._writing)

    def add(self, job: Job) -> None:
        job.marked = time.perf_counter()
        self._unlabelled.append(job)

    def end(self, job: Job) -> None:
        """Give up a job, wherever it is."""
        if job in self._unlabelled:
            self._unlabelled.remove(job)
        elif job in self._unwritten:
            self._unwritten.remove(job)
            self._drop_reading(job)
        elif job.row is not None and job.row in self._writing:
            assert self._writer
            del self._writing[job.row]
            self._writer.end(job.row)

    def clear(self) -> None:
        """Drop all jobs, ignoring errors of the engines."""
        for job in [*self._writing.values(), *self._unwritten, *self._unlabelled]:
            with suppress(Exception):
                self.end(job)

    def step(self) -> list[Job]:
        """Do some work; return the jobs that ended by it, with an answer or an error."""
        ended = self._label()
        ended += self._admit()
        if self._writing:
            ended += self._write()
        return ended

    def _label(self) -> list[Job]:
        """Label the oldest tickets; return the jobs that are then finished."""
        group = self._label_group()
        if not group:
            return []
        for job, read in zip(group, self._read(group), strict=True):
            if isinstance(read, Exception):
                job.error = read
                continue
            job.labelled = read
            self._mark(job, "labels")
            self._after_labels(job, read)
        return [job for job in group if job.answer or job.error]

    def _read(self, group: Sequence[Job]) -> Sequence[Labelled | Exception]:
        """Return labels or an error per job; one failing ticket does not affect others."""
        prompts = [job.prompt for job in group if job.prompt]
        ids = [prompt.ids for prompt in prompts]
        try:
            if self._cache:
                states = self._cache.encode_and_cache(ids, CLASSIFIER, [len(self._reading(job)) for job in group])
            else:
                states = self._encoder.encode(ids, CLASSIFIER)
            predictions = self._classifier.read(states)
        except Exception as error:
            return [error] if len(group) == 1 else [one for job in group for one in self._read([job])]
        return [Labelled(one, prompt.truncated) for one, prompt in zip(predictions, prompts, strict=True)]

    def _label_group(self) -> list[Job]:
        """Take the next label group from the queue and encode its prompts."""
        group: list[Job] = []
        tokens = 0
        while self._unlabelled and len(group) < _LABEL_TICKETS:
            job = self._unlabelled[0]
            job.prompt = job.prompt or self._classifier.prompts([job.ticket])[0]
            tokens += len(job.prompt.ids)
            if group and self._writing and self._label_tokens is not None and tokens > self._label_tokens:
                break
            group.append(self._unlabelled.popleft())
        return group

    def _after_labels(self, job: Job, labelled: Labelled) -> None:
        """Report the labels; queue the job if it needs a reply."""
        try:
            if job.on_labels:
                job.on_labels(labelled.prediction)
            if self._generator and not job.labels_only:
                job.reply_prompt = self._generator.prompts([job.ticket], [labelled.prediction.labels])[0]
                job.row = self._generator.row(job.reply_prompt, job.on_token)
        except Exception as error:
            job.error = error
        if job.error or job.row is None:
            self._drop_reading(job)
            self._finish(job)
            return
        if job.row.prefix != self._reading(job):  # long tickets are truncated differently for the reply
            self._drop_reading(job)
        self._unwritten.append(job)

    def _finish(self, job: Job) -> None:
        """Make the answer of a job without an error."""
        assert job.labelled
        try:
            if job.error is None:
                job.answer = self._compose(job.ticket, job.labelled, self._reply(job), job.timings)
        except Exception as error:
            job.error = error

    def _reply(self, job: Job) -> Reply | None:
        """Return the job's reply; None for labels only."""
        if job.row is None:
            return None
        assert self._generator and job.reply_prompt
        return Reply(self._generator.text(job.row.written), job.reply_prompt.truncated, job.row.is_cut)

    def _admit(self) -> list[Job]:
        """Admit the next jobs while there is room; return those that the writer refuses."""
        refused = []
        while self._unwritten and (self._together is None or len(self._writing) < self._together):
            job = self._unwritten[0]
            assert self._writer and job.row
            try:
                if not self._writer.admit(job.row):
                    break
                self._writing[job.row] = job
            except Exception as error:
                job.error = error
                self._drop_reading(job)
                refused.append(job)
            self._unwritten.popleft()
        return refused

    def _write(self) -> list[Job]:
        """Go on with all replies; return the jobs whose reply is complete, or failed."""
        ended = []
        for row in self._next_token():
            job = self._writing.pop(row, None)
            if job is None:
                continue  # it was given up while the writer was at it
            self._mark(job, "reply")
            job.error = row.error
            self._finish(job)
            ended.append(job)
        return ended

    def _next_token(self) -> Sequence[Row]:
        """Run one writer step; return finished rows, or all rows if it fails."""
        assert self._writer
        try:
            return self._writer.step()
        except Exception as error:
            rows = list(self._writing)
            for row in rows:
                self._writer.end(row)
                row.error = error
            return rows

    def _mark(self, job: Job, stage: str) -> None:
        """Note how long a stage took, its waiting included."""
        now = time.perf_counter()
        job.timings[stage] = now - job.marked
        job.marked = now

    def _reading(self, job: Job) -> Sequence[int]:
        """Return the prefix ids that the encoder was asked to cache."""
        if not self._cache or job.labels_only or job.prompt is None:
            return ()
        return job.prompt.ids[: self._classifier.encoder.ticket_end(job.prompt.ids)]

    def _drop_reading(self, job: Job) -> None:
        if self._cache and (reading := self._reading(job)):
            self._cache.drop(reading)


def caching_encoder(
    encoder: Encoder, generator: Generator | None, writer: Writer | None
) -> PrefixCachingEncoder | None:
    """Return the engine that caches the classifier's prefix for the generator, or None."""
    engine: object = encoder
    if generator is None or not generator.uses_classifier_prefix or engine is not writer:
        return None
    return engine if isinstance(engine, PrefixCachingEncoder) else None
