"""The plan of a folder of answers: which files are answered by what. It tells whether an unfinished folder fits."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backbone.remote.places import Place
from tickets.errors import InputError
from tickets.own_json import decode_own
from tickets.terminal import json_text, whole_characters

PLAN, SUCCESS = "_plan.json", "_SUCCESS"  # tools that read a folder of Parquet files pass over both
_FORMAT = 1
LARGEST = 1 << 28  # bytes of either


@dataclass(frozen=True)
class Shard:
    """A file of tickets.

    Attributes:
        address: of the file.
        content: its fingerprint.
        is_cut: it is one of the files that duet cut, and holds tickets that are read and cleaned.
    """

    number: int
    address: str
    content: str
    is_cut: bool

    @property
    def part(self) -> str:
        """Name of the file with its answers."""
        return f"part-{self.number:06d}.parquet"

    @property
    def source(self) -> str:
        """What its answers' file says that it answers."""
        return Place.parse(self.address, "SOURCE").name


@dataclass(frozen=True)
class Plan:
    """What is answered, and by what.

    Attributes:
        facts: what decides the answers besides the tickets, see `answers_plan`.
    """

    shards: Sequence[Shard]
    facts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """A SHA-256 of all that decides the answers; places do not, only contents."""
        decisive = {"format": _FORMAT, "contents": [shard.content for shard in self.shards], **self.facts}
        return hashlib.sha256(json_text(decisive).encode()).hexdigest()

    def save(self, out: Place) -> None:
        """Write the plan into the folder of answers."""
        shards = [
            {"address": whole_characters(shard.address), "content": shard.content, "cut": shard.is_cut}
            for shard in self.shards
        ]
        record = {"format": _FORMAT, **self.facts, "shards": shards}
        (out / PLAN).write((json_text(record, indent=1) + "\n").encode("utf-8"))

    def check_same(self, out: Place) -> bool:
        """Return whether the folder has this plan; False where it has none yet.

        Raises:
            InputError: it has another one, and the first difference.
        """
        old = read_plan(out)
        if old is None:
            return False
        differing = [key for key in self.facts if old.facts.get(key) != self.facts[key]]
        if [shard.content for shard in old.shards] != [shard.content for shard in self.shards]:
            differing.insert(0, "content")
        if differing:
            raise InputError(
                f"{out.address}: answers with another {', '.join(differing)} ({PLAN}); use the same, choose another "
                "--out, or start over with --restart"
            )
        return True


def read_plan(out: Place) -> Plan | None:
    """Return the plan in a folder of answers; None where there is none.

    Raises:
        InputError: it is damaged, or of a later version.
    """
    content = (out / PLAN).read(LARGEST)
    if content is None:
        return None
    try:
        record = decode_own(content)
        version, records = record.pop("format"), record.pop("shards")
        if version != _FORMAT:
            raise InputError(f"{out.address}: a plan of format {version}, expected {_FORMAT}; update duet")
        shards = [Shard(n, str(s["address"]), str(s["content"]), bool(s["cut"])) for n, s in enumerate(records)]
        return Plan(shards, record)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            f"{(out / PLAN).address}: not the plan of a folder of answers; start over with --restart, or choose "
            "another --out"
        ) from None
