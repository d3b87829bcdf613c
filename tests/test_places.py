"""Places: the same on this machine and on a store; here a folder of this machine stands for a store."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from backbone.hub.address import model_path
from backbone.remote.addresses import is_store, is_url, split_address, with_endpoint
from backbone.remote.copied_bundle import copied_bundle
from backbone.remote.places import Place
from backbone.shipped import mini_folder
from pipeline.shards.tables import _matching, has_wildcard
from tickets.errors import InputError, WorkError


@pytest.fixture(params=["local", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    (tmp_path / "there").mkdir()
    if request.param == "local":
        return Place.parse(str(tmp_path / "there"), "--out")
    return store_at(tmp_path)


def store_at(path: Path) -> Place:
    return Place("s3://bucket/there", "there", SubTreeFileSystem(str(path), LocalFileSystem()))


def test_files_are_written_listed_read_and_removed(folder: Place, tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "c.txt"):
        (folder / name).write(name.encode())
    (folder / "below" / "d.csv").write(b"") if folder.is_local else (tmp_path / "there" / "below").mkdir()
    (tmp_path / "there" / "below" / "d.csv").write_bytes(b"xy")
    assert folder.files() == {"a.csv": 5, "b.csv": 5, "c.txt": 5}
    assert folder.files(recursive=True) == {"a.csv": 5, "b.csv": 5, "below/d.csv": 2, "c.txt": 5}
    assert (folder / "a.csv").read(5) == b"a.csv"
    assert (folder / "none").read(5) is None
    with pytest.raises(InputError, match=r"a.csv: over 4 bytes"):
        (folder / "a.csv").read(4)
    with (folder / "a.csv").open() as file:
        file.seek(2)
        assert file.read() == b"csv"
    assert [place.name for place in _matching(folder / "?.csv")] == ["a.csv", "b.csv"]
    before = (folder / "a.csv").fingerprint()
    (folder / "a.csv").write(b"longer than before")
    assert (folder / "a.csv").fingerprint() != before
    (folder / "a.csv").remove()
    (folder / "a.csv").remove()
    assert not (folder / "a.csv").is_file() and (folder / "b.csv").is_file()
    with pytest.raises(InputError, match="no such file"):
        (folder / "a.csv").fingerprint()
    (folder / "below").remove_folder()
    (folder / "below").remove_folder()
    assert sorted(folder.files(recursive=True)) == ["b.csv", "c.txt"]
    assert not list((tmp_path / "there").glob("*.part")) and not list((tmp_path / "there").glob(".*"))


def test_a_folder_that_is_not_there_has_no_files(folder: Place) -> None:
    assert (folder / "none").files() == {}
    assert not (folder / "none").is_folder()
    assert folder.is_folder()


def test_a_failing_store_is_one_line(tmp_path: Path) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            def fail(*_: Any, **__: Any) -> Any:
                raise OSError("When doing it: AWS Error ACCESS_DENIED\nsecond line")

            return fail

    place = Place("s3://bucket/there", "bucket/there", Failing())
    for act in (place.files, place.is_folder, place.fingerprint, place.remove, lambda: place.write(b"")):
        with pytest.raises(WorkError, match=r"s3://bucket/there: the object store failed .*ACCESS_DENIED") as error:
            act()
        assert "\n" not in str(error.value)


def test_names_lead_up_and_down() -> None:
    place = Place("s3://b/in?region=x", "b/in", object())
    assert (place / "a?.csv").address == "s3://b/in/a?.csv?region=x"
    assert has_wildcard(place / "a?.csv") and not has_wildcard(place)
    assert (place / "a.csv").parent.address == place.address
    assert (place / "a.csv").parent.path == place.path
    assert Place.parse("file:///tmp/x", "--out") == Place.parse("/tmp/x", "--out")


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("s3://b/k/a.csv", ("s3://b", "k/a.csv", "")),
        ("s3://b", ("s3://b", "", "")),
        ("s3://b/t?.csv", ("s3://b", "t?.csv", "")),
        ("s3://b/t?.csv?region=eu-1&scheme=http", ("s3://b", "t?.csv", "?region=eu-1&scheme=http")),
    ],
)
def test_addresses_are_split(address: str, found: tuple[str, str, str]) -> None:
    assert split_address(address) == found


def test_what_is_an_address() -> None:
    assert [is_url(text) for text in ("s3://a", "C:\\a", "a/b", "hf://a/b", "ab://")] == [
        True,
        False,
        False,
        True,
        True,
    ]
    assert [is_store(text) for text in ("S3://a", "gs://a", "hf://a/b", "file:///a")] == [True, True, False, False]


def test_the_endpoint_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert with_endpoint("s3://b") == "s3://b"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert with_endpoint("s3://b") == "s3://b?endpoint_override=127.0.0.1:9&scheme=http"
    assert with_endpoint("s3://b?region=x") == "s3://b?region=x&endpoint_override=127.0.0.1:9&scheme=http"
    assert with_endpoint("s3://b?endpoint_override=a") == "s3://b?endpoint_override=a"
    for wrong in ("127.0.0.1:9", "ftp://a", "http://", "http://a/path"):
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", wrong)
        with pytest.raises(InputError, match="AWS_ENDPOINT_URL_S3: found"):
            with_endpoint("s3://b")


def test_models_on_a_store_and_folders_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    on_store = Place.of_path(model_path("s3://bucket/models/a?region=us-east-1"), "--model")
    assert on_store and (on_store.path, on_store.address) == (
        "bucket/models/a",
        "s3://bucket/models/a?region=us-east-1",
    )
    assert Place.of_path(model_path("s3:/bucket"), "--model") is None
    assert Place.of_path(model_path("bundle"), "--model") is None


def test_a_bundle_is_copied_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(mini_folder(), tmp_path / "there")
    copy = copied_bundle(store_at(tmp_path))
    assert (copy / "manifest.json").read_bytes() == (mini_folder() / "manifest.json").read_bytes()
    shutil.rmtree(tmp_path / "there" / "classifier")
    assert copied_bundle(store_at(tmp_path)) == copy  # nothing is copied again
    (tmp_path / "there" / "manifest.json").write_text((copy / "manifest.json").read_text() + "\n")
    with pytest.raises(InputError, match=r"s3://bucket/there: classifier/.* is missing; copy the bundle there"):
        copied_bundle(store_at(tmp_path))
    shutil.copytree(mini_folder() / "classifier", tmp_path / "there" / "classifier")
    (tmp_path / "there" / "classifier" / "labels.json").write_text("{}")
    with pytest.raises(InputError, match=r"s3://bucket/there: classifier/labels.json: damaged"):
        copied_bundle(store_at(tmp_path))
    (tmp_path / "there" / "manifest.json").unlink()
    with pytest.raises(InputError, match="found no bundle there"):
        copied_bundle(store_at(tmp_path))
    folders = [path.name for path in (tmp_path / "cache" / "ticket-duet" / "bundles").iterdir() if path.is_dir()]
    assert sorted(name for name in folders if not name.endswith(".partial")) == [copy.name]
