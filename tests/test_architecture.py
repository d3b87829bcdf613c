"""Imports run one way, between packages and inside `backbone/`; no cycle; importing a package loads nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS = {
    "configs": 0,
    "tickets": 1,
    "tickets.encodings": 2,
    "tickets.cleaning": 2,
    "tickets.conversations": 2,
    "tickets.splitting": 2,
    "tickets.columns": 3,
    "tickets.redact": 4,
    "tickets.formats": 4,
    "tickets.preparation": 5,
    "tickets.sample": 6,
    "store": 7,
    "backbone.runs": 7,
    "backbone": 8,
    "backbone.layers": 9,
    "backbone.training": 10,
    "engines": 10,
    "classifier": 11,
    "generator": 11,
    "memory": 11,
    "pipeline": 12,
    "eval": 13,
    "serve": 14,
    "commands": 15,
    "cli": 16,
    "bench": 17,
    "scripts": 18,
}
PACKAGES = (
    "configs",
    "tickets",
    "store",
    "backbone",
    "engines",
    "classifier",
    "generator",
    "memory",
    "pipeline",
    "eval",
    "serve",
    "commands",
)
MOST_LINES = 300


def sources() -> list[Path]:
    found = [path for name in (*PACKAGES, "scripts", "bench") for path in (ROOT / name).rglob("*.py")]
    return sorted([*found, ROOT / "cli.py"])


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sources()}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of this project that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield from (n for n in [name if name in MODULES else node.module] if n in MODULES)


def level(module: str) -> int:
    """Return the level of the room a module is in: its longest prefix in LEVELS."""
    parts = module.split(".")
    return next(LEVELS[p] for n in range(len(parts), 0, -1) if (p := ".".join(parts[:n])) in LEVELS)


def room(module: str) -> str:
    parts = module.split(".")
    return next(p for n in range(len(parts), 0, -1) if (p := ".".join(parts[:n])) in LEVELS)


GRAPH = {module: sorted(set(imports(path)) - {module}) for module, path in MODULES.items()}


def test_imports_run_one_way() -> None:
    wrong = [
        f"{module} imports {other}"
        for module, others in GRAPH.items()
        for other in others
        if room(module) != room(other) and level(other) >= level(module)
    ]
    assert not wrong


def test_engines_import_no_training() -> None:
    assert not [f"{m} imports {o}" for m in GRAPH if m.startswith("engines") for o in GRAPH[m] if "training" in o]


def test_nothing_imports_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for other in GRAPH[module]:
                visit(other, (*trail, module))
            done.add(module)

    for module in GRAPH:
        visit(module, ())


def reachable(module: str) -> set[str]:
    """Return every module that importing one may load."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        for other in GRAPH[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


@pytest.mark.parametrize("module", ["pipeline.predict", "pipeline.batch", "pipeline.service", "serve.run"])
def test_serving_imports_nothing_of_training(module: str) -> None:
    assert not [name for name in reachable(module) if name.startswith("backbone.training")]


def test_init_files_are_empty() -> None:
    for package in PACKAGES:
        for path in (ROOT / package).rglob("__init__.py"):
            assert not path.read_text(encoding="utf-8").strip(), path


def test_tickets_and_prompts_are_free_of_torch() -> None:
    modules = [name for name in MODULES if name.startswith("tickets.")]
    modules += [
        "backbone.config_file",
        "backbone.prompts",
        "classifier.predict",
        "pipeline.model_folder",
        "pipeline.service",
        "cli",
    ]
    code = f"import sys, {', '.join(modules)}; print({{'torch', 'transformers'}} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "set()"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_a_wall(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
