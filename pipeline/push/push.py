"""`duet push`: publish what a finished run needs to be used on a hub, and nothing else of it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from backbone.config import UNPUBLISHED
from backbone.hub.address import HubAddress
from backbone.hub.client import hub_client, hub_errors
from backbone.hub.files import CARD, STAGES
from backbone.runs.files import disk_guard
from backbone.runs.folder import partial_folder
from backbone.runs.layout import BASELINE, CLASSIFIER, LABELS
from backbone.shipped import mini_folder, smollm2_folder
from pipeline.model_folder import ModelFolder, open_model
from pipeline.push.card import hub_card
from pipeline.push.published import PublishedStage, write_published
from tickets.errors import InputError
from tickets.labels import LabelSpace
from tickets.terminal import escape_controls

_MAIN = "main"
_OF_NEW_REPOSITORIES = (".gitattributes", ".gitignore", "LICENSE")


@dataclass(frozen=True)
class PushOptions:
    """What the user asks for.

    Attributes:
        run: folder of a finished run.
        address: repository, and the branch if it is not the main one.
        is_private: only who has access to the repository may read it.
    """

    run: Path
    address: HubAddress
    is_private: bool = True

    def __post_init__(self) -> None:
        if self.address.is_commit:
            raise InputError(f"{self.address}: found a commit, expected a branch to write to; give its name")


@dataclass(frozen=True)
class _Published:
    """The files that are published, in a temporary folder, and what is told of them."""

    folder: Path
    files: Sequence[str]
    notes: Sequence[str]

    def size(self, name: str) -> int:
        """Return the bytes of a file."""
        return (self.folder / name).stat().st_size


def dry_run_text(options: PushOptions) -> str:
    """Return a table of the files that would be published, with their sizes in bytes; nothing is sent.

    Raises:
        InputError: not a finished run, or a file that may not be published.
    """
    with _published(options) as published:
        sizes = [(published.size(name), name) for name in published.files]
    lines = [*sizes, (sum(size for size, _ in sizes), f"bytes in {len(sizes)} files; nothing was sent")]
    return "\n".join(f"{size:>15,}  {text}" for size, text in lines)


def push(options: PushOptions) -> HubAddress:
    """Publish a run in one commit, and return the address of that commit.

    Interrupted, it goes on where it was: the hub keeps the files that it has received.

    Raises:
        InputError: not a finished run, or the hub refuses address, token or visibility.
        WorkError: the hub or the network failed.
    """
    with _published(options) as published:
        return _send(options, published)


@contextmanager
def _published(options: PushOptions) -> Iterator[_Published]:
    """Write what is published to a temporary folder, and tell what that is on stderr."""
    model = _open(options.run)
    with TemporaryDirectory(prefix="duet-push-") as name:
        folder = Path(name)
        with disk_guard(folder):
            stages = {
                stage: write_published(model.stages[stage], folder / stage, options.address.name)
                for stage in model.stages
            }
            reduced = open_model(folder)  # what a reader will do; a run that cannot be read is not published
            (folder / CARD).write_text(escape_controls(hub_card(reduced, options.address)), encoding="utf-8")
        files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        published = _Published(folder, files, _notes(options.run, reduced, stages))
        for note in published.notes:
            print(note, file=sys.stderr)
        yield published


def _open(run: Path) -> ModelFolder:
    """Open a finished run.

    Raises:
        InputError: anything else, or a stage of it is unfinished.
    """
    if HubAddress.of_path(run):
        raise InputError(f"RUN {run}: is on a hub already; expected the folder of a finished run")
    model = open_model(run, "RUN")
    if model.path in (mini_folder(), smollm2_folder()):
        raise InputError(
            f"RUN {run}: comes with duet, so everybody has it; expected a run of your own, such as runs/mine"
        )
    if model.bundle:
        raise InputError(
            f"RUN {run}: found a bundle, expected a run folder; push the run that it was exported from, whoever reads "
            "it can export it again"
        )
    unfinished = [stage for stage in STAGES if stage not in model.stages and partial_folder(run / stage).is_dir()]
    if unfinished:
        raise InputError(
            f"RUN {run}: its {unfinished[0]} run is unfinished, expected a finished one; run the same training command "
            f"again to finish it, or push {next(iter(model.stages.values())).path} alone"
        )
    return model


def _notes(run: Path, model: ModelFolder, stages: dict[str, PublishedStage]) -> list[str]:
    """Return lines about what is left out, and what of the team is published."""
    left_out = [f"{stage}/{name}" for stage, published in stages.items() for name in published.left_out]
    left_out += [BASELINE] if (run / BASELINE).is_dir() else []
    named = "names of label columns, labels and tags"
    if CLASSIFIER in model.stages:
        space = LabelSpace.load(model.stages[CLASSIFIER].path / LABELS)
        classes = sum(map(len, space.columns.values()))
        named += f" ({len(space.columns)} columns, {classes} labels, {len(space.tags)} tags)"
    notes = [
        f"left out: {', '.join(left_out) or 'no file'}; and in the others paths, fingerprints of tickets and counts "
        "per class",
        f"published: {named}, the instruction of the prompt, the vocabulary of the tokenizer, and weights, which may "
        "repeat what they were trained on",
    ]
    if any(published.without_contacts for published in stages.values()):
        notes.append("left out: decoding.allowed_contacts; readers give theirs with --allow-contact")
    if model.any_stage.base.name == UNPUBLISHED:
        notes.append(
            "warning: the base is a local folder and is not published; readers need a copy of it, and if it was "
            "trained on tickets, the vocabulary holds words of them"
        )
    return notes


def _send(options: PushOptions, published: _Published) -> HubAddress:
    address = options.address
    with hub_client() as api:
        with hub_errors(str(address), writes=True):
            api.create_repo(address.repository, private=options.is_private, exist_ok=True)
            is_private = api.model_info(address.repository).private
        if options.is_private and is_private is not True:  # it was there before: the hub leaves it as it is
            raise InputError(
                f"{address}: is public, expected a private repository; make it private on the hub, choose another "
                "name, or publish it with --public"
            )
        if not options.is_private and is_private:
            print(f"{address}: is private already, and stays so", file=sys.stderr)
        commit = _commit(api, address, published)
    total = sum(map(published.size, published.files))
    print(f"{address}: {len(published.files)} files, {total:,} bytes", file=sys.stderr)
    return HubAddress(address.owner, address.name, commit)


def _commit(api: Any, address: HubAddress, published: _Published) -> str:
    """Upload the files, make them one commit on the branch, and return its hash.

    Raises:
        InputError: the repository holds something else.
    """
    repository, branch = address.repository, address.revision or _MAIN
    with hub_errors(str(address), writes=True):
        if branch != _MAIN:
            api.create_branch(repository, branch=branch, exist_ok=True)
        parent = api.model_info(repository, revision=branch).sha
        there = api.list_repo_files(repository, revision=parent)
    names = {name.partition("/")[0] for name in there}
    others = names - {CARD, *_OF_NEW_REPOSITORIES}
    if others and not names & set(STAGES):
        raise InputError(
            f"{address}: found {min(others)} there, expected a new repository or one of `duet push`; choose another "
            "name"
        )
    with hub_errors(str(address), writes=True):
        operations = _operations(there, published)
        # the parent: nothing is lost of what another process commits meanwhile
        commit = api.create_commit(
            repository, operations, commit_message="Model of duet push", revision=branch, parent_commit=parent
        )
    return str(commit.oid)


def _operations(there: Sequence[str], published: _Published) -> list[Any]:
    """Return what the commit does: add all files, and delete those of an earlier model that this one lacks."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    stale = [name for name in there if name.partition("/")[0] in STAGES and name not in published.files]
    return [
        *(CommitOperationAdd(name, str((published.folder / name).resolve())) for name in published.files),
        *(CommitOperationDelete(name) for name in stale),
    ]
