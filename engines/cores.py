"""How many cores this process may use."""

import math
import os
import re
from pathlib import Path

from tickets.errors import InputError

THREADS = "DUET_THREADS"  # variable that says how many cores a process may take
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container (cgroup v2): quota and period in microseconds


def usable_cores() -> int:
    """Return cores of the affinity mask, where there is one, and at most the container's quota and DUET_THREADS.

    Raises:
        InputError: DUET_THREADS is no number of cores.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    if given := os.environ.get(THREADS):
        if not re.fullmatch(r"[1-9]\d{0,3}", given):
            raise InputError(f"{THREADS}: found {given[:100]!r}, expected a number of cores such as 2")
        cores = min(cores, int(given))
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or the quota is "max"
        return cores
