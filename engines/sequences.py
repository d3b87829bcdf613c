"""Continuous batching on a context of many sequences: what to compute next, and for whom. No calls of llama.cpp."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.kv_allocator import CachedPrefix, ContextSizes, KvAllocator
from engines.protocols import Row
from engines.sampling import TokenChooser
from engines.slots import Slot, plan_call
from tickets.errors import WorkError


class Context(Protocol):
    """A base with adapters and a KV cache; `engines.llama_context.LlamaContext` documents the methods."""

    hidden_size: int
    gives_all_states: bool  # hidden states of every token come at no cost, without running the LM head

    def activate(self, adapter: str) -> None:
        """Compute with this adapter from now on."""

    def decode(
        self,
        ids: NDArray[np.int32],
        positions: NDArray[np.int32],
        sequences: NDArray[np.int32],
        outputs: NDArray[np.int8],
    ) -> None:
        """Compute tokens, all (tokens,); `outputs` marks those whose logits are wanted."""

    def logits(self, row: int) -> NDArray[np.float32]:
        """Return scores (vocabulary,) of the token at `row` of the last call."""

    def states(self, rows: Sequence[int] | NDArray[np.intp]) -> NDArray[np.float32]:
        """Return hidden states of some tokens of the last call, (rows, hidden)."""

    def want_states(self, enabled: bool) -> None:
        """Choose whether the next calls give hidden states."""

    def forget(self, sequence: int, start: int = 0) -> None:
        """Drop keys and values of a sequence from position `start` on."""

    def copy(self, source: int, target: int) -> None:
        """Let `target` begin with the keys and values of `source`."""


class SequenceEngine:
    """Reads prompts and writes replies on one context.

    Continuous batching (Yu et al. 2022, Orca): each step is one decode call, which advances the rows in flight by one
    token. Rows are admitted and ended between steps, and prompts are read for labels between them. The constant
    beginning of the prompts is computed once per adapter and shared by all sequences.
    """

    def __init__(
        self,
        context: Context,
        adapter_prefixes: Mapping[str, Sequence[int]],
        end_ids: Sequence[int],
        sizes: ContextSizes,
        batch: int,
    ) -> None:
        """Take the context for its own.

        Args:
            adapter_prefixes: ids that all prompts of an adapter begin with, by its name. Each adapter has a sequence,
                in this order; the sequences of `sizes` follow.
            end_ids: ids that end a reply.
            batch: most tokens of a decode call.
        """
        self._context = context
        self._adapter_prefixes = {name: list(ids) for name, ids in adapter_prefixes.items()}
        self._adapter_sequence = {name: i for i, name in enumerate(adapter_prefixes)}
        self._computed: set[str] = set()  # adapters whose prefix is in the context
        first = len(self._adapter_prefixes)
        self._allocator = KvAllocator(sizes, range(first, first + sizes.sequences), context.forget)
        self._live: list[Slot] = []
        self._end_ids = frozenset(end_ids)
        self._batch = batch

    @property
    def hidden_size(self) -> int:
        """Length of a hidden state."""
        return self._context.hidden_size

    @property
    def cached_prefixes(self) -> int:
        """How many prefixes `encode_and_cache` keeps at present."""
        return self._allocator.cached_prefixes

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Return the hidden state after the final norm at the last token of every prompt, (prompts, hidden).

        All tokens but the last of each prompt are computed without outputs. The last ones then form one small batch in
        embedding mode, which would otherwise run the vocabulary head for every token (docs/decisions.md). A context
        that stops before that head computes whole prompts at once.

        Raises:
            WorkError: a prompt needs more cells than the context has free for labels.
        """
        return self.encode_and_cache(prompts, adapter, [0] * len(prompts))

    def encode_and_cache(
        self, prompts: Sequence[Sequence[int]], adapter: str, lengths: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return what `encode` returns; keep the cache of the first `lengths[i]` ids of every prompt.

        Where there is no room for all, those of the first prompts are kept.
        """
        states = np.empty((len(prompts), self._context.hidden_size), dtype=np.float32)
        self._activate(adapter)
        needs = [len(prompt) - self._covered(prompt, adapter) for prompt in prompts]
        done = 0
        while done < len(prompts):
            sequences = self._allocator.label_group(needs[done:])
            end = done + len(sequences)
            states[done:end] = self._encode_group(prompts[done:end], adapter, lengths[done:end], sequences)
            done = end
        return states

    def drop(self, prefix: Sequence[int]) -> None:
        """Give up what is kept of a prefix, if anything is."""
        self._allocator.drop(tuple(prefix))

    def admit(self, row: Row) -> bool:
        """Take a row if there is room; it reuses what `encode_and_cache` kept of its prefix.

        Raises:
            WorkError: the row needs more cells than there are.
        """
        adapter = row.prefix_adapter if row.prefix_length else row.adapter
        covered = self._covered(row.prompt, adapter)
        admitted = self._allocator.admit(len(row.prompt) - covered + row.options.max_new_tokens, row.prefix)
        if admitted is None:
            return False
        sequence, is_cached = admitted
        start = row.prefix_length if is_cached else covered
        if start and not is_cached:
            self._activate(adapter)
            self._context.copy(self._adapter_sequence[adapter], sequence)
        chooser = TokenChooser(row.options, row.prompt)
        self._live.append(Slot(row, sequence, list(row.prompt[start:]), start, chooser))
        return True

    def step(self) -> list[Row]:
        """Make one decode call; return the rows that ended, those with an `error` too."""
        if not self._live:
            return []
        call = plan_call(self._live, self._batch)
        ended = []
        try:
            self._context.activate(call.adapter)
            self._context.decode(call.ids, call.positions, call.sequences, call.outputs)
        except WorkError as error:
            for slot, _ in call.taken:
                slot.row.error = error
            ended = [slot for slot, _ in call.taken]
        else:
            for (slot, count), output in zip(call.taken, call.last_rows, strict=True):
                slot.position += count
                slot.pending = slot.pending[count:]
                if not slot.pending and self._advance(slot, output):
                    ended.append(slot)
        for slot in ended:
            self._remove(slot)
        return [slot.row for slot in ended]

    def end(self, row: Row) -> None:
        """Stop writing a row, if it is in flight, and free its place."""
        slot = next((slot for slot in self._live if slot.row is row), None)
        if slot:
            self._remove(slot)

    def _remove(self, slot: Slot) -> None:
        self._live.remove(slot)
        self._allocator.release(slot.sequence)

    def _advance(self, slot: Slot, output: int) -> bool:
        """Choose the next token of a row from the logits at `output`; return whether the row has ended."""
        try:
            token = slot.chooser.choose(self._context.logits(output))
        except WorkError as error:
            slot.row.error = error
            return True
        if token in self._end_ids:
            return True
        slot.pending = [token]
        slot.row.write(token)
        return slot.row.error is not None or len(slot.row.written) >= slot.row.options.max_new_tokens

    def _activate(self, adapter: str) -> None:
        """Switch adapters, and compute the adapter's prefix the first time."""
        self._context.activate(adapter)
        prefix = self._adapter_prefixes[adapter]
        if prefix and adapter not in self._computed:
            self._prefill([(prefix, 0, self._adapter_sequence[adapter])])
            self._computed.add(adapter)

    def _covered(self, prompt: Sequence[int], adapter: str) -> int:
        """Return how many ids of the prompt the adapter's prefix covers; at least one id is left to compute."""
        prefix = self._adapter_prefixes[adapter]
        return len(prefix) if len(prompt) > len(prefix) and list(prompt[: len(prefix)]) == prefix else 0

    def _encode_group(
        self, prompts: Sequence[Sequence[int]], adapter: str, lengths: Sequence[int], sequences: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return the states of prompts, each computed in its sequence, which is kept or released."""
        starts = [self._covered(prompt, adapter) for prompt in prompts]
        held_ids: set[int] = set()
        try:
            for start, sequence in zip(starts, sequences, strict=True):
                if start:
                    self._context.copy(self._adapter_sequence[adapter], sequence)
            parts = list(zip(prompts, starts, sequences, strict=True))
            if self._context.gives_all_states:
                states = self._whole_states([(list(p[start:]), start, sequence) for p, start, sequence in parts])
            else:
                self._prefill([(list(p[start:-1]), start, sequence) for p, start, sequence in parts])
                states = self._last_states(prompts, sequences)
            for prompt, start, sequence, length in zip(prompts, starts, sequences, lengths, strict=True):
                if length > start and self._allocator.keep(
                    tuple(prompt[:length]), CachedPrefix(sequence, length - start)
                ):
                    held_ids.add(sequence)
                    self._context.forget(sequence, length)
        finally:
            for sequence in sequences:
                if sequence not in held_ids:
                    self._allocator.release(sequence)
        return states

    def _last_states(self, prompts: Sequence[Sequence[int]], sequences: Sequence[int]) -> NDArray[np.float32]:
        """Return the states at the last ids of prompts of which all before are computed."""
        last = np.array([prompt[-1] for prompt in prompts], dtype=np.int32)
        positions = np.array([len(prompt) - 1 for prompt in prompts], dtype=np.int32)
        self._context.want_states(True)
        try:
            self._context.decode(last, positions, np.array(sequences, np.int32), np.ones(len(prompts), np.int8))
            return self._context.states(range(len(prompts)))
        finally:
            self._context.want_states(False)

    def _whole_states(self, parts: Sequence[tuple[list[int], int, int]]) -> NDArray[np.float32]:
        """Compute ids as `_prefill` does, and return the states at the last of every part, (parts, hidden)."""
        ends = np.cumsum([len(part) for part, _, _ in parts]) - 1
        states = np.empty((len(parts), self._context.hidden_size), dtype=np.float32)
        self._context.want_states(True)
        try:
            for start, stop in self._calls(parts):
                inside = (ends >= start) & (ends < stop)
                states[inside] = self._context.states(ends[inside] - start)
            return states
        finally:
            self._context.want_states(False)

    def _prefill(self, parts: Sequence[tuple[list[int], int, int]]) -> None:
        """Compute ids without outputs, in full batches over several sequences.

        Args:
            parts: ids, position of the first, and sequence.
        """
        for _ in self._calls(parts):
            pass

    def _calls(self, parts: Sequence[tuple[list[int], int, int]]) -> Iterator[tuple[int, int]]:
        """Compute ids in full batches; after each, yield which of all ids it held: the first, and one past the last."""
        ids = np.concatenate([np.array(part, dtype=np.int32) for part, _, _ in parts])
        positions = np.concatenate([np.arange(at, at + len(part), dtype=np.int32) for part, at, _ in parts])
        sequences = np.concatenate([np.full(len(part), sequence, dtype=np.int32) for part, _, sequence in parts])
        for start in range(0, len(ids), self._batch):
            stop = min(start + self._batch, len(ids))
            no_outputs = np.zeros(stop - start, dtype=np.int8)
            self._context.decode(ids[start:stop], positions[start:stop], sequences[start:stop], no_outputs)
            yield start, stop
