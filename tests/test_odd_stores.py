"""Stores of another version, damaged ones and addresses that are none: one line, and the store stays."""

import random
import sqlite3
import sys
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")
import cli
from serve.run import fill_with_samples
from store.database import open_file
from store.tables import ADMIN
from store.tokens import add_token


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a store with tickets and a token."""
    path = tmp_path_factory.mktemp("store") / "s.db"
    database = open_file(path)
    fill_with_samples(database)
    add_token(database, "anna", ADMIN)
    database.empty_log()
    database.close()
    return path.read_bytes()


def run(words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["duet", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code, capsys.readouterr().err


def commands(path: Path, other: Path) -> list[list[str]]:
    address = f"sqlite:///{path}"
    return [
        ["verify", str(path)],
        ["serve", "jobs", "--db", address],
        ["serve", "outbox", "--db", address],
        ["serve", "token", "list", "--db", address],
        ["serve", "backup", f"{path}.copy", "--db", address],
        ["serve", "restore", str(path), "--db", f"sqlite:///{other}"],
    ]


@pytest.mark.parametrize("revision", ["9999_of_a_later_version", "../../x", ""])
def test_a_store_of_another_version_is_one_line(
    revision: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, other = tmp_path / "s.db", tmp_path / "other.db"
    path.write_bytes(content)
    other.write_bytes(content)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.commit()
    connection.close()
    for words in commands(path, other):
        code, error = run(words, monkeypatch, capsys)
        assert code == 2 and error.count("\n") == 1 and "of another version" in error, (words, error)
    assert run(["verify", str(other)], monkeypatch, capsys) == (0, "")


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_store_is_one_line_or_an_answer(
    seed: int, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    damaged = bytearray(content)
    first = chance.choice([100, 4096, 8192, len(damaged) // 2])
    for place in range(first, len(damaged), chance.choice([37, 97, 4096, 3000])):
        damaged[place] ^= chance.randrange(1, 256)
    path, other = tmp_path / "s.db", tmp_path / "other.db"
    for words in commands(path, other):
        for left in tmp_path.iterdir():
            left.unlink()
        path.write_bytes(damaged)
        other.write_bytes(content)
        code, error = run(words, monkeypatch, capsys)
        assert code in (0, 1, 2) and error.count("\n") <= 1, (words, error)
        assert code == 0 or error.startswith("error: "), (words, error)
        if words[1] == "restore" and code:
            assert run(["verify", str(other)], monkeypatch, capsys) == (0, "")


@pytest.mark.parametrize("words", [["serve", "jobs"], ["serve"], ["serve", "token", "list"]])
def test_an_empty_address_is_not_the_usual_store(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of a variable of the shell that is not set."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    listen = ["--listen", "127.0.0.1:0"] if words == ["serve"] else []
    code, error = run([*words, *listen, "--db", ""], monkeypatch, capsys)
    assert (code, error.count("\n")) == (2, 1) and "not an address of a database" in error
    assert not list(tmp_path.iterdir())
