"""Nothing that a module imports at its top rules out an operating system."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PACKAGES = ("tickets", "backbone", "engines", "classifier", "generator", "pipeline", "eval", "commands")
# what Python does not have on Windows
BLOCKED = ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty")
FORK_ONLY = {"backbone.training.workers"}  # imported where forked workers are used, and nowhere else
# these need packages of an extra
EXTRAS = {
    "engines.server": "openai",
    "engines.http_limits": "httpx2",
    "engines.llama": "llama_cpp",
    "engines.llama_blocks": "llama_cpp",
    "engines.llama_context": "llama_cpp",
    "engines.llama_model": "llama_cpp",
}


def test_every_module_can_be_imported_without_posix() -> None:
    modules = ["cli"]
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            modules.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    wanted = [name for name in modules if name not in FORK_ONLY and name not in EXTRAS]
    code = f"""
import importlib, importlib.abc, os, signal, sys
import bitsandbytes, datasets, filelock, peft, sacrebleu, subprocess, torch, tqdm, transformers.trainer, typer
for name in ("sched_getaffinity", "fork", "killpg", "getloadavg"):
    if hasattr(os, name): delattr(os, name)
for name in ("SIGKILL", "SIGHUP", "SIGALRM", "pthread_sigmask"):
    if hasattr(signal, name): delattr(signal, name)
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {BLOCKED!r}: raise ImportError(f"{{name}} is not there on Windows")
for name in {BLOCKED!r}: sys.modules.pop(name, None)
sys.meta_path.insert(0, Block())
for name in {wanted!r}: importlib.import_module(name)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
