"""`duet serve` in a process of its own, to be killed and overrun."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from store.database import open_database

ROOT = Path(__file__).parent.parent


class Served:
    """A server on a database; the token is this start's."""

    def __init__(self, url: str, *options: str) -> None:
        command = [sys.executable, "cli.py", "serve", "--db", url, "--listen", "127.0.0.1:0", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        page, token, *_ = (self.process.stdout.readline() for _ in range(3))
        self.address, self.token = page.split()[-1].rstrip("/"), token.split()[1]
        self.headers = {"Authorization": f"Bearer {self.token}"}

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout: float = 120) -> int:
        """End it as a service manager does; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=timeout)

    def waiting(self) -> int:
        """Return how many jobs wait or run, by its metrics."""
        text = httpx2.get(f"{self.address}/metrics", headers=self.headers, timeout=60).text
        return round(
            next(float(line.split()[1]) for line in text.splitlines() if line.startswith("duet_waiting_jobs "))
        )

    def wait_until_idle(self, seconds: float = 600) -> None:
        """Return when nothing waits any more."""
        end = time.monotonic() + seconds
        while self.waiting():
            assert time.monotonic() < end, "jobs are stuck"
            time.sleep(0.5)


def answers_by_ticket(url: str) -> dict[str, tuple[int, int]]:
    """Return by name of the ticket: how many current answers it has, and how many of its jobs are not done."""
    database = open_database(url)
    with database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT t.external_id, COUNT(DISTINCT p.id), "
            "SUM(CASE WHEN j.state = 'done' THEN 0 ELSE 1 END) FROM tickets t "
            "LEFT JOIN predictions p ON p.id = t.prediction_id LEFT JOIN jobs j ON j.ticket_id = t.id GROUP BY t.id"
        ).fetchall()
    database.close()
    by_ticket = {str(name): (int(answers), int(open_jobs or 0)) for name, answers, open_jobs in rows}
    assert len(by_ticket) == len(rows), "a ticket was stored twice"
    return by_ticket
