"""Imports run one way, and importing a package loads nothing."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS = {
    "configs": 0,
    "tickets": 0,
    "backbone": 1,
    "engines": 2,
    "classifier": 3,
    "generator": 3,
    "pipeline": 4,
    "eval": 5,
    "cli": 6,
}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_imports_run_leftwards() -> None:
    for package, level in LEVELS.items():
        for path in [ROOT / "cli.py"] if package == "cli" else (ROOT / package).rglob("*.py"):
            wrong = {n for n in imported(path) & set(LEVELS) - {package} if LEVELS[n] >= level and n != "configs"}
            assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_init_files_import_nothing() -> None:
    for package in LEVELS:
        for path in (ROOT / package).rglob("__init__.py"):
            assert not imported(path), path


def test_tickets_and_prompts_are_free_of_torch() -> None:
    modules = [f"tickets.{path.stem}" for path in (ROOT / "tickets").glob("*.py") if path.stem != "__init__"]
    modules += ["backbone.config", "backbone.prompts", "classifier.predict", "pipeline.model_folder", "cli"]
    code = f"import sys, {', '.join(modules)}; print({{'torch', 'transformers'}} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "set()"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*/*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_a_wall(path: Path) -> None:
    if path.parts[len(ROOT.parts)] in LEVELS:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
