"""The reference engine: transformers, on CUDA where there is one, else on the CPU."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation.streamers import BaseStreamer

from backbone.adapters import read_adapter
from backbone.architecture import find_family
from backbone.batches import pad_left, prefix_mask
from backbone.buckets import length_buckets
from backbone.config import BaseConfig, DecodingConfig
from backbone.device import pick_device, settled
from backbone.layers.adapter_mask import AdapterMask
from backbone.load import load_options
from engines.lora import Adapters
from engines.protocols import Allowed, OnDone, OnToken, SharedPrefix
from tickets.errors import InputError

_ENCODE_TOKENS = 8192  # padded tokens per batch
_GENERATE_ROWS = 16


class TorchEngine:
    """One copy of the base; the adapter is chosen per call."""

    def __init__(self, base: Path, adapters: Mapping[str, Path], config: BaseConfig, pad_id: int, end_id: int) -> None:
        """Load the base and every adapter.

        Raises:
            InputError: an adapter is unreadable or does not fit the base.
        """
        self._pad_id, self._end_id = pad_id, end_id
        device, config = pick_device(), settled(config)
        causal_class = find_family(base).transformers_class("ForCausalLM")
        self._model = causal_class.from_pretrained(base, **load_options(config, device)).eval()
        changes = {name: read_adapter(folder) for name, folder in adapters.items()}
        try:
            self._adapters = Adapters(self._model, changes, device)
        except InputError as error:
            raise InputError(f"{', '.join(map(str, adapters.values()))}: {error}") from None

    @torch.inference_mode()
    def encode(self, prompts: Sequence[Sequence[int]], adapter: str) -> NDArray[np.float32]:
        """Hidden state after the final norm at the last token of every prompt, (prompts, hidden), in order."""
        self._adapters.activate(adapter)
        backbone = self._model.model  # the decoder inside: no vocabulary logits
        states = np.empty((len(prompts), backbone.config.hidden_size), dtype=np.float32)
        for rows in length_buckets([len(ids) for ids in prompts], _ENCODE_TOKENS):
            batch = self._batch([prompts[row] for row in rows])
            hidden = backbone(**batch, use_cache=False).last_hidden_state  # left-padded: (batch, seq, hidden)
            states[rows] = hidden[:, -1].float().cpu().numpy()
        return states

    @torch.inference_mode()
    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        adapter: str,
        options: DecodingConfig,
        on_token: OnToken | None = None,
        on_done: OnDone | None = None,
        shared_prefix: SharedPrefix | None = None,
        allowed: Allowed | None = None,
    ) -> list[list[int]]:
        """Ids written after every prompt, in order, without the end token; `on_token` hears of each as it comes.

        An `adapter` that was not loaded leaves the base as it is.
        """
        self._adapters.activate(adapter, shared_prefix.adapter if shared_prefix else None)
        masked = (self._adapters.adapter_mask, shared_prefix.lengths) if shared_prefix else None
        ends = (self._pad_id, self._end_id)
        return generate_ids(self._model, prompts, options, *ends, on_token, on_done, masked, allowed)

    def _batch(self, prompts: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self._model.device) for name, tensor in pad_left(prompts, self._pad_id).items()}


class _Listener(BaseStreamer):
    """Tells `on_token` what `generate` chooses for every row of a batch, until the row ends."""

    def __init__(self, rows: Sequence[int], ends: Sequence[int], on_token: OnToken) -> None:
        self._live = dict(enumerate(rows))
        self._ends, self._on_token = ends, on_token

    def put(self, value: torch.Tensor) -> None:
        """Take the prompts (batch, seq), which are passed over, or the next ids (batch,)."""
        if value.dim() > 1:
            return
        for i, token in enumerate(value.tolist()):
            if token in self._ends:
                self._live.pop(i, None)
            if i in self._live:
                self._on_token(self._live[i], token)

    def end(self) -> None:
        """Nothing is held back."""


class _Constraint(LogitsProcessor):
    """Leaves only the allowed ids of every row a chance; the library's own would list the vocabulary for free rows."""

    def __init__(self, allowed: Allowed, start: int) -> None:
        self._allowed, self._start = allowed, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (batch, vocabulary) after the ids so far (batch, seq)."""
        for row, written in enumerate(input_ids[:, self._start :].tolist()):
            ids = self._allowed(written)
            if ids is not None:
                kept = scores[row, ids]
                scores[row] = -torch.inf
                scores[row, ids] = kept
        return scores


def generate_ids(
    model: Any,
    prompts: Sequence[Sequence[int]],
    options: DecodingConfig,
    pad_id: int,
    end_id: int,
    on_token: OnToken | None = None,
    on_done: OnDone | None = None,
    masked_prefix: tuple[AdapterMask, Sequence[int]] | None = None,
    allowed: Allowed | None = None,
) -> list[list[int]]:
    """Generate with a causal model, batches of similar prompt length; the result is in prompt order.

    `masked_prefix` is the mask that the model's layers share, and how many leading ids of every prompt it covers.
    """
    torch.manual_seed(options.seed)
    sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if options.temperature > 0:
        sampling = {"do_sample": True, "temperature": options.temperature, "top_p": options.top_p, "top_k": 0}
    config = GenerationConfig(
        max_new_tokens=options.max_new_tokens,
        repetition_penalty=options.repetition_penalty,
        eos_token_id=[end_id, pad_id],
        pad_token_id=pad_id,
        **sampling,
    )
    written: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    for start in range(0, len(order), _GENERATE_ROWS):
        rows = order[start : start + _GENERATE_ROWS]
        chosen = [prompts[row] for row in rows]
        batch = {name: tensor.to(model.device) for name, tensor in pad_left(chosen, pad_id).items()}
        ids, mask = batch["input_ids"], batch["attention_mask"]
        cache = {}  # keyword arguments of `generate`
        if masked_prefix:
            adapter_mask, lengths = masked_prefix
            mask = prefix_mask(batch, chosen, [lengths[row] for row in rows])
            cache = {"cache": _prefill(model, batch, adapter_mask, mask)}
        streamer = _Listener(rows, (end_id, pad_id), on_token) if on_token else None
        constraint = LogitsProcessorList([_Constraint(allowed, ids.shape[1])] if allowed else [])
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            streamer=streamer,
            logits_processor=constraint,
            **cache,
        )
        for row, sequence in zip(rows, output[:, ids.shape[1] :].tolist(), strict=True):
            ends = [i for i, token in enumerate(sequence) if token in (end_id, pad_id)]
            written[row] = sequence[: ends[0]] if ends else sequence
            if on_done:
                on_done(row, written[row])
    return written


def _prefill(model: Any, batch: Mapping[str, torch.Tensor], adapter_mask: AdapterMask, mask: torch.Tensor) -> Any:
    """Return the KV cache of a left-padded batch (batch, seq) up to the last position, which `generate` computes."""
    all_but_last = {name: tensor[:, :-1] for name, tensor in batch.items()}
    with adapter_mask.applied(mask[:, :-1]):
        return model.get_decoder()(**all_but_last, use_cache=True).cache
