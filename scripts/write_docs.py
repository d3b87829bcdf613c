"""Write docs/cli.md from the help of every command and docs/configuration.md from the models."""

import subprocess
import sys
from pathlib import Path
from typing import Any, TypeGuard

import yaml
from pydantic import BaseModel
from typer import Typer

from backbone.config import RunConfig
from cli import app

ROOT = Path(__file__).parent.parent


def command_names() -> list[str]:
    """Return every command of the application, those of a group with its name before them."""
    names = []
    for command in app.registered_commands:
        names.append(command.name or (command.callback.__name__ if command.callback else "").replace("_", "-"))
    return [*names, *_members(app, "")]


def _members(parent: Typer, prefix: str) -> list[str]:
    """Return the commands of every group below, and a group itself where it is a command too."""
    names: list[str] = []
    for group in parent.registered_groups:
        inner = group.typer_instance
        if inner is None:
            continue
        name = f"{prefix}{group.name}"
        names += [name] if inner.registered_callback else []
        names += [f"{name} {member.name}" for member in inner.registered_commands]
        names += _members(inner, f"{name} ")
    return names


def commands() -> str:
    """Help of every command."""
    parts = ["# Commands\n\nMade by `make docs` from `duet COMMAND --help`; `duet` and `python cli.py` are the same.\n"]
    parts += [
        f"## duet {name}".rstrip() + f"\n\n```text\n{help_of(name.split())}```\n" for name in ["", *command_names()]
    ]
    return "\n".join(parts)


def help_of(command: list[str]) -> str:
    """Help text at 80 columns, as `duet` prints it."""
    code = "import sys; sys.argv[0] = 'duet'; import cli; cli.main()"
    environment = {"COLUMNS": "80", "TERMINAL_WIDTH": "80", "PATH": "", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, env=environment, check=True
    )
    return run.stdout


def configuration() -> str:
    """Return every key of a run's configuration with its default and meaning."""
    lines = [
        "# Configuration",
        "",
        "Made by `make docs`. These keys stand in a YAML file, or in `--set KEY=VALUE` of `train-cls`, `train-gen`,",
        "`train-baseline` and `check`. The default holds where a file does not give a key. A file that begins with",
        "`extends: other.yaml` holds only what differs. Without `--config` the values of `configs/mini.yaml` hold.",
    ]
    for section, places in _sections(RunConfig).items():
        title = ", ".join(f"`{place}`" for place in places if place) or "The run"
        prefix = f"{places[0]}." if places[0] and len(places) == 1 else ""  # a section in several places is shown once
        lines += ["", f"## {title}", "", f"{(section.__doc__ or '').splitlines()[0]}", ""]
        lines += ["| key | default | meaning |", "| --- | --- | --- |"]
        for name, info in section.model_fields.items():
            if not _is_section(info.annotation):
                lines.append(f"| `{prefix}{name}` | `{_shown(info.default)}` | {info.description or ''} |")
    return "\n".join(lines) + "\n"


def _sections(section: type[BaseModel], key: str = "") -> dict[type[BaseModel], list[str]]:
    """Return the places of every section below and with `section`."""
    sections: dict[type[BaseModel], list[str]] = {section: [key]}
    for name, info in section.model_fields.items():
        if _is_section(info.annotation):
            for below, places in _sections(info.annotation, f"{key}.{name}".lstrip(".")).items():
                sections.setdefault(below, []).extend(places)
    return sections


def _is_section(annotation: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _shown(value: object) -> str:
    """As YAML writes it."""
    default = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(default, default_flow_style=True).removesuffix("...\n").strip()


PAGES = {"cli.md": commands, "configuration.md": configuration}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (ROOT / "docs" / name).write_text(make(), encoding="utf-8")
