"""`duet predict-batch --ray` on a cluster of two nodes, and folders on an S3 server: `make test-cluster` runs it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import pytest

from eval.evaluate_answers import read_all_answers
from pipeline.shards.plan import SUCCESS
from tests.conftest import SHARED

pytestmark = [
    pytest.mark.skipif("DUET_CLUSTER" not in os.environ, reason="starts clusters: `make test-cluster` runs it"),
    pytest.mark.timeout(240),
]
ROOT = Path(__file__).parent.parent
MINI = ROOT / "backbone" / "mini"
POISONED = Path(__file__).parent / "poisoned"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes with a core each."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(POISONED), str(ROOT)]))
    monkeypatch.setenv("SECONDS_PER_SHARD", "0.5")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from ray.cluster_utils import Cluster

    memory = {"object_store_memory": 100 << 20, "include_dashboard": False}
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **memory})
    second = started.add_node(num_cpus=1, object_store_memory=100 << 20)
    try:
        yield started, second
    finally:
        started.shutdown()


def write_folder(folder: Path, files: int, rows: int, poison: tuple[int, int] | None = None) -> Path:
    """Write CSV files; one row, given by file and row, is poison."""
    folder.mkdir()
    for number in range(files):
        texts = [f"My printer {i} of {number} is broken" for i in range(rows)]
        if poison and poison[0] == number:
            texts[poison[1]] = "POISON"
        lines = ["id,subject,body", *(f"{number}-{i},s,{text}" for i, text in enumerate(texts))]
        (folder / f"t{number:03d}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def start(source: Path | str, out: Path | str, *words: str, **environment: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "cli.py", "predict-batch", str(source), "--out", f"{out}/", "--labels-only"]
    return subprocess.Popen(
        [*command, "--model", str(MINI), *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def run(source: Path | str, out: Path | str, *words: str, **environment: str) -> str:
    process = start(source, out, *words, **environment)
    _, said = process.communicate()
    assert process.returncode == 0, said
    return said


def on(cluster: Any) -> tuple[str, ...]:
    return ("--ray", cluster.address, "--threads", "1")


def parts(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("part-*.parquet")}


def wait_for_parts(out: Path, count: int, process: "subprocess.Popen[str]") -> None:
    while len(parts(out)) < count:
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)


def workers() -> list[psutil.Process]:
    """Return the processes of our actors."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any("ray::Worker" in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


def test_two_nodes_answer_as_one_process_does(cluster: Any, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", 6, 20)
    run(source, tmp_path / "alone")
    run(source, tmp_path / "out", *on(cluster[0]))
    assert parts(tmp_path / "out") == parts(tmp_path / "alone")
    assert (tmp_path / "out" / SUCCESS).read_bytes() == (tmp_path / "alone" / SUCCESS).read_bytes()


def test_a_node_that_is_lost_costs_no_row(cluster: Any, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", 16, 10)
    run(source, tmp_path / "alone")
    process = start(source, tmp_path / "out", *on(cluster[0]))
    wait_for_parts(tmp_path / "out", 3, process)
    cluster[0].remove_node(cluster[1], allow_graceful=False)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert parts(tmp_path / "out") == parts(tmp_path / "alone")


def test_workers_that_are_killed_cost_no_row(cluster: Any, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", 16, 10)
    run(source, tmp_path / "alone")
    process = start(source, tmp_path / "out", *on(cluster[0]))
    for count in (2, 6, 10):
        wait_for_parts(tmp_path / "out", count, process)
        workers()[0].kill()
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert parts(tmp_path / "out") == parts(tmp_path / "alone")


def test_a_command_that_is_killed_goes_on(cluster: Any, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", 12, 10)
    run(source, tmp_path / "alone")
    process = start(source, tmp_path / "out", *on(cluster[0]))
    wait_for_parts(tmp_path / "out", 4, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(parts(tmp_path / "out"))
    said = run(source, tmp_path / "out", *on(cluster[0]))
    assert int(said.partition("going on after ")[2].split()[0]) >= kept
    assert parts(tmp_path / "out") == parts(tmp_path / "alone")
    assert not list((tmp_path / "out").glob(".*")) and not list((tmp_path / "out").glob("_pieces*"))


def test_one_poison_row_gets_an_error_and_the_others_answers(cluster: Any, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", 3, 12, poison=(1, 7))
    said = run(source, tmp_path / "out", *on(cluster[0]), SECONDS_PER_SHARD="0")
    found = list(read_all_answers(str(tmp_path / "out")))
    assert [row["id"] for row in found] == [f"{file}-{row}" for file in range(3) for row in range(12)]
    failed = [row for row in found if "error" in row]
    assert [row["id"] for row in failed] == ["1-7"]
    assert "its worker died 3 times" in failed[0]["error"]
    assert "t001.csv, row 8: its worker died 3 times" in said and "1 of them with an error" in said


def test_another_model_between_runs_is_refused(cluster: Any, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", 4, 10)
    run(source, tmp_path / "out", *on(cluster[0]))
    (tmp_path / "out" / SUCCESS).unlink()
    (tmp_path / "out" / "part-000002.parquet").unlink()
    process = start(source, tmp_path / "out", *on(cluster[0]), "--model", str(MINI / "classifier"))
    _, said = process.communicate()
    assert process.returncode == 2 and "answers with another" in said and "model" in said


def test_a_full_disk_is_one_line(cluster: Any, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", 6, 200)
    out = tmp_path / "small"
    out.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", str(out)], check=False).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        process = start(source, out / "out", *on(cluster[0]))
        _, said = process.communicate()
        assert process.returncode == 1, said
        assert "the disk is full" in said.splitlines()[-1] and "Traceback" not in said
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_more_cores_than_a_node_has_are_refused(cluster: Any, tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", 1, 1)
    process = start(source, tmp_path / "out", "--ray", cluster[0].address, "--threads", "64")
    _, said = process.communicate()
    assert (process.returncode, said.splitlines()[-1].partition(":")[0]) == (2, "error")
    assert "no node of the cluster has so many cores, the largest has 1; lower it" in said


def test_no_cluster_is_one_line(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "in", 1, 1)
    process = start(source, tmp_path / "out", "--ray", "127.0.0.1:1")
    _, said = process.communicate()
    assert process.returncode == 2 and "no cluster there" in said.splitlines()[-1], said


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """A server that speaks S3, in an environment of its own, with one bucket."""
    server = Path(os.environ.get("DUET_MOTO", ROOT / ".venv" / "moto" / "bin" / "moto_server"))
    if not server.is_file():
        pytest.fail(f"{server} is missing: `make test-cluster` installs it")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([server, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    try:
        for _ in range(200):
            try:
                urlopen(f"http://127.0.0.1:{port}/moto-api/").close()
                break
            except OSError:
                time.sleep(0.1)
        from pyarrow.fs import S3FileSystem

        where = {"endpoint_override": f"127.0.0.1:{port}", "scheme": "http"}
        store = S3FileSystem(access_key="key", secret_key="secret", allow_bucket_creation=True, **where)
        store.create_dir("acme")
        yield {**keys, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    finally:
        process.kill()


def test_tickets_answers_and_bundle_on_a_store(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    for name, value in {**s3, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    cluster = request.getfixturevalue("cluster")  # after that: its nodes need the keys
    from backbone.remote.places import Place

    source = write_folder(tmp_path / "in", 4, 10)
    for folder, name in ((source, "in"), (MINI, "mini")):
        for path in filter(Path.is_file, folder.rglob("*")):
            (Place.parse(f"s3://acme/{name}", "x") / path.relative_to(folder).as_posix()).write(path.read_bytes())
    run(source, tmp_path / "alone", "--model", "mini")
    run("s3://acme/in", "s3://acme/out", "--model", "s3://acme/mini", *on(cluster[0]))
    stored = Place.parse("s3://acme/out", "x")
    expected = list(read_all_answers(str(tmp_path / "alone")))
    assert list(read_all_answers("s3://acme/out")) == expected
    assert sorted(stored.files(recursive=True)) == [
        "_SUCCESS",
        "_plan.json",
        *(f"part-00000{i}.parquet" for i in range(4)),
    ]
    assert "all is answered" in run("s3://acme/in", "s3://acme/out", "--model", "s3://acme/mini")
    (stored / "part-000002.parquet").remove()
    (stored / SUCCESS).remove()
    assert "going on after 3 of 4" in run("s3://acme/in/t*.csv", "s3://acme/out", "--model", "s3://acme/mini")
    assert list(read_all_answers("s3://acme/out")) == expected
    run("s3://acme/in/t001.csv", "s3://acme/cut", "--model", "mini", "--shard-rows", "3")
    assert list(read_all_answers("s3://acme/cut")) == expected[10:20]
    assert not [name for name in Place.parse("s3://acme/cut", "x").files(recursive=True) if name.startswith("_in")]
    assert len([path for path in (tmp_path / "cache" / "ticket-duet" / "bundles").iterdir() if path.is_dir()]) == 1
    manifest = Place.parse("s3://acme/mini/manifest.json", "x")
    record = json.loads(manifest.read(1 << 20) or b"")
    record["files"][next(iter(record["files"]))] = "0" * 64
    manifest.write(json.dumps(record).encode())
    process = start("s3://acme/in", "s3://acme/bad", "--model", "s3://acme/mini")
    _, said = process.communicate()
    assert process.returncode == 2 and "s3://acme/mini: " in said and "damaged" in said


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real tickets are not here")
def test_real_tickets_are_answered_alike(cluster: Any, tmp_path: Path) -> None:
    shutil.copy(SHARED / "data" / "tickets.csv", tmp_path / "tickets.csv")
    run(tmp_path / "tickets.csv", tmp_path / "alone", "--shard-rows", "400")
    run(tmp_path / "tickets.csv", tmp_path / "out", "--shard-rows", "400", *on(cluster[0]))
    assert parts(tmp_path / "out") == parts(tmp_path / "alone")
