"""The reference engine: transformers, on CUDA where there is one, else on the CPU."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backbone.adapters import read_adapter
from backbone.architecture import find_family
from backbone.batches import pad_left
from backbone.buckets import length_buckets
from backbone.config import BaseConfig, DecodingConfig
from backbone.device import pick_device, resolve_formats
from backbone.load import first_blocks, load_options, readable_base
from engines.lora import Adapters
from engines.protocols import Allowed, OnToken, Row, SharedPrefix
from engines.torch_generate import GENERATE_ROWS, generate_ids
from tickets.errors import InputError

_ENCODE_TOKENS = 8192  # padded tokens per batch
_ADMITTED = 4 * GENERATE_ROWS  # enough to make groups of similar length


class TorchEngine:
    """One copy of the base; the adapter is chosen per call. Rows are written to their ends in groups."""

    def __init__(
        self,
        base: Path,
        adapters: Mapping[str, Path],
        config: BaseConfig,
        pad_id: int,
        end_id: int,
        blocks: Mapping[str, int] | None = None,
    ) -> None:
        """Load the base and every adapter.

        Args:
            blocks: how many blocks of the base an adapter's states come from, by its name; all where it is not there.

        Raises:
            InputError: an adapter is unreadable or does not fit the base.
        """
        self._pad_id, self._end_id = pad_id, end_id
        self._rows: list[Row] = []  # in the order in which they came
        device, config = pick_device(), resolve_formats(config)
        causal_class = find_family(base).transformers_class("ForCausalLM")
        self._blocks = dict(blocks or {})
        needed = max(self._blocks.values()) if adapters and adapters.keys() <= self._blocks.keys() else None
        with readable_base(base):
            options = load_options(config, device) | first_blocks(base, needed)
            self._model = causal_class.from_pretrained(base, **options).eval()
        changes = {name: read_adapter(folder) for name, folder in adapters.items()}
        try:
            self._adapters = Adapters(self._model, changes, device)
        except InputError as error:
            raise InputError(f"{', '.join(map(str, adapters.values()))}: {error}") from None

    @property
    def hidden_size(self) -> int:
        """Length of a hidden state."""
        return int(self._model.config.hidden_size)

    @torch.inference_mode()
    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Return the state after the final norm at the last token of every prompt, (prompts, hidden), in order."""
        self._adapters.activate(adapter)
        backbone = _first_blocks(self._model.model, self._blocks.get(adapter))  # the decoder: no vocabulary logits
        states = np.empty((len(prompts), backbone.config.hidden_size), dtype=np.float32)
        for rows in length_buckets([len(ids) for ids in prompts], _ENCODE_TOKENS):
            batch = self._batch([prompts[row] for row in rows])
            hidden = backbone(**batch, use_cache=False).last_hidden_state  # left-padded: (batch, seq, hidden)
            states[rows] = hidden[:, -1].float().cpu().numpy()
        return states

    def admit(self, row: Row) -> bool:
        """Take a row; False where enough for several groups wait."""
        if len(self._rows) == _ADMITTED:
            return False
        self._rows.append(row)
        return True

    @torch.inference_mode()
    def step(self) -> list[Row]:
        """Write the row that came first, and others of similar length, to their ends; return them."""
        if not self._rows:
            return []
        group = self._group()
        first = group[0]
        self._adapters.activate(first.adapter, first.prefix_adapter)
        lengths = [row.prefix_length for row in group]
        generate_ids(
            self._model,
            [row.prompt for row in group],
            first.options,
            self._pad_id,
            self._end_id,
            on_token=lambda i, token: group[i].write(token),
            masked_prefix=(self._adapters.adapter_mask, lengths) if any(lengths) else None,
            stopped=lambda i: group[i].error is not None,
            on_failure=lambda i, error: setattr(group[i], "error", error),
        )
        self._rows = [row for row in self._rows if row not in group]
        return group

    def end(self, row: Row) -> None:
        """Forget a row that waits."""
        if row in self._rows:
            self._rows.remove(row)

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        adapter: str,
        options: DecodingConfig,
        on_token: OnToken | None = None,
        shared_prefix: SharedPrefix | None = None,
        allowed: Allowed | None = None,
    ) -> list[list[int]]:
        """Return ids written after every prompt, in order, without the end token; `on_token` hears of each as it comes.

        An `adapter` that was not loaded leaves the base as it is.
        """
        self._adapters.activate(adapter, shared_prefix.adapter if shared_prefix else None)
        masked = (self._adapters.adapter_mask, shared_prefix.lengths) if shared_prefix else None
        return generate_ids(self._model, prompts, options, self._pad_id, self._end_id, on_token, masked, allowed)

    def _group(self) -> list[Row]:
        """Return the row that came first, and those nearest to it in length that are written in the same way."""

        def way(row: Row) -> tuple[str, str, bool, DecodingConfig]:
            return row.adapter, row.prefix_adapter, row.prefix_length > 0, row.options

        first = self._rows[0]
        alike = [row for row in self._rows if way(row) == way(first)]
        return sorted(alike, key=lambda row: abs(len(row.prompt) - len(first.prompt)))[:GENERATE_ROWS]

    def _batch(self, prompts: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self._model.device) for name, tensor in pad_left(prompts, self._pad_id).items()}


def _first_blocks(decoder: Any, count: int | None) -> Any:
    """Return a decoder of the first blocks and the final norm of another, whose weights they stay."""
    if count is None:
        return decoder
    shallow = copy.copy(decoder)
    shallow._modules = {**decoder._modules, "layers": decoder.layers[:count]}
    return shallow
