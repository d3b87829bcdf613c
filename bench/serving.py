"""`duet serve` with 64 clients on one machine, at half the rate of labels that it reaches alone.

    PYTHONPATH=. python bench/serving.py --model bundle --seconds 600

Before: how long labels take with one client, and how many a second eight clients get. Then 64 clients store tickets at
random moments, together half of that rate; one ticket in ten asks for a reply too. Printed are the times of labels,
the share of requests that were refused, and from the database how many tickets were lost or answered twice. Clients
and server share the machine.
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import httpx2

from backbone.dataset import load_part, resolve_data
from bench.served import Served, answers_by_ticket
from tickets.schema import Ticket

Store = Callable[[Ticket, bool], Awaitable[tuple[int, float]]]  # a ticket, labels alone: status and seconds
CLIENTS, WITH_REPLY = 64, 10
_ALONE, _ALONE_SECONDS, _AT_ONCE = 100, 20, 8


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini", help="bundle, run or name of a shipped model")
    parser.add_argument("--seconds", type=float, default=600)
    arguments = parser.parse_args()
    tickets = load_part(resolve_data("sample"), "test")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'duet.db'}"
        server = Served(url, "--model", arguments.model)
        try:
            measured = asyncio.run(_measure(server, tickets, arguments.seconds))
            server.wait_until_idle()
        finally:
            server.stop()
        states = Counter(answers_by_ticket(url).values())
    stored = states.total()
    print(
        json.dumps({**measured, "tickets stored": stored, "with one answer and no open job": states[(1, 0)]}, indent=1)
    )


async def _measure(server: Served, tickets: Sequence[Ticket], seconds: float) -> dict[str, float]:
    names = itertools.count()
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(headers=server.headers, timeout=600, limits=limits) as client:

        async def store(ticket: Ticket, labels_only: bool) -> tuple[int, float]:
            body = {"external_id": str(next(names)), "subject": ticket.subject, "body": ticket.body}
            began = time.perf_counter()
            path = f"{server.address}/v1/tickets?wait=60"
            response = await client.post(path, json={**body, "labels_only": labels_only})
            return response.status_code, time.perf_counter() - began

        alone = [(await store(ticket, True))[1] for ticket in tickets[:_ALONE]]
        rate = await _rate(store, itertools.cycle(tickets))
        times: list[float] = []
        statuses: Counter[int] = Counter()
        end = time.monotonic() + seconds

        async def visitor(number: int) -> None:
            draw = random.Random(number)
            while True:
                await asyncio.sleep(draw.expovariate(rate / 2 / CLIENTS))
                if time.monotonic() > end:
                    return
                labels_only = draw.randrange(WITH_REPLY) > 0
                status, took = await store(draw.choice(tickets), labels_only)
                statuses[status] += 1
                if labels_only and status == 200:
                    times.append(took)

        await asyncio.gather(*map(visitor, range(CLIENTS)))
    asked = statuses.total()
    return {
        "labels alone, s, median": round(statistics.median(alone), 3),
        "labels alone, s, p95": round(_p95(alone), 3),
        "labels a second, 8 clients": round(rate, 1),
        "requests": asked,
        "requests a second": round(asked / seconds, 1),
        "refused with 503": round(statuses[503] / asked, 4),
        "other statuses": asked - statuses[200] - statuses[202] - statuses[503],
        "labels under load, s, median": round(statistics.median(times), 3),
        "labels under load, s, p95": round(_p95(times), 3),
        "p95 under load / alone": round(_p95(times) / _p95(alone), 2),
    }


async def _rate(store: Store, tickets: Iterator[Ticket]) -> float:
    """Return labels a second with a few clients that never pause."""
    end, done = time.monotonic() + _ALONE_SECONDS, 0

    async def hurry() -> None:
        nonlocal done
        while time.monotonic() < end:
            await store(next(tickets), True)
            done += 1

    await asyncio.gather(*(hurry() for _ in range(_AT_ONCE)))
    return done / _ALONE_SECONDS


def _p95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


if __name__ == "__main__":
    main()
