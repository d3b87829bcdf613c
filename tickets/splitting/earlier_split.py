"""Keep an earlier split: its tickets, and what is near to them, stay in their parts, so that models can be compared."""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tickets.errors import InputError
from tickets.own_json import read_own
from tickets.schema import PARTS, Ticket, read_tickets
from tickets.splitting.assign import FREE, TEST, TRAIN, VALIDATION
from tickets.splitting.duplicates import NearDuplicates, near_duplicates

_NUMBERED = re.compile(r"(.+)#\d+", re.S)
_STRONGEST = (TRAIN, VALIDATION, TEST)  # the last of them wins where a group holds several


@dataclass(frozen=True)
class EarlierSplit:
    """The tickets of an earlier `duet prepare` with their parts, shape (tickets,).

    `has_ids` tells whether the ids come from the source; row numbers say nothing about another export. What is near to
    a text of `synthetic` tickets, which are in training, goes there too.
    """

    tickets: Sequence[Ticket]
    parts: NDArray[np.int64]
    has_ids: bool
    synthetic: Sequence[str] = ()

    @classmethod
    def load(cls, folder: Path) -> "EarlierSplit":
        """Read the folder that an earlier `duet prepare` wrote.

        Raises:
            InputError: not such a folder.
        """
        missing = [name for part in PARTS if not (folder / (name := f"{part}.jsonl")).is_file()]
        if missing:
            raise InputError(
                f"--keep-split {folder}: found no {missing[0]}, expected what an earlier `duet prepare` wrote; give "
                "that folder"
            )
        everything = [read_tickets(folder / f"{part}.jsonl") for part in PARTS]
        by_part = [[ticket for ticket in tickets if not ticket.synthetic] for tickets in everything]
        synthetic = [ticket.text for ticket in everything[TRAIN] if ticket.synthetic]
        columns: Any = ()  # a folder without a report is taken by its texts alone
        with suppress(OSError, ValueError, KeyError, TypeError, InputError):
            columns = read_own(folder / "report.json")["columns"]
        parts = np.repeat(np.arange(len(PARTS)), [len(tickets) for tickets in by_part])
        return cls([ticket for tickets in by_part for ticket in tickets], parts, "id" in columns, synthetic)

    def pin(
        self, tickets: Sequence[Ticket], threshold: float, has_ids: bool
    ) -> tuple[NDArray[np.int64], NearDuplicates, str]:
        """Return the part of every ticket that this split decides, else FREE; their near-duplicates; and a note.

        A ticket that was there before keeps its part. A new one goes where its near-duplicates were: to test if any
        of them was in test, else to validation, else to training.

        Args:
            has_ids: whether the ids of `tickets` come from their source.
        """
        parts = self._same(tickets, has_ids)
        known = {ticket.text for ticket in tickets}
        gone = [row for row, ticket in enumerate(self.tickets) if ticket.text not in known]
        texts = [ticket.text for ticket in tickets] + [self.tickets[row].text for row in gone] + [*self.synthetic]
        near = near_duplicates(texts, threshold)
        decided = np.concatenate([parts, self.parts[gone], np.full(len(self.synthetic), TRAIN)])
        of_group = np.full(int(near.groups.max(initial=0)) + 1, FREE)
        for part in _STRONGEST:
            of_group[near.groups[decided == part]] = part
        spread = np.where(parts == FREE, of_group[near.groups[: len(tickets)]], parts)
        return spread, _first(near, len(tickets)), self._note(parts, spread)

    def _same(self, tickets: Sequence[Ticket], has_ids: bool) -> NDArray[np.int64]:
        """Return the part of every ticket that this split holds, by its id or its text; FREE for new ones.

        A repeated id is numbered in the order of its rows (`7`, `7#2`), and another export may have another order. So
        such tickets are told by their texts first.
        """
        by_text: dict[str, int] = {}
        for ticket, part in zip(self.tickets, self.parts.tolist(), strict=True):
            by_text[ticket.text] = max(part, by_text.get(ticket.text, FREE))
        if not (has_ids and self.has_ids):
            return np.array([by_text.get(ticket.text, FREE) for ticket in tickets], dtype=np.int64)
        shared = _Shared([*self.tickets, *tickets])
        of_id: dict[str, list[int]] = {}
        of_both: dict[tuple[str, str], list[int]] = {}
        for row, ticket in enumerate(self.tickets):
            of_id.setdefault(shared.id(ticket), []).append(row)
            of_both.setdefault((shared.id(ticket), ticket.text), []).append(row)
        found = np.full(len(tickets), FREE)
        taken: set[int] = set()
        for place, ticket in enumerate(tickets):
            if rows := of_both.get((shared.id(ticket), ticket.text)):
                found[place] = self.parts[rows[0]]
                taken.add(rows.pop(0) if len(rows) > 1 else rows[0])
        known = {(shared.id(ticket), ticket.text) for ticket in self.tickets}
        for place, ticket in enumerate(tickets):
            if (shared.id(ticket), ticket.text) not in known:
                left = [row for row in of_id.get(shared.id(ticket), ()) if row not in taken]
                found[place] = self.parts[left[0]] if left else by_text.get(ticket.text, FREE)
                taken.update(left[:1])
        return found

    def _note(self, parts: NDArray[np.int64], spread: NDArray[np.int64]) -> str:
        earlier, same = Counter(self.parts.tolist()), Counter(parts.tolist())
        near = Counter(spread[parts == FREE].tolist())
        counts = ", ".join(
            f"{name} {same[part]:,} of {earlier[part]:,} and {near[part]:,} near to them"
            for part, name in enumerate(PARTS)
        )
        return f"kept from the earlier split: {counts}"


class _Shared:
    """The ids of tickets as their source has them: without the number of a repeated one."""

    def __init__(self, tickets: Sequence[Ticket]) -> None:
        self.known = {ticket.id for ticket in tickets}

    def id(self, ticket: Ticket) -> str:
        """Return the id, without its number where another ticket has the rest of it."""
        match = _NUMBERED.fullmatch(ticket.id)
        return match[1] if match and match[1] in self.known else ticket.id


def _first(near: NearDuplicates, count: int) -> NearDuplicates:
    """Return the near-duplicates among the first `count` texts."""
    return NearDuplicates(near.pairs[(near.pairs < count).all(axis=1)], near.groups[:count], near.recall)
