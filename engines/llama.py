"""GGUF models on llama.cpp: contexts of many sequences over one base, adapters swapped between calls."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.kv_allocator import ContextSizes
from engines.llama_context import LlamaContext
from engines.llama_model import LlamaModel, LlamaOptions
from engines.sequences import SequenceEngine


class LlamaEngine(SequenceEngine):
    """One copy of the weights; the adapter is chosen per row.

    An adapter that uses only the first blocks gets a small context of its own, which computes only those. If replies
    reuse its KV cache, it shares the replies' context, which computes all blocks.
    """

    def __init__(
        self,
        base: Path,
        adapters: Mapping[str, Path | None],
        adapter_prefixes: Mapping[str, Sequence[int]],
        end_ids: Sequence[int],
        sizes: ContextSizes,
        options: LlamaOptions = LlamaOptions(),  # noqa: B008  # frozen
        blocks: Mapping[str, int] | None = None,
        reads_for_replies: bool = False,
    ) -> None:
        """Load base and adapters.

        Args:
            adapters: LoRA GGUF files by name; None for the base as it is.
            adapter_prefixes: ids that all prompts of an adapter begin with, by its name.
            end_ids: ids that end a reply.
            options: its `sequences` and `cells` follow from `sizes` and the adapter prefixes.
            blocks: how many blocks of the base an adapter's states come from, by its name: one adapter at most.
            reads_for_replies: rows reuse the KV cache of that adapter.

        Raises:
            InputError: a file is unreadable or does not fit.
        """
        model = LlamaModel(base, adapters, options)
        prefixes = {name: adapter_prefixes.get(name, ()) for name in adapters}
        shallow_adapter, block_count = next(iter((blocks or {}).items()), ("", None))
        self._shallow: tuple[str, SequenceEngine] | None = None
        if block_count and not reads_for_replies and len(adapters) > 1:
            shallow_prefix = {shallow_adapter: prefixes.pop(shallow_adapter)}
            shallow_sizes = ContextSizes(
                sizes.max_cached_prefixes, options.batch, sizes.max_cached_prefixes, sizes.label_cells
            )
            context = _context(model, shallow_prefix, shallow_sizes, options, block_count)
            self._shallow = (
                shallow_adapter,
                SequenceEngine(context, shallow_prefix, end_ids, shallow_sizes, options.batch),
            )
            sizes, block_count = replace(sizes, label_cells=0), None
        context = _context(model, prefixes, sizes, options, block_count, reads_for_replies)
        super().__init__(context, prefixes, end_ids, sizes, options.batch)

    def encode_and_cache(
        self, prompts: Sequence[Sequence[int]], adapter: str, lengths: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return what `encode` returns; keep the cache of the first `lengths[i]` ids of every prompt.

        Nothing is kept where the adapter reads in a context of its shallow_prefix.
        """
        if self._shallow and self._shallow[0] == adapter:
            return self._shallow[1].encode(prompts, adapter)
        return super().encode_and_cache(prompts, adapter, lengths)


def _context(
    model: LlamaModel,
    adapter_prefixes: Mapping[str, Sequence[int]],
    sizes: ContextSizes,
    options: LlamaOptions,
    blocks: int | None,
    runs_later_blocks: bool = False,
) -> LlamaContext:
    """Make a context with a sequence for every prefix beside those of `sizes`."""
    cells = sizes.all_cells + sum(map(len, adapter_prefixes.values()))
    options = replace(options, sequences=len(adapter_prefixes) + sizes.sequences, cells=cells)
    return LlamaContext(model, options, blocks, runs_later_blocks)
