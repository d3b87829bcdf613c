"""`duet push`: what of a run reaches a hub, and what never does."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from backbone.config import UNPUBLISHED, RunConfig
from backbone.config_file import load_config
from backbone.dataset import load_part, resolve_data
from backbone.hub.address import HubAddress, model_path
from backbone.runs.files import read_json, sha256, write_json
from backbone.runs.layout import ADAPTER, ADAPTER_CONFIG, BASE, CLASSIFIER, CONFIG, GENERATOR, MANIFEST, RUN
from backbone.shipped import mini_folder
from pipeline.push.push import PushOptions, dry_run_text, push
from tests.hubs import ADDRESS, NAME, connected, copy_run
from tests.local_hub import TOKEN, LocalHub, running_hub
from tickets.errors import DuetError, InputError, WorkError
from tickets.schema import Ticket


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with running_hub() as hub, connected(hub, tmp_path / "cache"):
        yield hub


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return copy_run(tmp_path / "runs" / "mine")


def change(stage: Path, file: str, **facts: object) -> None:
    """Change a JSON file of a run, and its sum in the manifest."""
    write_json(stage / file, {**read_json(stage / file), **facts})
    seal(stage, file)


def seal(stage: Path, name: str) -> None:
    record = read_json(stage / MANIFEST)
    record["files"][name] = sha256(stage / name)
    write_json(stage / MANIFEST, record)


def fragments(ticket: Ticket) -> list[str]:
    """Texts of a ticket that are long enough to be no word of a vocabulary: its lines, and its id."""
    lines = [line.strip() for text in (ticket.subject, ticket.body, ticket.reply) for line in text.splitlines()]
    return [f'"{ticket.id}"', *(line for line in lines if len(line) >= 24)]


def assert_received_none(hub: LocalHub, texts: list[str]) -> None:
    """No text has arrived, as it is or as JSON writes it."""
    arrived = b"\0".join(hub.received)
    for text in {*texts, *(json.dumps(text)[1:-1] for text in texts)}:
        assert text.encode() not in arrived, text


def test_a_push_sends_what_the_model_needs_and_no_more(
    hub: LocalHub, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    address = push(PushOptions(run, ADDRESS))
    assert address.repository == NAME and address.is_commit
    files = hub.files(NAME)
    assert not [name for name in files if "metrics" in name or "samples" in name]
    assert hub.repositories[NAME].private
    for stage in (CLASSIFIER, GENERATOR):
        sums = json.loads(files[f"{stage}/{MANIFEST}"])["files"]
        assert {f"{stage}/{name}" for name in (*sums, MANIFEST)} == {n for n in files if n.startswith(stage)}
        record = json.loads(files[f"{stage}/{RUN}"])
        assert record["stage"] == stage and not {"data", "platform", "examples"} & set(record)
        assert "confusion" not in json.dumps(record)
    card = files["README.md"].decode()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "apache-2.0" and "ticket-duet" in front["tags"]
    assert "| queue |" in card and "Validation perplexity" in card
    told = capsys.readouterr().err
    assert "generator/samples.jsonl" in told and "3 columns, 17 labels, 60 tags" in told
    texts = [text for ticket in load_part(resolve_data("sample"), "train", 400) for text in fragments(ticket)]
    assert len(texts) > 1_000
    assert_received_none(hub, [*texts, str(run), str(Path.home()) + "/", "sample-0"])


@pytest.mark.slow
def test_no_text_id_or_path_of_a_team_is_sent(
    hub: LocalHub, trained_run: RunConfig, small_data: Path, tiny_base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(PushOptions(trained_run.folder, ADDRESS))
    told = capsys.readouterr().err
    assert "baseline" in told and "the base is a local folder and is not published" in told
    tickets = [ticket for part in ("train", "validation", "test") for ticket in load_part(small_data, part)]
    paths = [str(trained_run.folder), str(small_data), str(tiny_base), str(trained_run.folder.parents[1])]
    record = read_json(trained_run.folder / CLASSIFIER / RUN)
    assert_received_none(hub, [*(t for one in tickets for t in fragments(one)), *paths, record["data"]])
    files = hub.files(NAME)
    for stage in (CLASSIFIER, GENERATOR):
        config = yaml.safe_load(files[f"{stage}/{CONFIG}"])
        assert config["data"]["path"] == config["base"]["path"] == UNPUBLISHED and config["name"] == "support"
        base = json.loads(files[f"{stage}/{BASE}"])
        assert (base["name"], base["folder"]) == (UNPUBLISHED, "")
        assert json.loads(files[f"{stage}/{ADAPTER}/{ADAPTER_CONFIG}"])["base_model_name_or_path"] == UNPUBLISHED
    assert "not published" in files["README.md"].decode()


def test_contacts_of_the_team_stay(hub: LocalHub, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = run / GENERATOR / CONFIG
    config = load_config(path, ["decoding.allowed_contacts=[anna.berg@acme.example]"])
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    seal(run / GENERATOR, CONFIG)
    push(PushOptions(run, ADDRESS))
    assert_received_none(hub, ["anna.berg@acme.example"])
    assert "readers give theirs with --allow-contact" in capsys.readouterr().err


def test_a_path_in_an_instruction_is_refused(hub: LocalHub, run: Path) -> None:
    path = run / GENERATOR / CONFIG
    config = load_config(path, [f"prompt.instruction=See {run / GENERATOR}"])
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    seal(run / GENERATOR, CONFIG)
    with pytest.raises(InputError, match=r"would publish the path .*prompt\.instruction"):
        push(PushOptions(run, ADDRESS))
    assert not hub.requests


def test_texts_in_the_header_of_weights_are_refused(hub: LocalHub, run: Path) -> None:
    from safetensors.numpy import load_file, save_file

    heads = run / CLASSIFIER / "heads.safetensors"
    save_file(load_file(heads), heads, metadata={"note": "from /srv/tickets"})
    seal(run / CLASSIFIER, heads.name)
    with pytest.raises(InputError, match="its header holds note"):
        push(PushOptions(run, ADDRESS))
    assert not hub.requests


def test_a_dry_run_sends_nothing(hub: LocalHub, run: Path) -> None:
    lines = dry_run_text(PushOptions(run, ADDRESS)).splitlines()
    assert not hub.requests
    sizes = [int(line.split()[0].replace(",", "")) for line in lines]
    assert sizes[-1] == sum(sizes[:-1]) and "nothing was sent" in lines[-1]
    push(PushOptions(run, ADDRESS))
    sent = {name: len(data) for name, data in hub.files(NAME).items() if name != ".gitattributes"}
    assert sent == {line.split()[1]: size for line, size in zip(lines[:-1], sizes, strict=False)}


def test_a_base_of_the_hub_keeps_its_name(hub: LocalHub, run: Path) -> None:
    folder = "/srv/acme/hub/models--Qwen--Qwen2-0.5B-Instruct/snapshots/1"
    for stage in (CLASSIFIER, GENERATOR):
        change(run / stage, BASE, name="Qwen/Qwen2-0.5B-Instruct", folder=folder)
    push(PushOptions(run, ADDRESS))
    front = yaml.safe_load(hub.files(NAME)["README.md"].decode().split("---")[1])
    assert front["base_model"] == "Qwen/Qwen2-0.5B-Instruct" and front["license"] == "apache-2.0"
    assert_received_none(hub, ["/srv/acme"])


def test_a_second_push_sends_only_what_changed_and_removes_what_is_gone(hub: LocalHub, run: Path) -> None:
    first = push(PushOptions(run, ADDRESS))
    hub.requests.clear()
    assert push(PushOptions(run, ADDRESS)) == first
    assert not [request for request in hub.requests if request.startswith("PUT") or "/commit/" in request]
    push(PushOptions(run / CLASSIFIER, ADDRESS))
    assert not [name for name in hub.files(NAME) if name.startswith(GENERATOR)]
    assert "Generator" not in hub.files(NAME)["README.md"].decode()


def test_an_interrupted_push_goes_on(hub: LocalHub, run: Path) -> None:
    hub.faults = [("/commit/", 503)]
    with pytest.raises(WorkError, match=r"could not answer \(503.*run the same command again"):
        push(PushOptions(run, ADDRESS))
    assert set(hub.files(NAME)) == {".gitattributes"}  # a reader sees nothing of it
    assert hub.objects
    hub.requests.clear()
    push(PushOptions(run, ADDRESS))
    assert not [request for request in hub.requests if request.startswith("PUT")]
    assert f"{GENERATOR}/{MANIFEST}" in hub.files(NAME)


def test_an_upload_is_tried_again(hub: LocalHub, run: Path) -> None:
    hub.faults = [("PUT /lfs/", 500), ("PUT /lfs/", 0), ("/preupload/", 502)]
    push(PushOptions(run, ADDRESS))
    assert not hub.faults


def test_another_branch_is_made(hub: LocalHub, run: Path) -> None:
    push(PushOptions(run, HubAddress.parse(f"hf://{NAME}@next/2")))
    assert set(hub.files(NAME)) == {".gitattributes"} and len(hub.files(NAME, "next/2")) > 20


def test_nothing_private_is_put_where_everybody_reads(
    hub: LocalHub, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    push(PushOptions(run, ADDRESS, is_private=False))
    assert not hub.repositories[NAME].private
    before = hub.files(NAME)
    shutil.rmtree(run / GENERATOR)
    with pytest.raises(InputError, match="is public, expected a private repository"):
        push(PushOptions(run, ADDRESS))
    assert hub.files(NAME) == before
    hub.repositories[NAME].private = True
    push(PushOptions(run, ADDRESS, is_private=False))
    assert "is private already, and stays so" in capsys.readouterr().err


def test_a_repository_of_something_else_is_left_alone(hub: LocalHub, run: Path) -> None:
    push(PushOptions(run, ADDRESS))
    before = {"README.md": b"Ours", "app.py": b"pass"}
    hub.repositories[NAME].commit("main", before)
    with pytest.raises(InputError, match=r"found app\.py there, expected a new repository or one of `duet push`"):
        push(PushOptions(run, ADDRESS))
    assert hub.files(NAME) == before


def test_what_another_process_commits_meanwhile_is_not_lost(hub: LocalHub, run: Path) -> None:
    push(PushOptions(run, ADDRESS))
    (run / CLASSIFIER / "chat_template.jinja").write_text("{{ enable_thinking }}")
    seal(run / CLASSIFIER, "chat_template.jinja")
    hub.meanwhile = lambda: hub.repositories[NAME].commit("main", {**hub.files(NAME), "README.md": b"Theirs"})
    with pytest.raises(WorkError, match="changed on the hub meanwhile"):
        push(PushOptions(run, ADDRESS))
    assert hub.files(NAME)["README.md"] == b"Theirs"


ERRORS = [
    (401, InputError, r"401.*found a token that it does not accept.*may write to.*hf auth login.*HF_TOKEN"),
    (403, InputError, r"403.*found a token that it does not accept.*may write to"),
    (404, InputError, r"no such repository or revision.*404"),
    (400, InputError, r"refused by the hub \(400"),
    (409, WorkError, r"changed on the hub meanwhile"),
    (412, WorkError, r"changed on the hub meanwhile"),
    (429, WorkError, r"could not answer \(429.*again later"),
    (500, WorkError, r"could not answer \(500.*again later"),
    (503, WorkError, r"could not answer \(503.*again later"),
    (0, WorkError, r"could not be reached \(RemoteProtocolError\)"),
]


@pytest.mark.parametrize(("status", "kind", "text"), ERRORS, ids=[str(status) for status, *_ in ERRORS])
def test_every_failure_is_one_line_without_the_token(
    hub: LocalHub, run: Path, status: int, kind: type[DuetError], text: str
) -> None:
    hub.faults = [("GET /api/models", status)]
    with pytest.raises(kind, match=text) as caught:
        push(PushOptions(run, ADDRESS))
    line = str(caught.value)
    assert line.startswith(f"{ADDRESS}: ") and "\n" not in line and TOKEN not in line


def test_without_a_token_or_a_hub(hub: LocalHub, run: Path, tmp_path: Path) -> None:
    from huggingface_hub import constants

    with connected(hub, tmp_path / "cache", token=None), pytest.raises(InputError, match="found no token"):
        push(PushOptions(run, ADDRESS))
    nobody = LocalHub(address="http://127.0.0.1:9")
    with connected(nobody, tmp_path / "cache"), pytest.raises(WorkError, match=r"could not be reached \(ConnectError"):
        push(PushOptions(run, ADDRESS))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        push(PushOptions(run, ADDRESS))


def test_only_finished_runs_of_ones_own_are_pushed(hub: LocalHub, run: Path, tmp_path: Path) -> None:
    def refused(path: Path, text: str) -> None:
        with pytest.raises(InputError, match=text):
            push(PushOptions(path, ADDRESS))

    refused(Path("mini"), "comes with duet")
    refused(mini_folder(), "comes with duet")
    refused(model_path("hf://acme/support"), "on a hub already")
    refused(tmp_path / "nowhere", "no such folder")
    (run / GENERATOR).rename(run / f"{GENERATOR}.partial")
    refused(run, "its generator run is unfinished")
    shutil.rmtree(run / f"{GENERATOR}.partial")
    write_json(run / "check.json", {})
    refused(run, "not readable|bundle")
    (run / "check.json").unlink()
    (run / CLASSIFIER / "labels.json").write_text("{}")
    refused(run, r"labels\.json: damaged")
    (run / CLASSIFIER / MANIFEST).unlink()
    refused(run, "not a finished run")
    with pytest.raises(InputError, match="found a commit, expected a branch"):
        PushOptions(run, HubAddress.parse(f"hf://{NAME}@{'a' * 40}"))
    assert not hub.requests


@pytest.mark.parametrize(
    "text",
    ["acme/support", "hf://acme", "hf://acme/", "hf://../x", "hf://a/b/c", "hf://a/b@", "hf://a/b@../x", "hf://a/b c"],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InputError, match="no address of a model on a hub; expected hf://OWNER/NAME"):
        HubAddress.parse(text)


def test_an_address_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for text in ("hf://acme/support", "hf://acme/support@main", "hf://acme/support@refs/pr/1"):
        assert str(HubAddress.of_path(model_path(text))) == text
    for text in ("hf:/acme/support", "./hf:/acme/support", "runs/mini", "/hf:/a/b", ".", "mini"):
        assert HubAddress.of_path(model_path(text)) is None
    assert model_path("hf:/acme/support") == tmp_path / "hf:" / "acme" / "support"
