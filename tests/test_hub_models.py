"""`--model hf://OWNER/NAME`: a pushed model answers as the run did, and nothing that a hub sends is trusted."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backbone.config import RunConfig
from backbone.hub.address import HubAddress, model_path
from backbone.hub.fetch import fetch
from backbone.runs.layout import CLASSIFIER, GENERATOR, MANIFEST
from backbone.shipped import VARIABLE, resolve_model
from eval.system_choice import open_runs, stages_of
from eval.training_facts import training_facts
from pipeline.model_folder import open_model
from pipeline.push.push import PushOptions, push
from pipeline.two_stage import load_two_stage
from tests.hubs import ADDRESS, NAME, connected, copy_run
from tests.local_hub import TOKEN, Files, LocalHub, Repository, running_hub
from tickets.errors import DuetError, InputError, WorkError
from tickets.schema import Ticket

ROOT = Path(__file__).parent.parent
MODEL = model_path(str(ADDRESS))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_run(tmp_path_factory.mktemp("runs") / "mine")


@pytest.fixture(scope="module")
def pushed(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a pushed model, by name."""
    with running_hub() as hub, connected(hub, tmp_path_factory.mktemp("cache")):
        push(PushOptions(run, ADDRESS))
        return hub.files(NAME)


@pytest.fixture
def hub(tmp_path: Path, pushed: Files) -> Iterator[LocalHub]:
    """A hub with a pushed model; nothing of it is in the cache yet."""
    with running_hub() as hub, connected(hub, tmp_path / "cache"):
        hub.repositories[NAME] = Repository(private=True)
        hub.repositories[NAME].commit("main", pushed)
        yield hub


def offline() -> pytest.MonkeyPatch:
    from huggingface_hub import constants

    patch = pytest.MonkeyPatch()
    patch.setattr(constants, "HF_HUB_OFFLINE", True)
    return patch


def rewrite(hub: LocalHub, name: str, make: Callable[[bytes], bytes]) -> None:
    """Commit another content of a file."""
    files = hub.files(NAME)
    hub.repositories[NAME].commit("main", {**files, name: make(files.get(name, b""))})


def list_in_manifest(name: str) -> Callable[[bytes], bytes]:
    """Name one more file in a manifest."""

    def add(manifest: bytes) -> bytes:
        record = json.loads(manifest)
        record["files"][name] = "0" * 64
        return json.dumps(record).encode()

    return add


def test_a_pushed_model_answers_as_its_run(hub: LocalHub, run: Path, tickets: list[Ticket]) -> None:
    there, here = load_two_stage(MODEL), load_two_stage(run)
    for a, b in zip(there.answer(tickets[:4]), here.answer(tickets[:4]), strict=True):
        assert (a.prediction, a.reply, a.apply) == (b.prediction, b.reply, b.apply)
        assert a.reply


def test_every_way_to_name_a_model_knows_an_address(hub: LocalHub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch(ADDRESS)
    assert resolve_model(MODEL) == folder
    assert open_model(MODEL).path == folder
    system = open_runs([MODEL])[0]
    assert system.kind == "two-stage" and len(stages_of(system)) == 2
    assert all(training_facts(stage).ratio > 1 for stage in stages_of(system))  # without metrics.jsonl
    monkeypatch.setenv(VARIABLE, str(ADDRESS))
    assert resolve_model(None) == folder


def test_branches_and_commits(hub: LocalHub, run: Path) -> None:
    before = push(PushOptions(run, ADDRESS))
    push(PushOptions(run / CLASSIFIER, ADDRESS))
    assert set(open_model(MODEL).stages) == {CLASSIFIER}
    assert set(open_model(model_path(str(before))).stages) == {CLASSIFIER, GENERATOR}
    hub.requests.clear()
    fetch(before)
    assert not hub.requests  # a commit that is whole in the cache never changes
    push(PushOptions(run, HubAddress.parse(f"hf://{NAME}@next/2")))
    assert set(open_model(model_path(f"hf://{NAME}@next/2")).stages) == {CLASSIFIER, GENERATOR}


def test_without_a_network_the_copy_answers(hub: LocalHub, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = fetch(ADDRESS)
    patch = offline()
    try:
        assert fetch(ADDRESS) == folder
    finally:
        patch.undo()
    with connected(LocalHub(address="http://127.0.0.1:9"), tmp_path / "cache"):
        assert fetch(ADDRESS) == folder
    hub.faults = [("GET /api/models", 503)]
    assert fetch(ADDRESS) == folder
    assert capsys.readouterr().err.count("the hub cannot be reached; the copy in") == 3
    hub.faults = [("GET /api/models", 401)]  # the right to read it was taken away
    with pytest.raises(InputError, match="401"):
        fetch(ADDRESS)


def test_an_interrupted_download_goes_on(hub: LocalHub) -> None:
    hub.faults = [(f"{GENERATOR}/labels.json", 503)] * 8
    with pytest.raises(WorkError, match=r"could not answer \(503.*run the same command again"):
        fetch(ADDRESS)
    patch = offline()
    try:
        for address in (ADDRESS, replace(ADDRESS, revision=hub.repositories[NAME].branches["main"])):
            with pytest.raises(InputError, match="HF_HUB_OFFLINE"):  # half a model is none
                fetch(address)
    finally:
        patch.undo()
    hub.faults.clear()
    hub.requests.clear()
    fetch(ADDRESS)
    assert not [request for request in hub.requests if f"{CLASSIFIER}/heads" in request]


ERRORS = [
    (401, InputError, "401.*may read this repository.*hf auth login"),
    (404, InputError, "no such repository or revision"),
    (500, WorkError, r"could not answer \(500"),
    (0, WorkError, r"could not be reached \(RemoteProtocolError"),
]


@pytest.mark.parametrize(("status", "kind", "text"), ERRORS, ids=[str(status) for status, *_ in ERRORS])
def test_every_failure_is_one_line(hub: LocalHub, status: int, kind: type[DuetError], text: str) -> None:
    hub.faults = [("GET /api/models", status)]
    with pytest.raises(kind, match=text) as caught:
        fetch(ADDRESS)
    line = str(caught.value)
    assert line.startswith(f"{ADDRESS}: ") and "\n" not in line and TOKEN not in line


def test_what_is_not_there(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such repository or revision"):
        fetch(HubAddress.parse("hf://acme/other"))
    with pytest.raises(InputError, match="no such repository or revision"):
        fetch(HubAddress.parse(f"hf://{NAME}@other"))
    with connected(hub, tmp_path / "cache", token=None), pytest.raises(InputError, match=r"401.*found no token"):
        fetch(ADDRESS)
    hub.repositories[NAME].commit("main", {"pytorch_model.bin": b"\x80\x04."})
    with pytest.raises(InputError, match="found no model in it"):
        fetch(ADDRESS)


def outside(tmp_path: Path) -> set[Path]:
    """Every file that is not in the cache, nor of the run."""
    return {path for path in tmp_path.rglob("*") if not {"cache", "runs"} & set(path.relative_to(tmp_path).parts)}


@pytest.mark.parametrize(
    "name", ["../evil", "classifier/../../evil", "/etc/evil", "a\\..\\b", "c:evil", "classifier//x"]
)
def test_a_name_that_leads_out_is_refused(hub: LocalHub, tmp_path: Path, name: str) -> None:
    hub.listed = [(name, 3)]
    with pytest.raises(InputError, match="leads out of its folder; it may be hostile"):
        fetch(ADDRESS)
    assert not [request for request in hub.requests if "/resolve/" in request]


def test_a_manifest_that_names_more_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    for name, text in (
        ("adapter/adapter_model.bin", "which no model has"),
        ("modeling.py", "which no model has"),
        ("../evil", "which is no file inside"),
        ("joint.json", "is missing"),
    ):
        files = hub.files(NAME)
        rewrite(hub, f"{CLASSIFIER}/{MANIFEST}", list_in_manifest(name))
        with pytest.raises(InputError, match=text):
            fetch(ADDRESS)
        hub.repositories[NAME].commit("main", files)
    assert not outside(tmp_path)


def test_a_pickle_beside_the_model_stays_there(
    hub: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pytorch_model.bin", f"{CLASSIFIER}/adapter/adapter_model.bin", f"{CLASSIFIER}/joint.pkl"):
        rewrite(hub, name, lambda _: b"\x80\x04.")
    folder = fetch(ADDRESS)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (".bin", ".pkl")]
    assert "left out classifier/adapter/adapter_model.bin, classifier/joint.pkl" in capsys.readouterr().err
    assert open_model(MODEL).path == folder


@pytest.mark.parametrize("name", ["labels.json", "adapter/adapter_model.safetensors", "config.yaml"])
def test_changed_bytes_are_noticed(hub: LocalHub, name: str) -> None:
    rewrite(hub, f"{GENERATOR}/{name}", lambda data: data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match=r"differs from its sum in generator/manifest\.json; delete .*duet push"):
        open_model(MODEL)


def test_other_content_than_announced_is_noticed(hub: LocalHub) -> None:
    path = f"{CLASSIFIER}/labels.json"
    hub.served = {path: hub.files(NAME)[path].replace(b"Incident", b"incident")}
    with pytest.raises(InputError, match="differs from its sum"):
        open_model(MODEL)


def test_a_huge_file_is_not_fetched(hub: LocalHub, tmp_path: Path) -> None:
    hub.listed = [(f"{CLASSIFIER}/config.yaml", 1 << 40)]
    with pytest.raises(InputError, match=r"config\.yaml has 1,099,511,627,776 bytes, expected at most"):
        fetch(ADDRESS)
    hub.listed = []
    hub.endless = {f"{CLASSIFIER}/heads.safetensors"}
    with pytest.raises(WorkError, match=r"heads\.safetensors goes on after the 79,788 bytes"):
        fetch(ADDRESS)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file()) < 10 << 20
    hub.endless = {f"api/models/{NAME}/revision/main", f"api/models/{NAME}"}
    with pytest.raises(WorkError, match="answers over 16,777,216 bytes about a repository"):
        fetch(ADDRESS)
    hub.endless = set()
    hub.listed = [(f"x/{number}", 1) for number in range(1_001)]
    with pytest.raises(InputError, match="over 1,000 files"):
        fetch(ADDRESS)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("ETag", '"../../../../evil"'),
        ("X-Linked-Etag", '"/tmp/evil"'),
        ("X-Repo-Commit", "../../evil"),
        ("ETag", '".."'),
    ],
)
def test_headers_that_lead_out_are_refused(hub: LocalHub, tmp_path: Path, header: str, value: str) -> None:
    hub.headers = {header: value}
    with pytest.raises(WorkError, match=f"sent {header} .*it may be hostile"):
        fetch(ADDRESS)
    assert not outside(tmp_path)


def test_a_commit_that_is_no_hash_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    repository = hub.repositories[NAME]
    repository.commits["../../evil"] = hub.files(NAME)
    repository.branches["main"] = "../../evil"
    with pytest.raises(InputError, match="expected a hash; check HF_ENDPOINT"):
        fetch(ADDRESS)
    assert not outside(tmp_path)


@pytest.mark.parametrize("name", [MANIFEST, "base", "check.json", f"{CLASSIFIER}/joint.json"])
def test_what_others_put_into_the_cache_is_noticed(hub: LocalHub, name: str) -> None:
    (fetch(ADDRESS) / name).write_text("{}")
    with pytest.raises(InputError, match=r"which no manifest names; .*delete"):
        open_model(MODEL)


@pytest.mark.slow
def test_a_base_that_was_not_published_is_asked_for(
    hub: LocalHub, trained_run: RunConfig, tiny_base: Path, tmp_path: Path, tickets: list[Ticket]
) -> None:
    push(PushOptions(trained_run.folder, ADDRESS))
    with pytest.raises(InputError, match=r"base in a local folder, which was not published.*base/ there.*--model"):
        load_two_stage(MODEL)
    copy = tmp_path / "copy"
    shutil.copytree(fetch(ADDRESS), copy)
    shutil.copytree(tiny_base, copy / "base")
    there, here = load_two_stage(copy).answer(tickets[:4]), load_two_stage(trained_run.folder).answer(tickets[:4])
    assert [(a.prediction, a.reply) for a in there] == [(a.prediction, a.reply) for a in here]


@pytest.mark.slow
def test_the_commands_end_to_end(hub: LocalHub, run: Path, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")} | {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": TOKEN,
    }

    def duet(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "cli.py"), *words]
        return subprocess.run(command, capture_output=True, text=True, env={**environment, **changes}, cwd=tmp_path)

    ticket = str(ROOT / "tickets" / "sample" / "examples" / "software.txt")
    pushed = duet("push", str(run), "hf://acme/second", "--revision", "v1")
    assert pushed.returncode == 0 and pushed.stdout.startswith("hf://acme/second@"), pushed.stderr
    answers = []
    for model, changes in (
        (str(run), {}),
        ("hf://acme/second@v1", {}),
        (pushed.stdout.strip(), {"HF_HUB_OFFLINE": "1"}),
    ):
        done = duet("predict", ticket, "--json", "--model", model, "--engine", "torch", **changes)
        assert done.returncode == 0, done.stderr
        answers.append({**json.loads(done.stdout), "timings": None})
    assert answers[0] == answers[1] == answers[2]
    without = duet("evaluate", "--model", "hf://acme/second@v1", "--data", "(not published)")
    assert without.returncode == 2 and "give --data" in without.stderr
    refused = duet("push", str(run), "hf://acme/third", HF_TOKEN="hf_wrong")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: hf://acme/third: refused by the hub (401")
    assert "hf_wrong" not in refused.stderr
