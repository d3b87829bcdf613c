"""Answers to tickets that arrive one by one; one thread owns the engines."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from generator.reply import GrowingReply
from pipeline.scheduler import Request
from pipeline.two_stage import TwoStage
from tickets.errors import WorkError
from tickets.schema import Answer, Prediction, Ticket

if TYPE_CHECKING:
    from tickets.redact.drafts import DraftGuard

_MEASURED = 64  # answers over which the rate is taken
_FIRST_RETRY = 5.0  # seconds, before any rate is known


@dataclass(frozen=True)
class QueueLimits:
    """How much may wait: tickets without an answer, and the tokens of their prompts."""

    tickets: int = 256
    tokens: int = 131_072


class QueueFull(WorkError):
    """No more tickets may wait. `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"too many tickets are waiting; expected room in {retry_after:.0f} s")
        self.retry_after = retry_after


class ServiceClosed(WorkError):
    """The service takes no more tickets."""

    def __init__(self) -> None:
        super().__init__("the service is stopping and takes no more tickets")


class PendingAnswer(Future[Answer]):
    """An answer to come. `cancel` ends the ticket also when its reply is already being written.

    `running` stays false until the answer is complete, so that a ticket can be cancelled until then.
    """

    def __init__(self, ticket: Ticket, tokens: int) -> None:
        """Take the number of tokens in the ticket's prompt."""
        super().__init__()
        self.ticket, self.tokens = ticket, tokens


@dataclass(frozen=True, eq=False)
class _Submission:
    """A request and whom to tell of it."""

    request: Request
    pending: PendingAnswer
    stream: "_ReplyStream | None"  # None where nobody listens


class Service:
    """Answers tickets in the order in which they come; all methods may be called from any thread."""

    def __init__(self, system: TwoStage, together: int = 16, waiting: QueueLimits | None = None) -> None:
        """Start the thread; the system's engines are its own from now on.

        Args:
            together: most replies that are written at a time; the engine may take fewer.
            waiting: beyond which `submit` refuses.
        """
        self._system, self._limits = system, waiting or QueueLimits()
        self._scheduler = system.scheduler(together)
        self._changed = threading.Condition()
        self._open: dict[Request, PendingAnswer] = {}  # without an answer, in the order in which they came
        self._tokens = 0  # of those
        self._arrived: deque[_Submission] = deque()  # not seen by the thread yet
        self._cancelled: deque[Request] = deque()  # likewise
        self._closing = self._stopping = False
        self._submissions: dict[Request, _Submission] = {}  # the thread's own
        self._busy = 0.0  # seconds of work
        self._busy_at_answer: deque[float] = deque(maxlen=_MEASURED)  # `_busy` at each of the last answers
        self._thread = threading.Thread(target=self._run, name="engines", daemon=True)
        self._thread.start()

    def submit(
        self,
        ticket: Ticket,
        *,
        labels_only: bool = False,
        on_labels: Callable[[Prediction], None] | None = None,
        on_token: Callable[[str], None] | None = None,
    ) -> PendingAnswer:
        """Queue a ticket; its answer comes as the result of what is returned.

        The callbacks run in the thread of the engines, so they have to return at once. One that raises ends its own
        ticket with that error.

        Args:
            on_labels: called once, when the labels are known.
            on_token: called with every piece of the reply as it is written; joined, they are the reply. A number at the
                end is held back until it is complete, since it may have to be masked.

        Raises:
            QueueFull: too many tickets, or tokens, wait already.
            ServiceClosed: `close` was called.
        """
        prompt = self._system.classifier.prompts([ticket])[0]
        generator = self._system.generator
        request = Request(ticket, labels_only, on_labels, prompt=prompt)
        stream = None
        if generator and on_token:
            stream = _ReplyStream(GrowingReply(generator.encoder), on_token, ticket.text, self._system.guard)
            request.on_token = stream.add
        pending = PendingAnswer(ticket, len(prompt.ids))
        with self._changed:
            if self._closing:
                raise ServiceClosed
            is_over = self._tokens + pending.tokens > self._limits.tokens and self._open
            if is_over or len(self._open) >= self._limits.tickets:
                raise QueueFull(self._retry_after())
            self._open[request] = pending
            self._tokens += pending.tokens
            self._arrived.append(_Submission(request, pending, stream))
            self._changed.notify_all()
        pending.add_done_callback(partial(self._settled, request))
        return pending

    def close(self, drain_seconds: float) -> list[Ticket]:
        """Take no more tickets, go on answering for so many seconds, then stop; return those without an answer."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not self._open, drain_seconds)
            left = list(self._open.values())
        for pending in left:
            pending.cancel()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        return [pending.ticket for pending in left if pending.cancelled()]

    @property
    def waiting(self) -> int:
        """Tickets without an answer."""
        return len(self._open)

    @property
    def waiting_tokens(self) -> int:
        """Tokens in the prompts of the tickets without an answer."""
        return self._tokens

    @property
    def rate(self) -> float:
        """Answers per second of busy time, over the last ones; 0 until two tickets are answered."""
        with self._changed:
            seconds = self._busy_at_answer[-1] - self._busy_at_answer[0] if self._busy_at_answer else 0.0
            return (len(self._busy_at_answer) - 1) / seconds if seconds else 0.0

    def _retry_after(self) -> float:
        """Return the seconds until half of what waits is answered."""
        rate = self.rate
        return max(1.0, len(self._open) / 2 / rate) if rate else _FIRST_RETRY

    def _settled(self, request: Request, pending: Future[Answer]) -> None:
        """Hear that a ticket has its answer, or was cancelled."""
        with self._changed:
            self._tokens -= self._open.pop(request).tokens
            if pending.cancelled():
                request.stop()
                self._cancelled.append(request)
            self._changed.notify_all()

    def _run(self) -> None:
        """Work until `close`; nothing else touches the scheduler and the engines."""
        while self._take():
            start = time.perf_counter()
            try:
                ended = self._scheduler.step()
            except Exception as error:  # a fault of ours: nobody shall wait for ever
                self._scheduler.clear()
                ended = list(self._submissions)  # requests too that were in the scheduler when it failed
                for request in ended:
                    if request.answer is None:
                        request.error = request.error or error
            self._busy += time.perf_counter() - start
            for request in ended:
                self._tell(self._submissions.pop(request))

    def _take(self) -> bool:
        """Wait for something to do, and hear what has come and what was cancelled; False at the end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._arrived or self._cancelled or self._stopping or self._scheduler.has_work
            )
            for submission in self._arrived:
                self._submissions[submission.request] = submission
                self._scheduler.add(submission.request)
            self._arrived.clear()
            cancelled = [self._submissions.pop(request) for request in self._cancelled if request in self._submissions]
            self._cancelled.clear()
            stopping = self._stopping
        for submission in cancelled:
            with suppress(Exception):  # an engine that fails here fails in its next step too, which tells of it
                self._scheduler.end(submission.request)
            submission.pending.set_running_or_notify_cancel()
        return not stopping

    def _tell(self, submission: _Submission) -> None:
        """Give a request's answer or error to whoever waits for it."""
        request, pending = submission.request, submission.pending
        try:
            if request.answer and submission.stream:
                submission.stream.finish(request.answer.reply or "")
        except Exception as error:
            request.error = error
        if not pending.set_running_or_notify_cancel():
            return
        if request.error or request.answer is None:
            pending.set_exception(request.error)
            return
        with self._changed:
            self._busy_at_answer.append(self._busy)
        pending.set_result(request.answer)


class _ReplyStream:
    """Tells a growing reply piece by piece, masked as the finished one is."""

    def __init__(
        self, reply: GrowingReply, on_text: Callable[[str], None], ticket: str, guard: "DraftGuard | None"
    ) -> None:
        self._reply, self._on_text, self._ticket, self._guard = reply, on_text, ticket, guard
        self._written = self._sent = ""

    def add(self, token: int) -> None:
        """Tell what is certain after another token."""
        self._written += self._reply.add(token)
        certain = self._guard.mask_unfinished(self._written, self._ticket) if self._guard else self._written
        self._tell_up_to(certain)

    def finish(self, reply: str) -> None:
        """Tell the rest of the finished reply."""
        self._tell_up_to(reply)

    def _tell_up_to(self, text: str) -> None:
        rest = text[len(self._sent) :]
        if rest:
            self._sent = text
            self._on_text(rest)
