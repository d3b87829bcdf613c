"""GGUF models on llama.cpp: one context, many sequences, adapters swapped between stages."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbone.config import DecodingConfig
from engines.llama_api import Grammar, LlamaContext, LlamaOptions
from engines.protocols import OnDone, OnToken, SharedPrefix
from engines.sampling import TokenChooser
from tickets.errors import WorkError

_SHORT = 63  # tokens of many tickets in one call, when each has few: writing, or labels after a adapter_mask


@dataclass(frozen=True)
class _Kept:
    """What `encode_and_cache` left of a prompt in the context: its sequence, and how many cells it has of its own."""

    sequence: int
    cells: int


@dataclass
class _Slot:
    """A ticket in flight: where its keys and values are, what is still to be computed, what was written."""

    row: int
    sequence: int
    pending: list[int]
    position: int
    reserved: int  # cells it may come to use
    adapter_mask: int  # where the adapter begins; another one reads what is before
    limit: int
    chooser: TokenChooser
    grammar: Grammar | None
    written: list[int] = field(default_factory=list)


class LlamaEngine:
    """One copy of the weights in one context; the adapter is chosen per call.

    The constant beginning of the prompts is computed once per adapter and shared by all sequences. Where the generator
    goes on from the classifier's reading, the tickets of the last `encode_and_cache` are not read again.
    """

    def __init__(
        self,
        base: Path,
        adapters: Mapping[str, Path | None],
        prefixes: Mapping[str, Sequence[int]],
        end_ids: Sequence[int],
        options: LlamaOptions,
    ) -> None:
        """Load base and adapters.

        Args:
            adapters: LoRA GGUF files by name; None for the base as it is.
            prefixes: ids that the prompts of an adapter begin with, by its name.
            end_ids: ids that end a reply.
            options: `sequences` counts tickets; one more per adapter is added for its prefix.

        Raises:
            InputError: a file is unreadable or does not fit.
        """
        names = list(adapters)
        room = sum(len(prefixes.get(name, ())) for name in names)
        self._context = LlamaContext(base, adapters, options.enlarged(len(names), room))
        self._prefixes = {name: list(prefixes.get(name, ())) for name in names}
        self._prefix_sequence = {name: i for i, name in enumerate(names)}
        self._computed: set[str] = set()
        self._places = range(len(names), len(names) + options.sequences)
        self._free = deque(self._places)
        self._kept: dict[tuple[int, ...], _Kept] = {}  # by the ids
        self._cells = options.cells
        self._batch = options.batch
        self._end_ids = frozenset(end_ids)

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Hidden state after the final norm at the last token of every prompt, (prompts, hidden), in order.

        All tokens but the last of each prompt are computed without outputs; the last ones then form one small batch in
        embedding mode, which otherwise would run the vocabulary head for every token (docs/decisions.md).
        """
        states = self.encode_and_cache(prompts, adapter, [0] * len(prompts))
        self._empty()
        return states

    def encode_and_cache(
        self, prompts: Sequence[Sequence[int]], adapter: str, keep: Sequence[int]
    ) -> NDArray[np.float32]:
        """What `encode` gives; the first `keep[row]` ids of every prompt stay in the context for the next `generate`.

        Where there is no room for all, those of the last groups stay.
        """
        states = np.empty((len(prompts), self._context.hidden_size), dtype=np.float32)
        self._empty()
        self._activate(adapter)
        try:
            for rows in self._groups(prompts, adapter):
                need = sum(self._own(prompts[row], adapter) for row in rows)
                if len(rows) > len(self._free) or need + self._kept_cells() > self._cells:
                    self._empty()
                self._encode_group([prompts[row] for row in rows], rows, adapter, states, [keep[row] for row in rows])
        except BaseException:
            self._empty()
            raise
        return states

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        adapter: str,
        options: DecodingConfig | Sequence[DecodingConfig],
        on_token: OnToken | None = None,
        on_done: OnDone | None = None,
        shared_prefix: SharedPrefix | None = None,
        grammar: str | None = None,
    ) -> list[list[int]]:
        """Ids written after every prompt, in order, without the end token.

        Continuous batching (Yu et al. 2022, Orca): every decode step advances all live tickets by one token; a finished
        ticket's place is taken at once, and its prompt read before the others go on.

        Args:
            options: one for all prompts, or one each.
            shared_prefix: what another adapter reads, where it has not done so for the last `encode_and_cache`.
            grammar: GBNF that what is written must follow.

        Raises:
            InputError: the grammar cannot be parsed.
            WorkError: a prompt is longer than the context.
        """
        reader = shared_prefix.adapter if shared_prefix else adapter
        counts = shared_prefix.lengths if shared_prefix else [0] * len(prompts)
        starts = [tuple(prompt[:count]) for prompt, count in zip(prompts, counts, strict=True)]
        self._keep_only(set(starts))
        self._activate(reader)
        each = [options] * len(prompts) if isinstance(options, DecodingConfig) else options
        # who has a place goes first
        waiting = deque(sorted(range(len(prompts)), key=lambda row: starts[row] not in self._kept))
        live: list[_Slot] = []
        written: list[list[int]] = [[] for _ in prompts]
        try:
            while waiting or live:
                while waiting:
                    row = waiting[0]
                    slot = self._admit(row, prompts[row], starts[row], reader, each[row], live, grammar)
                    if slot is None:
                        break
                    live.append(slot)
                    waiting.popleft()
                for slot in self._step(live, adapter, reader, on_token):
                    self._release(slot.sequence)
                    live.remove(slot)
                    written[slot.row] = slot.written
                    if on_done:
                        on_done(slot.row, slot.written)
        finally:
            self._empty()  # an interrupted call leaves nothing behind
        return written

    def _empty(self) -> None:
        """Forget every ticket, wherever its reading or writing was interrupted; prefixes stay."""
        for sequence in self._places:
            self._context.forget(sequence)
        self._free = deque(self._places)
        self._kept = {}

    def _release(self, sequence: int) -> None:
        """Empty a sequence for another ticket."""
        self._context.forget(sequence)
        self._free.append(sequence)

    def _keep_only(self, wanted: AbstractSet[tuple[int, ...]]) -> None:
        """Release what was read for other replies."""
        for ids in self._kept.keys() - wanted:
            self._release(self._kept.pop(ids).sequence)

    def _kept_cells(self, but: tuple[int, ...] = ()) -> int:
        return sum(kept.cells for ids, kept in self._kept.items() if ids != but)

    def _activate(self, adapter: str) -> None:
        """Switch, and compute the adapter's prefix where that has not been done."""
        self._context.activate(adapter)
        prefix = self._prefixes[adapter]
        if prefix and adapter not in self._computed:
            self._decode([(prefix, 0, self._prefix_sequence[adapter])])
            self._computed.add(adapter)

    def _shared(self, prompt: Sequence[int], adapter: str) -> int:
        """How many ids of the prompt the adapter's prefix covers; at least one id must be left to compute."""
        prefix = self._prefixes[adapter]
        return len(prefix) if len(prompt) > len(prefix) and list(prompt[: len(prefix)]) == prefix else 0

    def _own(self, prompt: Sequence[int], adapter: str) -> int:
        """How many cells the prompt needs beside the prefix."""
        return len(prompt) - self._shared(prompt, adapter)

    def _start(self, prompt: Sequence[int], adapter: str, sequence: int) -> int:
        """Let a sequence begin with the prefix; returns the position to go on from."""
        shared = self._shared(prompt, adapter)
        if shared:
            self._context.copy(self._prefix_sequence[adapter], sequence)
        return shared

    def _groups(self, prompts: Sequence[Sequence[int]], adapter: str) -> Iterator[list[int]]:
        """Rows that fit into the context together, similar lengths first to last."""
        group: list[int] = []
        used = 0
        for row in sorted(range(len(prompts)), key=lambda i: -len(prompts[i])):
            need = self._own(prompts[row], adapter)
            self._check_room(need)
            if group and (used + need > self._cells or len(group) == len(self._places)):
                yield group
                group, used = [], 0
            group.append(row)
            used += need
        if group:
            yield group

    def _encode_group(
        self,
        prompts: list[Sequence[int]],
        rows: list[int],
        adapter: str,
        states: NDArray[np.float32],
        keep: Sequence[int],
    ) -> None:
        sequences = [self._free.popleft() for _ in prompts]
        starts = [self._start(p, adapter, sequence) for p, sequence in zip(prompts, sequences, strict=True)]
        try:
            parts = zip(prompts, starts, sequences, strict=True)
            self._decode([(list(p[start:-1]), start, sequence) for p, start, sequence in parts])
            self._context.want_states(True)
            last = np.array([p[-1] for p in prompts], dtype=np.int32)
            positions = np.array([len(p) - 1 for p in prompts], dtype=np.int32)
            self._context.decode(last, positions, np.array(sequences, np.int32), np.ones(len(prompts), np.int8))
            states[rows] = self._context.states(len(prompts))
        finally:
            self._context.want_states(False)
        for prompt, start, sequence, count in zip(prompts, starts, sequences, keep, strict=True):
            ids = tuple(prompt[:count])
            if count <= start or ids in self._kept:
                self._release(sequence)
            else:
                self._context.forget(sequence, count)
                self._kept[ids] = _Kept(sequence, count - start)

    def _decode(self, parts: Sequence[tuple[list[int], int, int]]) -> None:
        """Compute ids of (ids, position of the first, sequence) without outputs, full batches of several sequences."""
        ids = np.concatenate([np.array(part, dtype=np.int32) for part, _, _ in parts])
        positions = np.concatenate([np.arange(at, at + len(part), dtype=np.int32) for part, at, _ in parts])
        sequences = np.concatenate([np.full(len(part), sequence, dtype=np.int32) for part, _, sequence in parts])
        for start in range(0, len(ids), self._batch):
            end = min(start + self._batch, len(ids))
            none = np.zeros(end - start, dtype=np.int8)
            self._context.decode(ids[start:end], positions[start:end], sequences[start:end], none)

    def _admit(
        self,
        row: int,
        prompt: Sequence[int],
        read: tuple[int, ...],
        reader: str,
        options: DecodingConfig,
        live: Sequence[_Slot],
        grammar: str | None,
    ) -> _Slot | None:
        """A slot for a prompt that begins with what the `reader` reads; None while the live ones may need the room."""
        need = self._own(prompt, reader) + options.max_new_tokens
        room = self._cells - sum(slot.reserved for slot in live) - self._kept_cells(but=read)
        if need > room or not (self._free or read in self._kept):
            if live:
                return None
            self._keep_only({read})
        self._check_room(need)
        kept = self._kept.pop(read, None)
        sequence = kept.sequence if kept else self._free.popleft()
        start = len(read) if kept else self._start(prompt, reader, sequence)
        return _Slot(
            row=row,
            sequence=sequence,
            pending=list(prompt[start:]),
            position=start,
            reserved=need,
            adapter_mask=len(read),
            limit=options.max_new_tokens,
            chooser=TokenChooser(options, row, prompt),
            grammar=Grammar(self._context, grammar) if grammar else None,
        )

    def _check_room(self, need: int) -> None:
        if need > self._cells:
            raise WorkError(
                f"a prompt with its reply needs {need} tokens of context, expected at most {self._cells}; lower "
                "decoding.max_new_tokens or training.max_length"
            )

    def _step(self, live: list[_Slot], adapter: str, reader: str, on_token: OnToken | None) -> list[_Slot]:
        """One decode call, of one adapter; returns the tickets that ended with it.

        Prompts go before writing, and never in the same call: from 64 tokens on llama.cpp's attention takes 64 queries
        against every cell that any of them sees, which for 64 tickets at once is half of the time. With fewer, each
        passes over the cells of the others. So what every ticket has little of goes in small calls: writing, and the
        labels after a adapter_mask.
        """
        unread = [slot for slot in live if slot.position < slot.adapter_mask]
        reading = unread or [slot for slot in live if len(slot.pending) > 1]
        self._context.activate(reader if unread else adapter)
        long = unread or any(len(slot.pending) > _SHORT for slot in reading)
        room = self._batch if long else min(self._batch, _SHORT)
        taken: list[tuple[_Slot, int]] = []
        for slot in reading or sorted(live, key=lambda slot: len(slot.written)):
            count = min(slot.adapter_mask - slot.position if unread else len(slot.pending), room)
            if count:
                taken.append((slot, count))
                room -= count
        ids = np.array([token for slot, count in taken for token in slot.pending[:count]], dtype=np.int32)
        positions = np.array([slot.position + i for slot, count in taken for i in range(count)], dtype=np.int32)
        sequences = np.repeat([slot.sequence for slot, _ in taken], [count for _, count in taken]).astype(np.int32)
        outputs = np.zeros(len(ids), dtype=np.int8)
        ends = np.cumsum([count for _, count in taken]) - 1
        for (slot, count), end in zip(taken, ends, strict=True):
            outputs[end] = count == len(slot.pending)
        self._context.decode(ids, positions, sequences, outputs)
        finished = []
        for (slot, count), end in zip(taken, ends.tolist(), strict=True):
            slot.position += count
            slot.pending = slot.pending[count:]
            if not slot.pending and self._advance(slot, end, on_token):
                finished.append(slot)
        return finished

    def _advance(self, slot: _Slot, output: int, on_token: OnToken | None) -> bool:
        """Choose the next token of a ticket; True when it is complete."""
        scores = self._context.logits(output)
        token = slot.chooser.choose(slot.grammar.masked(scores) if slot.grammar else scores)
        if token in self._end_ids:
            return True
        if slot.grammar:
            slot.grammar.accept(token)
        slot.written.append(token)
        slot.pending = [token]
        if on_token:
            on_token(slot.row, token)
        return len(slot.written) >= slot.limit
