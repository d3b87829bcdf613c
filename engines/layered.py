"""The torch engine's computation block by block: a base of any size in the memory of one block.

Every block is loaded once, used on all prompts and dropped. That serves checks of many prompts at a time, not answers:
a reply would need one pass over the weights per token.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import linear

from backbone.adapters import LowRank, read_adapter
from backbone.architecture import find_family
from backbone.batches import pad_left, prefix_mask
from backbone.buckets import length_buckets
from backbone.config import BaseConfig
from backbone.device import computes_bf16, pick_device, resolve_formats
from backbone.load import load_options
from backbone.progress import track
from engines.lora import Adapters
from engines.protocols import SharedPrefix
from tickets.errors import InputError

_TOKENS = 2048  # padded tokens per batch
_BLOCK = "layers.0."
_HEAD_ROWS = 16384  # of the vocabulary head, scored at a time


class LayeredEngine:
    """Reads prompts as `TorchEngine` does, and tells what it would write."""

    def __init__(
        self,
        base: Path,
        adapters: Mapping[str, Path],
        config: BaseConfig,
        pad_id: int,
        blocks: Mapping[str, int] | None = None,
    ) -> None:
        """Look at the adapters; they and the base stay on disk.

        Args:
            blocks: how many blocks of the base an adapter's states come from, by its name; all where it is not there.

        Raises:
            InputError: an adapter is unreadable or changes what the base does not have.
        """
        self._decoder_class = find_family(base).transformers_class("Model")
        self._config = self._decoder_class.config_class.from_pretrained(base)
        self._files = _tensor_files(base)
        self._adapters, self._blocks = dict(adapters), dict(blocks or {})
        for folder in adapters.values():
            self._changes(folder)
        self._pad_id, self._device = pad_id, pick_device()
        config = resolve_formats(config)
        if config.precision == "bf16" and not computes_bf16():  # the same numbers, eight times faster, for a block
            config = config.model_copy(update={"precision": "fp32"})
        self._options = load_options(config, self._device)

    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Return the state after the final norm at the last token of every prompt, (prompts, hidden), in order."""
        states_at_end = np.empty((len(prompts), self._config.hidden_size), dtype=np.float32)
        for rows, states in self._run(prompts, adapter, count=self._blocks.get(adapter)):
            states_at_end[rows] = states[:, -1].float().cpu().numpy()
        return states_at_end

    def choices(
        self,
        prompts: Sequence[Sequence[int]],
        written: Sequence[Sequence[int]],
        adapter: str,
        shared_prefix: SharedPrefix | None = None,
    ) -> list[list[int]]:
        """Return the most likely next id after every prompt, and after every prefix of what was written to it.

        A greedy reply is one that consists of its own choices: checking it needs no decoding.
        """
        whole_texts = [[*prompt, *ids] for prompt, ids in zip(prompts, written, strict=True)]
        states_of: dict[int, Tensor] = {}  # by row, (written + 1, hidden)
        for rows, states in self._run(whole_texts, adapter, shared_prefix):
            states_of |= {row: states[i, -len(written[row]) - 1 :] for i, row in enumerate(rows)}
        chosen = iter(self._most_likely(torch.cat([states_of[row] for row in range(len(prompts))])))
        return [[next(chosen) for _ in states_of[row]] for row in range(len(prompts))]

    @torch.inference_mode()
    def _most_likely(self, states: Tensor) -> list[int]:
        """Return the id with the highest score after each of some states (states, hidden)."""
        head = self._read("model.embed_tokens.weight" if self._config.tie_word_embeddings else "lm_head.weight")
        best = torch.full((len(states),), -torch.inf, device=self._device)
        chosen = torch.zeros(len(states), dtype=torch.long, device=self._device)
        for start in range(0, len(head), _HEAD_ROWS):
            scores = linear(states, self._placed(head[start : start + _HEAD_ROWS])).float()
            highest = scores.max(dim=1)
            better = highest.values > best
            best[better], chosen[better] = highest.values[better], highest.indices[better] + start
        ids: list[int] = chosen.tolist()
        return ids

    @torch.inference_mode()
    def _run(
        self,
        prompts: Sequence[Sequence[int]],
        adapter: str,
        shared_prefix: SharedPrefix | None = None,
        count: int | None = None,
    ) -> Iterator[tuple[list[int], Tensor]]:
        """Yield rows of a batch and their left-padded states after `count` blocks and norm, (batch, seq, hidden)."""
        count = count or self._config.num_hidden_layers
        buckets = length_buckets([len(ids) for ids in prompts], _TOKENS)
        batches = [pad_left([prompts[row] for row in rows], self._pad_id) for rows in buckets]
        masks: list[Tensor | None] = [None] * len(batches)
        names = [adapter]
        if shared_prefix:
            names.append(shared_prefix.adapter)
            masks = [
                prefix_mask(batch, [prompts[row] for row in rows], [shared_prefix.lengths[row] for row in rows])
                for rows, batch in zip(buckets, batches, strict=True)
            ]
        embedding = self._read("model.embed_tokens.weight")
        states = [embedding[batch.pop("input_ids")].to(self._options["dtype"]) for batch in batches]
        del embedding
        changes = {name: self._changes(self._adapters[name]) for name in names}
        for number in track(range(count), "checking, block by block"):
            block, adapters = self._block(number, changes, is_last=number == count - 1)
            adapters.activate(*names)
            for i, (batch, mask) in enumerate(zip(batches, masks, strict=True)):
                inputs = {name: tensor.to(self._device) for name, tensor in batch.items()}
                with nullcontext() if mask is None else adapters.adapter_mask.applied(mask.to(self._device)):
                    output = block(inputs_embeds=states[i].to(self._device), use_cache=False, **inputs)
                states[i] = output.last_hidden_state.cpu()
        for rows, state in zip(buckets, states, strict=True):
            yield rows, state.to(self._device)

    def _changes(self, folder: Path) -> dict[str, LowRank]:
        """Return an adapter that fits the base."""
        changes = read_adapter(folder)
        foreign = next((name for name in changes if f"{name}.weight" not in self._files), None)
        if foreign:
            raise InputError(f"{folder}: the base has no {foreign}; train the adapter on this base")
        return changes

    def _block(self, number: int, changes: Mapping[str, Mapping[str, LowRank]], is_last: bool) -> tuple[Any, Adapters]:
        """Return a model of that one block, with the final norm if it is the last, and its adapters."""
        config = copy.deepcopy(self._config)
        config.num_hidden_layers, config.vocab_size = 1, 1
        if getattr(config, "layer_types", None):
            config.layer_types = [config.layer_types[number]]
        config.pad_token_id = None
        prefix = f"model.layers.{number}."
        weights = {
            _BLOCK + name.removeprefix(prefix): self._read(name) for name in self._files if name.startswith(prefix)
        }
        weights["norm.weight"] = self._read("model.norm.weight")
        weights["embed_tokens.weight"] = torch.zeros(1, config.hidden_size, dtype=self._options["dtype"])
        model = self._decoder_class.from_pretrained(None, config=config, state_dict=weights, **self._options).eval()
        if not is_last:
            model.norm = torch.nn.Identity()
        block_changes = {
            adapter: {
                _BLOCK + name.removeprefix(prefix): low for name, low in all_changes.items() if name.startswith(prefix)
            }
            for adapter, all_changes in changes.items()
        }
        return model, Adapters(model, block_changes, self._device)

    def _read(self, name: str) -> Tensor:
        """Return a tensor as it lies in the base."""
        with safe_open(self._files[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def _placed(self, tensor: Tensor) -> Tensor:
        """Return a copy in the format and on the device of the computation."""
        return tensor.to(device=self._device, dtype=self._options["dtype"])


def _tensor_files(base: Path) -> dict[str, Path]:
    """Return the file of every tensor of a base."""
    files: dict[str, Path] = {}
    for path in sorted(base.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            files |= dict.fromkeys(file.keys(), path)
    return files
