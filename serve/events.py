"""What happens to a job while it runs, for whoever watches it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

Event = tuple[str, dict[str, Any]]  # its name and data
LAST = ("done", "error")


@dataclass
class _Topic:
    past: list[Event] = field(default_factory=list)
    watchers: set[tuple[asyncio.AbstractEventLoop, "asyncio.Queue[Event]"]] = field(default_factory=set)


class EventHub:
    """Passes events of running jobs from the thread of the engines to the requests that watch them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._topics: dict[str, _Topic] = {}

    def begin(self, job_id: str) -> None:
        """Keep the events of a job from now on, for those who come late."""
        with self._lock:
            self._topics.setdefault(job_id, _Topic()).past.clear()

    def publish(self, job_id: str, name: str, **data: Any) -> None:
        """Tell everybody who watches the job; with `done` or `error` it is over."""
        event = (name, data)
        with self._lock:
            topic = self._topics.get(job_id)
            if topic is None:
                return
            topic.past.append(event)
            watchers = list(topic.watchers)
            if name in LAST:
                del self._topics[job_id]
        for loop, queue in watchers:
            with suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(queue.put_nowait, event)

    async def watch(self, job_id: str, seconds: float) -> AsyncIterator[Event]:
        """Yield the job's events from its beginning; ends after the last one, or after so many seconds without any.

        Nothing is yielded for a job that does not run here.
        """
        watcher = (asyncio.get_running_loop(), asyncio.Queue[Event]())
        with self._lock:
            topic = self._topics.get(job_id)
            if topic is None:
                return
            past = list(topic.past)
            topic.watchers.add(watcher)
        try:
            for event in past:
                yield event
            while True:
                event = await asyncio.wait_for(watcher[1].get(), seconds)
                yield event
                if event[0] in LAST:
                    return
        except TimeoutError:
            return
        finally:
            with self._lock:
                topic.watchers.discard(watcher)
