"""A context that computes nothing: what it says follows from the ids and adapters in a sequence, as with a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

from backbone.config import DecodingConfig
from backbone.prompts import Prompt
from engines.kv_allocator import ContextSizes
from engines.protocols import Row
from engines.sequences import SequenceEngine
from pipeline.two_stage import TwoStage
from tickets.errors import WorkError
from tickets.schema import Prediction, Ticket

VOCABULARY, END = 16, 0
READER, WRITER = "classifier", "generator"
PREFIXES: Mapping[str, list[int]] = {READER: [9, 8], WRITER: [9, 8, 7]}

Cell = tuple[int, str]  # id, and the adapter it was computed under


def next_token(cells: list[Cell]) -> int:
    """What is written after some ids: an end every so often."""
    content = crc32(repr(cells).encode())
    return content % VOCABULARY if content % 5 else END


def expected(row: Row) -> list[int]:
    """What is to be written to a row, whatever goes on beside it."""
    covered = len(PREFIXES[row.prefix_adapter]) if row.prefix_length else 0
    cells = [
        (token, row.prefix_adapter if i < max(row.prefix_length, covered) else row.adapter)
        for i, token in enumerate(row.prompt)
    ]
    written: list[int] = []
    while len(written) < row.options.max_new_tokens and (token := next_token(cells)) != END:
        written.append(token)
        cells.append((token, row.adapter))
    return written


class ScriptedContext:
    """Keeps books of cells as llama.cpp's unified memory does, and refuses what that would refuse."""

    hidden_size = 2
    gives_all_states = False

    def __init__(self, cells: int, batch: int) -> None:
        self._limit, self._batch = cells, batch
        self._sequences: dict[int, list[tuple[int, Cell]]] = {}  # number of the cell, and what is in it
        self._made = 0
        self._adapter = ""
        self._last: list[int] = []
        self._outputs: list[int] = []
        self._wants_states = False
        self.calls: list[tuple[str, int]] = []  # adapter and tokens
        self.failing = False

    @property
    def used(self) -> int:
        """Cells in use; those that sequences share count once."""
        return len({number for cells in self._sequences.values() for number, _ in cells})

    def content(self, sequence: int) -> list[Cell]:
        return [cell for _, cell in self._sequences.get(sequence, [])]

    def activate(self, adapter: str) -> None:
        self._adapter = adapter

    def decode(self, ids: Any, positions: Any, sequences: Any, outputs: Any) -> None:
        assert 0 < len(ids) <= self._batch
        if self.failing:
            raise WorkError("llama.cpp could not decode")
        self.calls.append((self._adapter, len(ids)))
        self._last, self._states = [], []
        for token, position, sequence in zip(ids.tolist(), positions.tolist(), sequences.tolist(), strict=True):
            cells = self._sequences.setdefault(sequence, [])
            assert position == len(cells), "a gap, or an id that was computed before"
            cells.append((self._made, (token, self._adapter)))
            self._made += 1
            self._last.append(next_token(self.content(sequence)))
            self._states.append(state(self.content(sequence)))
        self._outputs = outputs.tolist()
        assert self.used <= self._limit, "more cells than there are"

    def logits(self, row: int) -> Any:
        assert self._outputs[row] and not self._wants_states
        scores = np.zeros(VOCABULARY, dtype=np.float32)
        scores[self._last[row]] = 1
        return scores

    def states(self, rows: Any) -> Any:
        assert self._wants_states and list(rows) == list(range(len(self._states)))
        return np.array(self._states, dtype=np.float32)

    def want_states(self, wanted: bool) -> None:
        self._wants_states = wanted

    def forget(self, sequence: int, start: int = 0) -> None:
        self._sequences[sequence] = self._sequences.get(sequence, [])[:start]

    def copy(self, source: int, target: int) -> None:
        assert not self._sequences.get(target)
        self._sequences[target] = list(self._sequences[source])


def state(cells: list[Cell]) -> list[float]:
    """The state at the last of some ids."""
    return [float(len(cells)), float(crc32(repr(cells).encode()) % 1000)]


def scripted_engine(sizes: ContextSizes, batch: int = 32) -> tuple[SequenceEngine, ScriptedContext]:
    context = ScriptedContext(sizes.all_cells + sum(map(len, PREFIXES.values())), batch)
    return SequenceEngine(context, PREFIXES, [END], sizes, batch), context


def prompt_of(number: int, length: int) -> list[int]:
    """A prompt that begins as all do, with as many ids of its own."""
    return [9, 8, *(1 + (number * 7 + i * i) % (VOCABULARY - 1) for i in range(length))]


@dataclass
class ScriptedStages:
    """Stands for classifier and generator: a ticket's body says how many ids its prompt has."""

    limit: int = 12
    uses_classifier_prefix: bool = True
    heard: list[str] = field(default_factory=list)

    @property
    def encoder(self) -> Any:
        return self

    def ticket_end(self, ids: Sequence[int]) -> int:
        return len(ids) - 1

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(f" {token}" for token in ids)

    def prompts(self, tickets: Sequence[Ticket], labels: Sequence[Mapping[str, str]] | None = None) -> list[Prompt]:
        own = [prompt_of(int(ticket.id), int(ticket.body)) for ticket in tickets]
        return [Prompt((*ids[: self._room], 3) if labels is None else (*ids, 4, 5), False) for ids in own]

    _room = 24  # of the ticket, for labels: longer ones are cut otherwise than for the reply

    def predict(self, states: Any) -> list[Prediction]:
        return [Prediction({"length": str(int(one[0]))}, {"length": {str(int(one[0])): 1.0}}, {}) for one in states]

    def applicable(self, _prediction: Prediction) -> dict[str, bool]:
        return {"length": True}

    def needs_review(self, _prediction: Prediction) -> bool:
        return False

    def row(self, prompt: Prompt, on_token: Any = None) -> Row:
        options = DecodingConfig(max_new_tokens=self.limit)
        handed_over = len(prompt.ids) - 2 if self.uses_classifier_prefix else 0
        return Row(prompt.ids, WRITER, options, READER if handed_over else "", handed_over, on_token)

    def text(self, ids: Sequence[int]) -> str:
        return self.decode(ids).strip()


def scripted_system(
    sizes: ContextSizes, hand_over: bool = True, limit: int = 12
) -> tuple[Any, ScriptedContext, ScriptedStages]:
    engine, context = scripted_engine(sizes)
    stages: Any = ScriptedStages(limit=limit, uses_classifier_prefix=hand_over)
    return TwoStage(stages, engine, stages, engine, guard=None), context, stages


def expected_reply(stages: ScriptedStages, ticket: Ticket) -> str:
    return stages.text(expected(stages.row(stages.prompts([ticket], [{}])[0])))
