"""The folder of answers: what lies in it, when it is complete, and what says so."""

import hashlib
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backbone.remote.places import Place
from backbone.runs.files import PART, refuse_link
from pipeline.shards.cut import FOLDER, clear_cut
from pipeline.shards.part_file import PartFacts, read_facts
from pipeline.shards.plan import PLAN, SUCCESS, Plan
from tickets.errors import InputError
from tickets.terminal import json_text

PIECES = "_pieces"
MAKING = f"{FOLDER}.making"  # the lock of who cuts
_PART_NAME = re.compile(r"part-\d{6,}\.parquet")


@dataclass(frozen=True)
class Finished:
    """What a complete folder holds.

    Attributes:
        errors: rows that hold an error and no answer.
    """

    files: int
    rows: int
    errors: int


def check_folder(out: Place) -> None:
    """Refuse a place that holds something else than answers.

    Raises:
        InputError: it does, or a link is where duet writes.
        WorkError: a store does not answer.
    """
    if out.is_local and out.local.exists() and not out.is_folder():
        raise InputError(f"{out.address}: is a file, expected a folder of answers; choose another --out")
    if out.is_local:
        for name in (FOLDER, PIECES):  # they are written into, and deleted with all that is in them
            refuse_link(out.local / name)
    names = out.files()
    strange = [name for name in names if not name.startswith(("_", ".")) and not _PART_NAME.fullmatch(name)]
    if strange or (names and PLAN not in names and any(map(_PART_NAME.fullmatch, names))):
        raise InputError(
            f"{out.address}: holds {(strange or list(names))[0]}, expected an empty folder or answers of an earlier "
            "command; choose another --out"
        )


def finished_parts(out: Place, plan: str, names: set[str]) -> dict[str, PartFacts]:
    """Return those of the named files of answers that are there.

    Raises:
        InputError: one is damaged, or was made by another plan.
        WorkError: a store does not answer.
    """
    parts = {}
    for name in names & out.files().keys():
        place = out / name
        with place.open() as file:
            facts = read_facts(file, place.address)
        if facts.plan != plan:
            raise InputError(
                f"{place.address}: was answered by another model or from other tickets than {PLAN} says; delete it, or "
                "start over with --restart"
            )
        parts[name] = facts
    return parts


def has_plan(out: Place) -> bool:
    """Return whether answers were begun there."""
    return (out / PLAN).is_file()


def has_success(out: Place) -> bool:
    """Return whether the folder says that it is complete."""
    return (out / SUCCESS).is_file()


def finish(out: Place, plan: Plan, sums: Mapping[str, str]) -> Finished | None:
    """Say in the folder that it is complete, with the SHA-256 of every file, and delete what is no longer needed.

    Args:
        sums: those that are known, by name; the others are computed.

    Returns:
        What the folder holds; None where answers are missing, which other commands have to write.
    """
    names = {shard.part for shard in plan.shards}
    parts = finished_parts(out, plan.digest, names)
    if len(parts) < len(names):
        missing = len(names) - len(parts)
        print(f"{missing:,} of {len(names):,} files of answers are still missing in {out.address}", file=sys.stderr)
        return None
    rows, errors = (sum(getattr(facts, name) for facts in parts.values()) for name in ("rows", "errors"))
    if not has_success(out):
        listed = {
            name: {"sha256": sums.get(name) or _sha256(out / name), "rows": facts.rows, "errors": facts.errors}
            for name, facts in sorted(parts.items())
        }
        record = {"plan": plan.digest, "rows": rows, "errors": errors, "files": listed}
        (out / SUCCESS).write((json_text(record, indent=1) + "\n").encode())
    clear_cut(out)
    (out / PIECES).remove_folder()
    _remove(out, lambda name: name.endswith(PART) or name == MAKING)
    return Finished(len(parts), rows, errors)


def clear(out: Place) -> None:
    """Delete earlier answers, their plan and what belongs to it."""
    if not out.is_folder():
        return
    (out / SUCCESS).remove()  # first what says that they are complete
    clear_cut(out)
    (out / PIECES).remove_folder()
    _remove(out, lambda name: name == PLAN or bool(_PART_NAME.fullmatch(name)))


def _remove(out: Place, is_ours: Callable[[str], bool]) -> None:
    for name in filter(is_ours, out.files()):
        (out / name).remove()


def _sha256(place: Place) -> str:
    with place.open() as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
