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
from engines.protocols import LabelEngine, PrefixCachingEngine, Row, Writer
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
class Request:
    """One ticket to answer.

    Attributes:
        on_labels: called once, when the labels are known; if it or `on_token` raises, the request ends with that error.
        on_token: called with every id of the reply as it is generated.
        answer: the answer; set when the request ends without error.
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
    """Answers requests that are added at any time; all calls come from one thread.

    Requests are processed in the order in which they are added. Each step labels at most one group, then continues all
    replies. Neither waits for the other to finish.
    """

    def __init__(
        self,
        classifier: Classifier,
        label_engine: LabelEngine,
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
        self._classifier, self._label_engine = classifier, label_engine
        self._generator, self._writer = generator, writer
        self._cache = prefix_caching_engine(label_engine, generator, writer)
        self._compose, self._together, self._label_tokens = compose, together, label_tokens
        self._unlabelled: deque[Request] = deque()
        self._unwritten: deque[Request] = deque()  # labelled, waiting for a place
        self._writing: dict[Row, Request] = {}

    @property
    def has_work(self) -> bool:
        """Whether any request has not ended."""
        return bool(self._unlabelled or self._unwritten or self._writing)

    def add(self, request: Request) -> None:
        request.marked = time.perf_counter()
        self._unlabelled.append(request)

    def end(self, request: Request) -> None:
        """Give up a request, wherever it is."""
        if request in self._unlabelled:
            self._unlabelled.remove(request)
        elif request in self._unwritten:
            self._unwritten.remove(request)
            self._drop_prefix(request)
        elif request.row is not None and request.row in self._writing:
            assert self._writer
            del self._writing[request.row]
            self._writer.end(request.row)

    def clear(self) -> None:
        """Drop all requests, ignoring errors of the engines."""
        for request in [*self._writing.values(), *self._unwritten, *self._unlabelled]:
            with suppress(Exception):
                self.end(request)

    def step(self) -> list[Request]:
        """Do some work; return the requests that ended by it, with an answer or an error."""
        ended = self._label()
        ended += self._admit()
        if self._writing:
            ended += self._write()
        return ended

    def _label(self) -> list[Request]:
        """Label the oldest tickets; return the requests that are then finished."""
        group = self._label_group()
        if not group:
            return []
        for request, read in zip(group, self._read(group), strict=True):
            if isinstance(read, Exception):
                request.error = read
                continue
            request.labelled = read
            self._mark(request, "labels")
            self._after_labels(request, read)
        return [request for request in group if request.answer or request.error]

    def _read(self, group: Sequence[Request]) -> Sequence[Labelled | Exception]:
        """Return labels or an error per request; one failing ticket does not affect others."""
        prompts = [request.prompt for request in group if request.prompt]
        ids = [prompt.ids for prompt in prompts]
        try:
            if self._cache:
                lengths = [len(self._prefix(request)) for request in group]
                states = self._cache.encode_and_cache(ids, CLASSIFIER, lengths)
            else:
                states = self._label_engine.encode(ids, CLASSIFIER)
            predictions = self._classifier.predict(states)
        except Exception as error:
            return [error] if len(group) == 1 else [one for request in group for one in self._read([request])]
        return [Labelled(one, prompt.truncated) for one, prompt in zip(predictions, prompts, strict=True)]

    def _label_group(self) -> list[Request]:
        """Take the next label group from the queue and encode its prompts."""
        group: list[Request] = []
        tokens = 0
        while self._unlabelled and len(group) < _LABEL_TICKETS:
            request = self._unlabelled[0]
            request.prompt = request.prompt or self._classifier.prompts([request.ticket])[0]
            tokens += len(request.prompt.ids)
            if group and self._writing and self._label_tokens is not None and tokens > self._label_tokens:
                break
            group.append(self._unlabelled.popleft())
        return group

    def _after_labels(self, request: Request, labelled: Labelled) -> None:
        """Report the labels; queue the request if it needs a reply."""
        try:
            if request.on_labels:
                request.on_labels(labelled.prediction)
            if self._generator and not request.labels_only:
                request.reply_prompt = self._generator.prompts([request.ticket], [labelled.prediction.labels])[0]
                request.row = self._generator.row(request.reply_prompt, request.on_token)
        except Exception as error:
            request.error = error
        if request.error or request.row is None:
            self._drop_prefix(request)
            self._finish(request)
            return
        if request.row.prefix != self._prefix(request):  # long tickets are truncated differently for the reply
            self._drop_prefix(request)
        self._unwritten.append(request)

    def _finish(self, request: Request) -> None:
        """Make the answer of a request without an error."""
        assert request.labelled
        try:
            if request.error is None:
                request.answer = self._compose(request.ticket, request.labelled, self._reply(request), request.timings)
        except Exception as error:
            request.error = error

    def _reply(self, request: Request) -> Reply | None:
        """Return the request's reply; None for labels only."""
        if request.row is None:
            return None
        assert self._generator and request.reply_prompt
        return Reply(self._generator.text(request.row.written), request.reply_prompt.truncated, request.row.is_cut)

    def _admit(self) -> list[Request]:
        """Admit the next requests while there is room; return those that the writer refuses."""
        refused = []
        while self._unwritten and (self._together is None or len(self._writing) < self._together):
            request = self._unwritten[0]
            assert self._writer and request.row
            try:
                if not self._writer.admit(request.row):
                    break
                self._writing[request.row] = request
            except Exception as error:
                request.error = error
                self._drop_prefix(request)
                refused.append(request)
            self._unwritten.popleft()
        return refused

    def _write(self) -> list[Request]:
        """Go on with all replies; return the requests whose reply is complete, or failed."""
        ended = []
        for row in self._next_token():
            request = self._writing.pop(row, None)
            if request is None:
                continue  # it was given up while the writer was at it
            self._mark(request, "reply")
            request.error = row.error
            self._finish(request)
            ended.append(request)
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

    def _mark(self, request: Request, stage: str) -> None:
        """Note how long a stage took, its waiting included."""
        now = time.perf_counter()
        request.timings[stage] = now - request.marked
        request.marked = now

    def _prefix(self, request: Request) -> Sequence[int]:
        """Return the prefix ids that the engine was asked to cache."""
        if not self._cache or request.labels_only or request.prompt is None:
            return ()
        return request.prompt.ids[: self._classifier.encoder.ticket_end(request.prompt.ids)]

    def _drop_prefix(self, request: Request) -> None:
        if self._cache and (prefix := self._prefix(request)):
            self._cache.drop(prefix)


def prefix_caching_engine(
    label_engine: LabelEngine, generator: Generator | None, writer: Writer | None
) -> PrefixCachingEngine | None:
    """Return the engine that caches the classifier's prefix for the generator, or None."""
    engine: object = label_engine
    if generator is None or not generator.uses_classifier_prefix or engine is not writer:
        return None
    return engine if isinstance(engine, PrefixCachingEngine) else None
