"""GGUF models on llama.cpp: one context, many sequences, adapters swapped between stages."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backbone.config import DecodingConfig
from engines.llama_api import LlamaContext, LlamaOptions
from engines.llama_slots import CachedPrefix, Slot, plan_call
from engines.protocols import OnDone, OnToken, SharedPrefix
from engines.sampling import TokenChooser
from tickets.errors import WorkError


class LlamaEngine:
    """One copy of the weights in one context; the adapter is chosen per call.

    The constant beginning of the prompts is computed once per adapter and shared by all sequences. `generate` continues
    from the KV cache of the last `encode_and_cache` where prompts begin alike.
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
            prefixes: ids that all prompts of an adapter begin with, by its name.
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
        self._computed: set[str] = set()  # adapters whose prefix is in the context
        self._sequences = range(len(names), len(names) + options.sequences)  # of tickets
        self._free = deque(self._sequences)
        self._cached: dict[tuple[int, ...], CachedPrefix] = {}  # by the ids
        self._cells = options.cells
        self._batch = options.batch
        self._end_ids = frozenset(end_ids)

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Return the hidden state after the final norm at the last token of every prompt, (prompts, hidden).

        All tokens but the last of each prompt are computed without outputs. The last ones then form one small batch in
        embedding mode, which would otherwise run the vocabulary head for every token (docs/decisions.md).
        """
        states = self.encode_and_cache(prompts, adapter, [0] * len(prompts))
        self._clear()
        return states

    def encode_and_cache(
        self, prompts: Sequence[Sequence[int]], adapter: str, lengths: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return what `encode` returns; keep the cache of the first `lengths[row]` ids of every prompt.

        Where there is no room for all, the caches of the last groups are kept.
        """
        states = np.empty((len(prompts), self._context.hidden_size), dtype=np.float32)
        self._clear()
        self._activate(adapter)
        try:
            for rows in self._groups(prompts, adapter):
                need = sum(self._cells_needed(prompts[row], adapter) for row in rows)
                if len(rows) > len(self._free) or need + self._cached_cells() > self._cells:
                    self._clear()
                states[rows] = self._encode_group([prompts[row] for row in rows], adapter, [lengths[r] for r in rows])
        except BaseException:
            self._clear()
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
    ) -> list[list[int]]:
        """Return the ids generated after every prompt, in order, without the end token.

        Continuous batching (Yu et al. 2022, Orca): each decode call advances all tickets in flight by one token. A
        finished ticket's place is taken at once, and its prompt is computed before the others go on.

        Args:
            options: one for all prompts, or one each.
            shared_prefix: what is processed under another adapter; not computed again where `encode_and_cache` kept it.

        Raises:
            WorkError: a prompt is longer than the context.
        """
        prefix_adapter = shared_prefix.adapter if shared_prefix else adapter
        lengths = shared_prefix.lengths if shared_prefix else [0] * len(prompts)
        prefixes = [tuple(prompt[:length]) for prompt, length in zip(prompts, lengths, strict=True)]
        self._drop_cached_except(set(prefixes))
        self._activate(prefix_adapter)
        each = [options] * len(prompts) if isinstance(options, DecodingConfig) else options
        # tickets that hold a sequence already go first
        waiting = deque(sorted(range(len(prompts)), key=lambda row: prefixes[row] not in self._cached))
        live: list[Slot] = []
        generated: list[list[int]] = [[] for _ in prompts]
        try:
            while waiting or live:
                while waiting:
                    row = waiting[0]
                    slot = self._admit(row, prompts[row], prefixes[row], prefix_adapter, each[row], live)
                    if slot is None:
                        break
                    live.append(slot)
                    waiting.popleft()
                for slot in self._step(live, adapter, prefix_adapter, on_token):
                    self._release(slot.sequence)
                    live.remove(slot)
                    generated[slot.row] = slot.generated
                    if on_done:
                        on_done(slot.row, slot.generated)
        finally:
            self._clear()  # an interrupted call leaves nothing behind
        return generated

    def _clear(self) -> None:
        """Forget every ticket; the adapters' prefixes stay."""
        for sequence in self._sequences:
            self._context.forget(sequence)
        self._free = deque(self._sequences)
        self._cached = {}

    def _release(self, sequence: int) -> None:
        """Empty a sequence for another ticket."""
        self._context.forget(sequence)
        self._free.append(sequence)

    def _drop_cached_except(self, prefixes: AbstractSet[tuple[int, ...]]) -> None:
        for ids in self._cached.keys() - prefixes:
            self._release(self._cached.pop(ids).sequence)

    def _cached_cells(self, but: tuple[int, ...] = ()) -> int:
        return sum(cached.cells for ids, cached in self._cached.items() if ids != but)

    def _activate(self, adapter: str) -> None:
        """Switch adapters, and compute the adapter's prefix the first time."""
        self._context.activate(adapter)
        prefix = self._prefixes[adapter]
        if prefix and adapter not in self._computed:
            self._prefill([(prefix, 0, self._prefix_sequence[adapter])])
            self._computed.add(adapter)

    def _covered(self, prompt: Sequence[int], adapter: str) -> int:
        """Return how many ids of the prompt the adapter's prefix covers; at least one id is left to compute."""
        prefix = self._prefixes[adapter]
        return len(prefix) if len(prompt) > len(prefix) and list(prompt[: len(prefix)]) == prefix else 0

    def _cells_needed(self, prompt: Sequence[int], adapter: str) -> int:
        return len(prompt) - self._covered(prompt, adapter)

    def _start(self, prompt: Sequence[int], adapter: str, sequence: int) -> int:
        """Let a sequence begin with the adapter's prefix; return the position to go on from."""
        covered = self._covered(prompt, adapter)
        if covered:
            self._context.copy(self._prefix_sequence[adapter], sequence)
        return covered

    def _groups(self, prompts: Sequence[Sequence[int]], adapter: str) -> Iterator[list[int]]:
        """Yield rows that fit into the context together, longest prompts first."""
        group: list[int] = []
        used = 0
        for row in sorted(range(len(prompts)), key=lambda i: -len(prompts[i])):
            need = self._cells_needed(prompts[row], adapter)
            self._check_room(need)
            if group and (used + need > self._cells or len(group) == len(self._sequences)):
                yield group
                group, used = [], 0
            group.append(row)
            used += need
        if group:
            yield group

    def _encode_group(
        self, prompts: Sequence[Sequence[int]], adapter: str, lengths: Sequence[int]
    ) -> NDArray[np.float32]:
        sequences = [self._free.popleft() for _ in prompts]
        starts = [self._start(p, adapter, sequence) for p, sequence in zip(prompts, sequences, strict=True)]
        parts = zip(prompts, starts, sequences, strict=True)
        self._prefill([(list(p[start:-1]), start, sequence) for p, start, sequence in parts])
        last = np.array([p[-1] for p in prompts], dtype=np.int32)
        positions = np.array([len(p) - 1 for p in prompts], dtype=np.int32)
        self._context.want_states(True)
        try:
            self._context.decode(last, positions, np.array(sequences, np.int32), np.ones(len(prompts), np.int8))
            states = self._context.states(len(prompts))
        finally:
            self._context.want_states(False)
        for prompt, start, sequence, length in zip(prompts, starts, sequences, lengths, strict=True):
            ids = tuple(prompt[:length])
            if length <= start or ids in self._cached:
                self._release(sequence)
            else:
                self._context.forget(sequence, length)
                self._cached[ids] = CachedPrefix(sequence, length - start)
        return states

    def _prefill(self, parts: Sequence[tuple[list[int], int, int]]) -> None:
        """Compute ids without outputs, in full batches over several sequences.

        Args:
            parts: ids, position of the first, and sequence.
        """
        ids = np.concatenate([np.array(part, dtype=np.int32) for part, _, _ in parts])
        positions = np.concatenate([np.arange(at, at + len(part), dtype=np.int32) for part, at, _ in parts])
        sequences = np.concatenate([np.full(len(part), sequence, dtype=np.int32) for part, _, sequence in parts])
        for start in range(0, len(ids), self._batch):
            end = min(start + self._batch, len(ids))
            no_outputs = np.zeros(end - start, dtype=np.int8)
            self._context.decode(ids[start:end], positions[start:end], sequences[start:end], no_outputs)

    def _admit(
        self,
        row: int,
        prompt: Sequence[int],
        prefix: tuple[int, ...],
        prefix_adapter: str,
        options: DecodingConfig,
        live: Sequence[Slot],
    ) -> Slot | None:
        """Return a slot for a prompt; None while the tickets in flight may need the room."""
        need = self._cells_needed(prompt, prefix_adapter) + options.max_new_tokens
        room = self._cells - sum(slot.reserved for slot in live) - self._cached_cells(but=prefix)
        if need > room or not (self._free or prefix in self._cached):
            if live:
                return None
            self._drop_cached_except({prefix})
        self._check_room(need)
        cached = self._cached.pop(prefix, None)
        sequence = cached.sequence if cached else self._free.popleft()
        start = len(prefix) if cached else self._start(prompt, prefix_adapter, sequence)
        return Slot(
            row=row,
            sequence=sequence,
            pending=list(prompt[start:]),
            position=start,
            reserved=need,
            prefix_length=len(prefix),
            limit=options.max_new_tokens,
            chooser=TokenChooser(options, row, prompt),
        )

    def _check_room(self, need: int) -> None:
        if need > self._cells:
            raise WorkError(
                f"a prompt with its reply needs {need} tokens of context, expected at most {self._cells}; lower "
                "decoding.max_new_tokens or training.max_length"
            )

    def _step(self, live: list[Slot], adapter: str, prefix_adapter: str, on_token: OnToken | None) -> list[Slot]:
        """Make one decode call, under one adapter; return the tickets that it completed."""
        call = plan_call(live, self._batch)
        self._context.activate(prefix_adapter if call.under_prefix_adapter else adapter)
        self._context.decode(call.ids, call.positions, call.sequences, call.outputs)
        finished = []
        for (slot, count), row in zip(call.taken, call.last_rows, strict=True):
            slot.position += count
            slot.pending = slot.pending[count:]
            if not slot.pending and self._advance(slot, row, on_token):
                finished.append(slot)
        return finished

    def _advance(self, slot: Slot, row: int, on_token: OnToken | None) -> bool:
        """Choose the next token of a ticket from the logits at `row`; return whether it is complete."""
        token = slot.chooser.choose(self._context.logits(row))
        if token in self._end_ids:
            return True
        slot.generated.append(token)
        slot.pending = [token]
        if on_token:
            on_token(slot.row, token)
        return len(slot.generated) >= slot.limit
