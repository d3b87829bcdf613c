"""Prepared tickets as a run uses them: where they are, their parts, and their fingerprint."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from itertools import islice
from pathlib import Path

import numpy as np

from backbone.config import SAMPLE, UNPUBLISHED
from tickets.errors import InputError
from tickets.schema import PARTS, Ticket, read_tickets, ticket_from_line
from tickets.sources import source_path


def resolve_data(path: str) -> Path:
    """Return the folder of `path`, or of the built-in tickets for `sample`.

    Raises:
        InputError: a part is missing.
    """
    if path == UNPUBLISHED:
        raise InputError(
            "the tickets of this model were not published with it; give --data a folder of `duet prepare` with tickets "
            "of your own"
        )
    folder = Path(str(resources.files("tickets.sample"))) if path == SAMPLE else source_path(path)
    for part in ("train", "validation"):
        if not (folder / f"{part}.jsonl").is_file():
            raise InputError(
                f"{folder}: no {part}.jsonl; expected a folder of prepared tickets; run `duet prepare SOURCE --out "
                f"{folder}` and set data.path to it"
            )
    return folder


def load_part(folder: Path, part: str, limit: int | None = None) -> list[Ticket]:
    """Return the first `limit` tickets of a part, without synthetic ones.

    Of the training part, these are some that bring every class, and the first others.

    Raises:
        InputError: there are none, the part is none of PARTS, or one outside of training is synthetic.
    """
    if part not in PARTS:
        raise InputError(f"found --part {part!r}, expected one of {', '.join(PARTS)}")
    everything = read_tickets(folder / f"{part}.jsonl")
    tickets = [ticket for ticket in everything if not ticket.synthetic]
    if part != "train" and len(tickets) < len(everything):
        synthetic_id = next(ticket.id for ticket in everything if ticket.synthetic)
        raise InputError(
            f"{folder}/{part}.jsonl: found the synthetic ticket {synthetic_id!r}, expected some in train.jsonl alone; "
            "run `duet augment` again on the prepared folder"
        )
    if not tickets:
        raise InputError(f"{folder}/{part}.jsonl: found no tickets, expected at least one; run `duet prepare` again")
    if limit is None or part != "train":
        return tickets[:limit]
    return [tickets[row] for row in _rows_with_every_class(tickets, limit)]


def load_synthetic(folder: Path, train: Sequence[Ticket]) -> list[Ticket]:
    """Return the synthetic tickets of a folder whose parents are among `train`: examples for the classifier alone.

    They are no part of the data: class shares, class weights, losses and scores are those of `load_part`.
    """
    known, path = {ticket.id for ticket in train}, folder / "train.jsonl"
    origins = (_synthetic_of(line, path) for line in path.read_bytes().splitlines())
    return [ticket for ticket in origins if ticket and ticket.parent in known]


def _synthetic_of(line: bytes, path: Path) -> Ticket | None:
    """Return the synthetic ticket of a line; None for a real one."""
    if b'"synthetic"' not in line:  # decoding every line would take seconds; no other line holds this key
        return None
    ticket = ticket_from_line(line, str(path))
    return ticket if ticket.synthetic else None


def _rows_with_every_class(tickets: Sequence[Ticket], limit: int) -> list[int]:
    """Return the first `limit` rows.

    Where they lack a class, the first ticket that has it takes the place of the last ones.

    A column with so many classes that they would take more than half of the places is left alone.
    """
    first_rows: dict[str, dict[str, int]] = {}
    for row, ticket in enumerate(tickets):
        for column, label in ticket.labels.items():
            first_rows.setdefault(column, {}).setdefault(label, row)
    needed = {row for rows in first_rows.values() if len(rows) <= limit / 2 for row in rows.values()}
    needed = set(sorted(needed)[:limit])
    others = (row for row in range(len(tickets)) if row not in needed)
    return sorted([*needed, *islice(others, limit - len(needed))])


def data_fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the training and validation files."""
    digest = hashlib.sha256()
    for part in ("train", "validation"):
        digest.update((folder / f"{part}.jsonl").read_bytes())
    return digest.hexdigest()


def real_fingerprint(folder: Path) -> str:
    """Return the SHA-256 over the training and validation files without synthetic tickets.

    So it is the `data_fingerprint` of the folder that was augmented.
    """
    digest = hashlib.sha256()
    for part in ("train", "validation"):
        path = folder / f"{part}.jsonl"
        for line in path.read_bytes().splitlines(keepends=True):
            if _synthetic_of(line, path) is None:
                digest.update(line)
    return digest.hexdigest()


def training_sample(count: int, size: int, seed: int) -> list[int]:
    """Return the fixed rows, ascending, on which training loss is measured."""
    rng = np.random.default_rng(seed)
    return sorted(rng.choice(count, size=min(size, count), replace=False).tolist())
