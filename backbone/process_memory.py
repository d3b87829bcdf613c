"""Memory of this process: its peak, and keeping freed blocks for the next training step."""

import ctypes
import os
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of glibc's mallopt
_LARGEST_MMAP_THRESHOLD = 1 << 25  # bytes; glibc refuses more
_NEVER = -1


def peak_resident() -> int:
    """Return the peak of physical memory of this process in bytes; on systems without a peak, what it holds now.

    Not from getrusage: what that says survives exec, so that a child starts with its parent's peak.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except OSError:  # not Linux
        import psutil

        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))  # the peak on Windows


def keep_freed_memory() -> None:
    """Let glibc keep freed memory of up to 32 MiB a block instead of returning it to the system.

    A training step on a CPU frees and asks for the same tensors again and again. Returned pages must be mapped and
    cleared each time. Whoever has set MALLOC_* in the environment decides; other C libraries are left alone.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
