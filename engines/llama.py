"""GGUF models on llama.cpp: one context, many sequences, adapters swapped between calls."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engines.llama_api import LlamaContext, LlamaOptions
from engines.room import Sizes
from engines.sequences import SequenceEngine


class LlamaEngine(SequenceEngine):
    """One copy of the weights in one llama.cpp context; the adapter is chosen per row."""

    def __init__(
        self,
        base: Path,
        adapters: Mapping[str, Path | None],
        prefixes: Mapping[str, Sequence[int]],
        end_ids: Sequence[int],
        sizes: Sizes,
        options: LlamaOptions = LlamaOptions(),  # noqa: B008  # frozen
    ) -> None:
        """Load base and adapters.

        Args:
            adapters: LoRA GGUF files by name; None for the base as it is.
            prefixes: ids that all prompts of an adapter begin with, by its name.
            end_ids: ids that end a reply.
            options: its `sequences` and `cells` follow from `sizes` and the prefixes.

        Raises:
            InputError: a file is unreadable or does not fit.
        """
        own_prefixes = {name: prefixes.get(name, ()) for name in adapters}
        cells = sizes.all_cells + sum(map(len, own_prefixes.values()))
        options = replace(options, sequences=len(adapters) + sizes.sequences, cells=cells)
        super().__init__(LlamaContext(base, adapters, options), own_prefixes, end_ids, sizes, options.batch)
