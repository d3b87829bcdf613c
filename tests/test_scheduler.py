"""Rows, labels and tickets that come, go and fail in any order, on a context that computes nothing."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backbone.config import DecodingConfig
from engines.kv_allocator import ContextSizes
from engines.protocols import Row
from engines.writing import write_all
from pipeline.scheduler import Request, Scheduler
from pipeline.service import PendingAnswer, QueueFull, QueueLimits, Service, ServiceClosed
from tests.scripted import (
    READER,
    WRITER,
    expected,
    expected_reply,
    prompt_of,
    scripted_engine,
    scripted_system,
    state,
)
from tickets.errors import WorkError
from tickets.schema import Prediction, Ticket

SIZES = ContextSizes(max_rows=3, cells=90, max_cached_prefixes=2, label_cells=40)
LENGTHS = st.integers(1, 36)


def failing_at(count: int) -> Callable[[int], None]:
    """A listener that raises when it hears of so many ids."""
    heard = 0

    def listen(_token: int) -> None:
        nonlocal heard
        heard += 1
        if heard == count:
            raise ValueError("the listener is gone")

    return listen


class EngineMachine(RuleBasedStateMachine):
    """Rows are admitted, ended and failed, and prompts are read, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.engine, self.context = scripted_engine(SIZES)
        self.live: dict[Row, int] = {}  # steps since a row was admitted
        self.failing: set[Row] = set()
        self.number = 0
        self.free = len(self.engine._allocator._free)

    def prompt(self, length: int) -> list[int]:
        self.number += 1
        return prompt_of(self.number % 5, length)  # some come twice

    @rule(length=LENGTHS, limit=st.integers(1, 12), share=st.integers(0, 3), fails_at=st.integers(0, 6))
    def admit(self, length: int, limit: int, share: int, fails_at: int) -> None:
        prompt = self.prompt(length)
        handed_over = 0 if share == 0 or len(prompt) < 5 else len(prompt) - share
        listener = failing_at(fails_at) if fails_at else None
        options = DecodingConfig(max_new_tokens=limit)
        row = Row(prompt, WRITER, options, READER if handed_over else "", handed_over, listener)
        if self.engine.admit(row):
            self.live[row] = 0
            if 0 < fails_at <= len(expected(row)):
                self.failing.add(row)
        else:
            assert self.live, "an empty engine has room"

    @rule(lengths=st.lists(LENGTHS, min_size=1, max_size=9), keep=st.booleans())
    def read(self, lengths: list[int], keep: bool) -> None:
        """Labels find room at any time."""
        prompts = [self.prompt(length) for length in lengths]
        kept = [max(0, len(one) - 2) if keep else 0 for one in prompts]
        states = self.engine.encode_and_cache(prompts, READER, kept)
        alone = [state([(token, READER) for token in one]) for one in prompts]
        assert np.array_equal(states, np.array(alone, dtype=np.float32))

    @rule()
    def step(self) -> None:
        for row in self.live:
            self.live[row] += 1
        for row in self.engine.step():
            del self.live[row]  # it was in flight, and ends once
            if row in self.failing:
                assert isinstance(row.error, ValueError)
                assert row.written == expected(row)[: len(row.written)]
            else:
                assert row.error is None and row.written == expected(row)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(list(self.live)))
        del self.live[row]
        self.engine.end(row)
        self.engine.end(row)  # again means nothing

    @precondition(lambda self: self.live)
    @rule()
    def fail(self) -> None:
        """A decode call that fails ends the rows in it, and no others."""
        self.context.failing = True
        ended = self.engine.step()
        self.context.failing = False
        assert ended and all(isinstance(row.error, WorkError) for row in ended)
        for row in ended:
            del self.live[row]

    @rule(length=LENGTHS)
    def drop(self, length: int) -> None:
        prompt = self.prompt(length)
        self.engine.drop(prompt[:-2])

    @invariant()
    def nobody_starves(self) -> None:
        # three prompts of at most 38 ids in calls of 32, and twelve tokens, the others' prefill between them
        assert all(steps < 40 + 6 * self.number for steps in self.live.values())

    def teardown(self) -> None:
        for _ in range(100):
            self.step()
        assert not self.live
        assert len(self.engine._allocator._free) + self.engine.cached_prefixes == self.free


EngineMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestEngine = EngineMachine.TestCase


def test_a_ticket_is_read_once_where_its_prefix_is_cached() -> None:
    engine, context = scripted_engine(SIZES)
    prompt = prompt_of(1, 20)
    engine.encode_and_cache([prompt], READER, [20])
    assert engine.cached_prefixes == 1
    context.calls.clear()
    row = Row(prompt, WRITER, DecodingConfig(max_new_tokens=1), READER, 20)
    assert engine.admit(row) and engine.step() == [row]
    assert context.calls == [(WRITER, 2)] and engine.cached_prefixes == 0


def test_cached_prefixes_give_way_to_rows_the_latest_first() -> None:
    engine, _ = scripted_engine(SIZES)
    prompts = [prompt_of(number, 20) for number in range(4)]
    engine.encode_and_cache(prompts, READER, [20] * 4)
    assert engine.cached_prefixes == 4
    rows = [Row(prompt_of(9 + i, 12), WRITER, DecodingConfig(max_new_tokens=4)) for i in range(2)]
    assert all(engine.admit(row) for row in rows)
    assert engine.cached_prefixes == 3
    assert [tuple(one[:20]) for one in prompts[:3]] == list(engine._allocator._cached)


def test_what_never_fits_is_refused() -> None:
    engine, _ = scripted_engine(SIZES)
    with pytest.raises(WorkError, match="needs 103 tokens of context, expected at most 90"):
        engine.admit(Row(prompt_of(1, 81), WRITER, DecodingConfig(max_new_tokens=20)))
    with pytest.raises(WorkError, match="a prompt needs 200 tokens of context, expected at most 130"):
        engine.encode([prompt_of(1, 200)], READER)
    assert engine.encode([prompt_of(1, 5)], READER).shape == (1, 2)


def test_a_closed_list_is_written_in_order() -> None:
    engine, _ = scripted_engine(SIZES)
    prompts = [prompt_of(number, number % 30 + 3) for number in range(40)]
    done: list[int] = []
    written = write_all(
        engine, prompts, WRITER, DecodingConfig(max_new_tokens=8), on_done=lambda i, _ids: done.append(i)
    )
    assert written == [expected(Row(prompt, WRITER, DecodingConfig(max_new_tokens=8))) for prompt in prompts]
    assert sorted(done) == list(range(40))


PROGRAM = st.lists(
    st.one_of(
        st.tuples(st.just("add"), LENGTHS, st.sampled_from(["reply", "labels", "labels fail", "token fails"])),
        st.tuples(st.just("end"), st.integers(0, 99), st.just("")),
        st.tuples(st.just("step"), st.integers(1, 8), st.just("")),
    ),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(program=PROGRAM, hand_over=st.booleans(), together=st.sampled_from([None, 1, 2]))
def test_no_ticket_is_lost_doubled_or_starved(
    program: list[tuple[str, int, str]], hand_over: bool, together: int | None
) -> None:
    system, context, stages = scripted_system(SIZES, hand_over)
    scheduler = system.scheduler(together, label_tokens=40)
    open_requests: dict[Request, str] = {}
    labels_told: list[Request] = []
    begun: list[Request] = []  # in the order in which their first token came

    def step() -> None:
        calls = len(context.calls)
        unlabelled = len(scheduler._unlabelled)
        for request in scheduler.step():
            kind = open_requests.pop(request)  # it was open, and ends once
            if kind == "labels fail" or (kind == "token fails" and expected_reply(stages, request.ticket)):
                assert isinstance(request.error, ValueError) and request.answer is None
            else:
                assert request.error is None and request.answer
                reply = None if kind == "labels" else expected_reply(stages, request.ticket)
                assert request.answer.reply == reply
        assert len(scheduler._unlabelled) < unlabelled or not unlabelled  # each step reads some, before it writes
        writing = [adapter for adapter, tokens in context.calls[calls:] if adapter == WRITER]
        assert len(writing) <= 2  # one decode step, and once the prefix of the adapter

    def add(length: int, kind: str) -> None:
        request = Request(
            Ticket(str(len(labels_told) + len(open_requests)), "", str(length)), labels_only=kind == "labels"
        )

        def on_labels(prediction: Prediction) -> None:
            assert int(prediction.labels["length"]) == len(stages.prompts([request.ticket])[0].ids)
            labels_told.append(request)
            if kind == "labels fail":
                raise ValueError("the listener is gone")

        def on_token(_token: int) -> None:
            if request not in begun:
                begun.append(request)
            if kind == "token fails":
                raise ValueError("the listener is gone")

        request.on_labels, request.on_token = on_labels, on_token
        open_requests[request] = kind
        scheduler.add(request)

    for action, number, kind in program:
        if action == "add":
            add(number, kind)
        elif action == "end" and open_requests:
            request = list(open_requests)[number % len(open_requests)]
            del open_requests[request]
            scheduler.end(request)
            scheduler.end(request)
        elif action == "step":
            for _ in range(number):
                step()
    for _ in range(60 * len(program)):
        if not open_requests:
            break
        step()
    assert not open_requests and not scheduler.has_work
    assert len(set(labels_told)) == len(labels_told)
    assert system.label_engine.cached_prefixes == 0, "a prefix that nobody needs is kept"
    assert len(system.label_engine._allocator._free) == SIZES.sequences


def test_replies_begin_in_the_order_of_the_tickets() -> None:
    """A long ticket at the head of the queue is not overtaken for ever by short ones."""
    system, _, _ = scripted_system(SIZES)
    scheduler = system.scheduler()
    requests = [Request(Ticket(str(i), "", "36" if i == 3 else "2")) for i in range(20)]
    for request in requests:
        scheduler.add(request)
    taken: list[Request] = []
    while scheduler.has_work:
        scheduler.step()
        taken += [request for request in scheduler._writing.values() if request not in taken]
    assert [int(request.ticket.id) for request in taken] == sorted(int(request.ticket.id) for request in taken)


@pytest.mark.parametrize("hand_over", [False, True])
def test_labels_wait_for_one_decode_step(hand_over: bool) -> None:
    """All rows write long replies; the labels of a new ticket come within the next step."""
    system, context, _ = scripted_system(SIZES, hand_over, limit=30)
    scheduler = system.scheduler()
    for i in range(4):
        scheduler.add(Request(Ticket(str(i), "", "5")))
    for _ in range(4):
        scheduler.step()
    assert scheduler._writing
    heard: list[Prediction] = []
    scheduler.add(Request(Ticket("50", "", "20"), on_labels=heard.append))
    context.calls.clear()
    scheduler.step()
    assert heard and context.calls[0][0] == READER  # before any reply goes on


def test_a_ticket_that_cannot_be_read_fails_alone() -> None:
    system, _, _ = scripted_system(SIZES)
    system.classifier._room = 1000
    requests = [Request(Ticket("1", "", "5")), Request(Ticket("2", "", "500")), Request(Ticket("3", "", "6"))]
    scheduler = system.scheduler()
    for request in requests:
        scheduler.add(request)
    while scheduler.has_work:
        scheduler.step()
    assert [request.error is None for request in requests] == [True, False, True]
    assert "a prompt needs" in str(requests[1].error)


def test_a_writer_that_fails_ends_what_is_being_written_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    system, _, stages = scripted_system(SIZES, limit=30)
    scheduler = system.scheduler(together=2)
    requests = [Request(Ticket(str(i), "", "5")) for i in (2, 3, 4, 5)]  # with replies of several ids
    for request in requests:
        scheduler.add(request)
    scheduler.step()
    with monkeypatch.context() as patch:
        patch.setattr(type(system.writer), "step", lambda _self: (_ for _ in ()).throw(MemoryError("short")))
        failed = set(scheduler.step())
    assert 0 < len(failed) <= 2 and all(isinstance(request.error, MemoryError) for request in failed)
    while scheduler.has_work:
        scheduler.step()
    assert any(request.answer for request in requests)
    for request in set(requests) - failed:
        assert request.answer and request.answer.reply == expected_reply(stages, request.ticket)


@pytest.mark.parametrize("failing", ["prompts", "row", "text"])
def test_a_reply_that_cannot_be_made_fails_alone(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    system, _, stages = scripted_system(SIZES)
    work, calls = getattr(stages, failing), 0

    def fail_once(*arguments: Any) -> Any:
        nonlocal calls
        calls += failing != "prompts" or len(arguments) == 2  # those of replies have labels
        if calls == 2:
            calls += 1
            raise ValueError("no reply")
        return work(*arguments)

    scheduler = system.scheduler()
    requests = [Request(Ticket(str(i), "", "5")) for i in range(4)]
    for request in requests:
        scheduler.add(request)
    monkeypatch.setattr(stages, failing, fail_once)
    while scheduler.has_work:
        scheduler.step()
    monkeypatch.undo()
    assert sorted(str(request.error) for request in requests) == ["None", "None", "None", "no reply"]
    assert all(request.answer.reply == expected_reply(stages, request.ticket) for request in requests if request.answer)
    assert system.label_engine.cached_prefixes == 0


def tickets(count: int, length: int = 6) -> list[Ticket]:
    return [Ticket(str(i), "", str(length + i % 5)) for i in range(count)]


def test_a_service_answers_from_many_threads() -> None:
    system, _, stages = scripted_system(SIZES)
    service = Service(system, together=2)
    found: dict[str, Any] = {}

    def client(part: list[Ticket]) -> None:
        for ticket in part:
            pieces: list[str] = []
            labels: list[Prediction] = []
            pending = service.submit(ticket, on_labels=labels.append, on_token=pieces.append)
            assert pending.ticket is ticket
            found[ticket.id] = (pending.result(30).reply, "".join(pieces), len(labels))

    threads = [threading.Thread(target=client, args=(tickets(60)[i::6],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert service.close(1) == []
    for ticket in tickets(60):
        reply = expected_reply(stages, ticket)
        assert found[ticket.id] == (reply, reply, 1)
    assert service.rate > 0 and (service.waiting, service.waiting_tokens) == (0, 0)
    with pytest.raises(ServiceClosed, match="takes no more tickets"):
        service.submit(tickets(1)[0])


class Held:
    """A service whose engine waits, in the labels of its first ticket, until it is let go."""

    def __init__(self, limits: QueueLimits | None = None) -> None:
        self.system, _, self.stages = scripted_system(SIZES, limit=30)
        self.go, self.is_held = threading.Event(), threading.Event()
        self.service = Service(self.system, waiting=limits)
        self.first = self.service.submit(tickets(1)[0], labels_only=True, on_labels=self._hold)
        assert self.is_held.wait(30)

    def _hold(self, _prediction: Prediction) -> None:
        self.is_held.set()
        self.go.wait(30)


def test_a_full_service_says_when_to_come_again() -> None:
    held = Held(QueueLimits(tickets=3, tokens=40))
    held.service.submit(Ticket("1", "", "20"))
    with pytest.raises(QueueFull) as full:  # tokens
        held.service.submit(Ticket("2", "", "20"))
    assert full.value.retry_after >= 1
    held.service.submit(Ticket("2", "", "2"))
    with pytest.raises(QueueFull, match="too many tickets are waiting"):
        held.service.submit(Ticket("3", "", "2"))
    assert held.service.waiting == 3
    held.go.set()
    assert held.service.close(30) == []
    assert held.first.result().reply is None


def test_cancelled_tickets_end_wherever_they_are() -> None:
    held = Held()
    pendings = [held.service.submit(ticket) for ticket in tickets(12)]
    assert all(pending.cancel() for pending in pendings[::2])
    assert held.service.waiting == 7
    held.go.set()
    wait(pendings, 30)
    for i, pending in enumerate(pendings):
        assert pending.cancelled() == (i % 2 == 0)
        if i % 2:
            assert pending.result().reply == expected_reply(held.stages, pending.ticket)
    assert held.service.close(30) == []


def test_a_ticket_can_be_cancelled_while_its_reply_is_written() -> None:
    system, _, stages = scripted_system(SIZES, limit=30)
    service = Service(system)
    long = next(one for one in tickets(200) if len(expected_reply(stages, one).split()) >= 4)
    pieces: list[str] = []
    pending: list[PendingAnswer] = []
    ready = threading.Event()

    def cancel(text: str) -> None:
        ready.wait(30)
        pieces.append(text)
        pending[0].cancel()

    pending.append(service.submit(long, on_token=cancel))
    ready.set()
    with pytest.raises(CancelledError):
        pending[0].result(30)
    assert service.submit(long).result(30).reply == expected_reply(stages, long)
    service.close(30)
    assert len(pieces) == 1


@pytest.mark.parametrize("at", ["labels", "token"])
def test_a_callback_that_raises_fails_its_own_ticket(at: str) -> None:
    def broken(_heard: Any) -> None:
        raise RuntimeError("client gone")

    system, _, stages = scripted_system(SIZES)
    service = Service(system)
    asked = [one for one in tickets(20) if expected_reply(stages, one)]
    pendings = [service.submit(one, **({f"on_{at}": broken} if i % 3 == 0 else {})) for i, one in enumerate(asked)]
    for i, pending in enumerate(pendings):
        if i % 3 == 0:
            with pytest.raises(RuntimeError, match="client gone"):
                pending.result(30)
        else:
            assert pending.result(30).reply == expected_reply(stages, pending.ticket)
    service.close(30)


def test_closing_returns_what_was_not_answered() -> None:
    held = Held()
    pendings = [held.service.submit(ticket) for ticket in tickets(5)]
    threading.Timer(0.3, held.go.set).start()
    left = held.service.close(0)
    assert [ticket.id for ticket in left] == ["0", *(ticket.id for ticket in tickets(5))]
    assert all(pending.cancelled() for pending in pendings)


def test_a_fault_of_ours_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    system, _, stages = scripted_system(SIZES)
    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "step", lambda _self: 1 / 0)
        service = Service(system)
        with pytest.raises(ZeroDivisionError):
            service.submit(tickets(1)[0]).result(30)
    assert service.submit(tickets(1)[0]).result(30).reply == expected_reply(stages, tickets(1)[0])
    service.close(30)


def failing_end(owner: Any) -> Callable[[Any, Any], None]:
    """The `end` of an engine or a scheduler, which does its work and raises all the same."""
    end = owner.end

    def end_and_fail(self: Any, what: Any) -> None:
        end(self, what)
        raise MemoryError("short")

    return end_and_fail


def test_an_engine_that_fails_at_a_cancelled_ticket_answers_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scheduler, "end", failing_end(Scheduler))
    held = Held()
    gone, kept = (held.service.submit(ticket) for ticket in tickets(2))
    gone.cancel()
    held.go.set()
    assert kept.result(30).reply == expected_reply(held.stages, kept.ticket)
    held.service.close(30)


@pytest.mark.parametrize("step", ["_admit", "_write"])
def test_a_fault_amid_a_step_is_told_to_every_ticket(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step has taken from the queues is told too; an engine that fails at the end of a reply stops nothing."""
    held = Held()
    pendings = [held.service.submit(ticket) for ticket in tickets(4)]
    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, step, lambda _self: 1 / 0)
        patch.setattr(type(held.system.writer), "end", failing_end(type(held.system.writer)))
        held.go.set()
        assert held.first.result(30).reply is None  # it had its answer
        for pending in pendings:
            with pytest.raises(ZeroDivisionError):
                pending.result(30)
    assert held.service.submit(tickets(1)[0]).result(30).reply == expected_reply(held.stages, tickets(1)[0])
    held.service.close(30)


def test_an_idle_service_computes_nothing() -> None:
    system, context, _ = scripted_system(SIZES)
    service = Service(system)
    service.submit(tickets(1)[0]).result(30)
    calls = len(context.calls)
    time.sleep(0.05)
    assert len(context.calls) == calls
    service.close(1)
    assert not service._thread.is_alive()
