"""Checkpoints that can be trusted: sealed by a manifest when they are whole, verified before they are used."""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from backbone.runs.files import flush, sha256, write_json
from backbone.runs.layout import MANIFEST, STATE
from tickets.own_json import read_own

# of each, one must be there: the second names are those of runs in several processes, of plain and of sharded ones
_NEEDED = (
    ("optimizer.pt", "optimizer.bin", "optimizer_0/.metadata"),
    ("scheduler.pt",),
    ("rng_state.pth", "rng_state_0.pth"),
    (STATE,),
)
_CHECKPOINTS_KEPT = 2


def checkpoints(folder: Path) -> list[Path]:
    """Return all checkpoints under `folder`, whole or not, the newest first."""
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)


def seal(checkpoint: Path) -> None:
    """Flush a checkpoint and write its manifest of SHA-256 sums; without one it counts as unfinished."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MANIFEST)
    for path in files:
        flush(path)
    write_json(checkpoint / MANIFEST, {"files": {str(path.relative_to(checkpoint)): sha256(path) for path in files}})
    flush(checkpoint)
    flush(checkpoint.parent)


def find_damage(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint, in words; None when it is whole."""
    try:
        sums = read_own(checkpoint / MANIFEST)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return "was not written to its end"
    missing = [names[0] for names in _NEEDED if not any(name in sums for name in names)]
    missing += [name for name in sums if not (checkpoint / name).is_file()]
    if missing:
        return f"lacks {missing[0]}"
    damaged = next((name for name, expected_sum in sums.items() if sha256(checkpoint / name) != expected_sum), None)
    return f"has a damaged {damaged}" if damaged else None


def newest_intact(folder: Path) -> Path | None:
    """Return the newest intact checkpoint whose best checkpoint is intact too; print why newer ones are removed.

    What is newer than the one returned is removed: training writes those again.
    """
    for checkpoint in checkpoints(folder):
        wrong = find_damage(checkpoint) or _find_damage_of_best(checkpoint)
        if wrong is None:
            return checkpoint
        print(f"{checkpoint}: {wrong}; going back to an earlier one, or to the start", file=sys.stderr)
        shutil.rmtree(checkpoint)
    return None


def drop_old(folder: Path, names_to_keep: Iterable[str | None]) -> None:
    """Remove all but the newest two checkpoints and those named; call it when the newest is sealed and verified."""
    names = {Path(name).name for name in names_to_keep if name}
    for old in checkpoints(folder)[_CHECKPOINTS_KEPT:]:
        if old.name not in names:
            shutil.rmtree(old)


def _find_damage_of_best(checkpoint: Path) -> str | None:
    """Return what is wrong with the checkpoint of the best weights so far: a run cannot end as it should without."""
    try:
        best = read_own(checkpoint / STATE).get("best_model_checkpoint")
    except (OSError, ValueError, AttributeError):
        return f"has an unreadable {STATE}"
    if not best or Path(best).name == checkpoint.name:
        return None
    wrong = find_damage(checkpoint.parent / Path(best).name)
    return f"refers to {Path(best).name} as the best, which {wrong}" if wrong else None
