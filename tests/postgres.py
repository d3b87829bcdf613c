"""A PostgreSQL server of the tests' own: Debian's, in a temporary folder, on a socket, not as root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PACKAGE = "postgresql"


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@contextmanager
def postgres_server() -> Iterator[str]:
    """Run a server and yield the address of its database."""
    binaries = _binaries()
    if binaries is None:
        missing = f"needs Debian's package {PACKAGE}"
        if os.environ.get("DUET_SERVICES") == "required":  # in CI, which installs it
            pytest.fail(missing)
        pytest.skip(missing)
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    as_user = ["runuser", "-u", user, "--"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="duet-pg-"))
    shutil.chown(folder, user) if as_user else None

    def run(program: str, *options: str) -> None:
        subprocess.run([*as_user, str(binaries / program), *options], check=True, capture_output=True, cwd=folder)

    try:
        run("initdb", "-D", str(folder / "data"), "-A", "trust", "--no-sync", "-U", "duet", "-E", "UTF8", "--locale=C")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=200"
        run("pg_ctl", "-D", str(folder / "data"), "-l", str(folder / "log"), "-w", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://duet@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", str(folder / "data"), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
