"""The wheel: one top-level name, every package, and a command that works from anywhere."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, installed into a folder; third-party packages come from this environment."""
    wheels, site = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels], cwd=ROOT, check=True)
    (wheel,) = wheels.glob("ticket_duet-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", site, wheel], check=True)
    return site


def duet(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    command = [str(site / "bin" / "duet"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)


def test_it_has_one_top_level_name(site: Path) -> None:
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {"ticket_duet", "bin"}


def test_an_editable_installation_copies_none_of_the_product(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {
        "_ticket_duet.pth",
        *(f"ticket_duet/{name}" for name in ("__init__.py", "__main__.py", "py.typed")),
    }


def test_it_has_every_package_and_file_of_the_tree(site: Path) -> None:
    folders = [path.parent for path in ROOT.glob("*/__init__.py")]
    assert {folder.name for folder in folders} >= {"backbone", "commands", "tickets"}
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert (site / "ticket_duet" / path.relative_to(ROOT)).is_file(), f"{path} is not in the wheel"


def test_the_installed_command_answers_a_ticket(site: Path, tmp_path: Path) -> None:
    (tmp_path / "ticket.txt").write_text("Subject: VPN drops\n\nOur VPN Falke drops every hour.", encoding="utf-8")
    run = duet(site, tmp_path, "predict", "ticket.txt", "--json")
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout)
    assert set(answer["labels"]) == {"type", "queue", "priority"}
    assert answer["reply"]


@pytest.mark.parametrize("name", ["cli", "eval", "configs"])
def test_modules_of_the_same_name_do_no_harm(site: Path, tmp_path: Path, name: str) -> None:
    """Another package of a generic name in the environment, and a file of that name where the user is."""
    other = tmp_path / "other"
    other.mkdir()
    (other / f"{name}.py").write_text("raise SystemExit('a stranger was imported')", encoding="utf-8")
    (tmp_path / f"{name}.py").write_text("raise SystemExit('a stranger was imported')", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": f"{other}{os.pathsep}{site}"}
    for command in ([str(site / "bin" / "duet")], [sys.executable, "-m", "ticket_duet"]):
        run = subprocess.run(
            [*command, "evaluate", "--help"], cwd=tmp_path, capture_output=True, text=True, env=environment, check=False
        )
        assert run.returncode == 0 and "Usage:" in run.stdout, run.stderr


def test_every_dependency_says_why_it_is_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(requirement for extra in extras.values() for requirement in extra)]
    names = {re.split(r"[>=<;\[ ]", requirement)[0] for requirement in wanted} - {project["name"]}  # its own extras
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").replace("\\", "")
    rows = [row.split("|")[1] for row in page.splitlines() if row.startswith("| ") and "---" not in row]
    listed = {word for row in rows for word in row.replace("`", "").replace(",", " ").split()}
    missing = {name for name in names if name not in listed and not name.startswith("types-")}
    assert not missing, f"docs/dependencies.md does not say why {missing} are there"
    known = {*names, "package", "types-*", "**extras**", "**development**", *(f"({name})" for name in extras)}
    assert not listed - known, f"docs/dependencies.md lists {listed - known}, which pyproject does not"


def test_ci_versions_name_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all("==" in line and "/" not in line and "@" not in line for line in pins)
    assert not [line for line in pins if line.startswith(("nvidia", "triton"))]
    (ruff,) = (line.partition("==")[2] for line in pins if line.startswith("ruff=="))
    assert f"rev: v{ruff}" in (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")


def test_make_knows_which_llama_cpp_is_pinned() -> None:
    """Without the version, a wheel that was compiled before is never found, and compiled again."""
    told = subprocess.run(["make", "-pn", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pinned = re.search(r"^llama[-_]cpp[-_]python==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert pinned and f"LLAMA_VERSION := {pinned[1]}\n" in told
