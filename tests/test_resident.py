"""Memory of a process: its own peak, and freed blocks that stay with it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
_CHURN = """
import ctypes, resource, sys
from backbone.process_memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    blocks = [ctypes.create_string_buffer(8 << 20) for _ in range(20)]
step(); step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_PEAK = "from backbone.process_memory import peak_resident; print(peak_resident())"


def _said(code: str, *words: str, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, env={"PATH": "", **environment}, check=True, capture_output=True
    )
    return int(done.stdout)


def test_the_peak_is_not_that_of_the_parent() -> None:
    held = bytearray(b"x") * (200 << 20)  # touched, so that it is resident
    assert _said(_PEAK) < 150 << 20 < len(held)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_freed_blocks_are_not_mapped_again() -> None:
    mapped_again = 3 * 20 * (8 << 20) // 4096
    assert _said(_CHURN, "keep") < mapped_again // 20
    assert _said(_CHURN, "keep", MALLOC_TRIM_THRESHOLD_="131072") > mapped_again // 2  # the environment decides
