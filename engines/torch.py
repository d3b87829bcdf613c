"""The reference engine: transformers, on CUDA where there is one, else on the CPU."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from backbone.adapters import read_adapter
from backbone.architecture import find_family
from backbone.batches import pad_left, prefix_mask
from backbone.buckets import length_buckets
from backbone.config import BaseConfig, DecodingConfig
from backbone.device import pick_device, settled
from backbone.layers.adapter_mask import AdapterMask
from backbone.load import first_blocks, load_options, readable_base
from engines.lora import Adapters
from engines.protocols import Allowed, OnToken, Row, SharedPrefix
from engines.sampling import TokenChooser
from tickets.errors import InputError

_ENCODE_TOKENS = 8192  # padded tokens per batch
_GENERATE_ROWS = 16
_ADMITTED = 4 * _GENERATE_ROWS  # enough to make groups of similar length


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
        device, config = pick_device(), settled(config)
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
        """Hidden state after the final norm at the last token of every prompt, (prompts, hidden), in order."""
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
        """Ids written after every prompt, in order, without the end token; `on_token` hears of each as it comes.

        An `adapter` that was not loaded leaves the base as it is.
        """
        self._adapters.activate(adapter, shared_prefix.adapter if shared_prefix else None)
        masked = (self._adapters.adapter_mask, shared_prefix.lengths) if shared_prefix else None
        return generate_ids(self._model, prompts, options, self._pad_id, self._end_id, on_token, masked, allowed)

    def _group(self) -> list[Row]:
        """The row that came first, and those nearest to it in length that are written in the same way."""

        def way(row: Row) -> tuple[str, str, bool, DecodingConfig]:
            return row.adapter, row.prefix_adapter, row.prefix_length > 0, row.options

        first = self._rows[0]
        alike = [row for row in self._rows if way(row) == way(first)]
        return sorted(alike, key=lambda row: abs(len(row.prompt) - len(first.prompt)))[:_GENERATE_ROWS]

    def _batch(self, prompts: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self._model.device) for name, tensor in pad_left(prompts, self._pad_id).items()}


def _first_blocks(decoder: Any, count: int | None) -> Any:
    """Return a decoder of the first blocks and the final norm of another, whose weights they stay."""
    if count is None:
        return decoder
    shallow = copy.copy(decoder)
    shallow._modules = {**decoder._modules, "layers": decoder.layers[:count]}
    return shallow


class _Listener(BaseStreamer):
    """Tells `on_token` what `generate` chooses for every row of a batch, until the row ends or is `stopped`."""

    def __init__(
        self, rows: Sequence[int], ends: Sequence[int], on_token: OnToken, stopped: Callable[[int], bool] | None
    ) -> None:
        self._live = dict(enumerate(rows))
        self._ends, self._on_token, self._stopped = ends, on_token, stopped

    def put(self, value: torch.Tensor) -> None:
        """Take the prompts (batch, seq), which are passed over, or the next ids (batch,)."""
        if value.dim() > 1:
            return
        for i, token in enumerate(value.tolist()):
            if token in self._ends or (self._stopped and i in self._live and self._stopped(self._live[i])):
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


class _Sampler(LogitsProcessor):
    """Leaves every row the one id that its chooser draws: the same draws as on other engines."""

    def __init__(self, prompts: Sequence[Sequence[int]], options: DecodingConfig) -> None:
        self._choosers = [TokenChooser(options, prompt) for prompt in prompts]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (batch, vocabulary) after the ids so far (batch, seq)."""
        chosen = [c.choose(row) for c, row in zip(self._choosers, scores.float().cpu().numpy(), strict=True)]
        drawn = torch.full_like(scores, -torch.inf)
        drawn[range(len(chosen)), chosen] = 0
        return drawn


class _Stop(StoppingCriteria):
    """Ends rows of a batch that are not wanted any more."""

    def __init__(self, rows: Sequence[int], stopped: Callable[[int], bool]) -> None:
        self._rows, self._stopped = rows, stopped

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Which rows end, (batch,)."""
        return torch.tensor([self._stopped(row) for row in self._rows], device=input_ids.device)


def generate_ids(
    model: Any,
    prompts: Sequence[Sequence[int]],
    options: DecodingConfig,
    pad_id: int,
    end_id: int,
    on_token: OnToken | None = None,
    masked_prefix: tuple[AdapterMask, Sequence[int]] | None = None,
    allowed: Allowed | None = None,
    stopped: Callable[[int], bool] | None = None,
) -> list[list[int]]:
    """Generate with a causal model, batches of similar prompt length; the result is in prompt order.

    Args:
        masked_prefix: the mask that the model's layers share, and how many leading ids of every prompt it covers.
        stopped: whether the prompt with an index is not to be continued any more.
    """
    samples = options.temperature > 0
    config = GenerationConfig(
        max_new_tokens=options.max_new_tokens,
        repetition_penalty=1.0 if samples else options.repetition_penalty,  # else the sampler's own
        eos_token_id=[end_id, pad_id],
        pad_token_id=pad_id,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
    )
    written: list[list[int]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    for start in range(0, len(order), _GENERATE_ROWS):
        rows = order[start : start + _GENERATE_ROWS]
        chosen = [prompts[row] for row in rows]
        batch = {name: tensor.to(model.device) for name, tensor in pad_left(chosen, pad_id).items()}
        ids = batch["input_ids"]
        cache = {}  # keyword arguments of `generate`
        if masked_prefix:
            adapter_mask, lengths = masked_prefix
            in_prefix = prefix_mask(batch, chosen, [lengths[row] for row in rows])
            cache = {"cache": _prefill(model, batch, adapter_mask, in_prefix)}
        streamer = _Listener(rows, (end_id, pad_id), on_token, stopped) if on_token else None
        processors = [_Constraint(allowed, ids.shape[1])] if allowed else []
        processors += [_Sampler(chosen, options)] if samples else []
        output = model.generate(
            input_ids=ids,
            attention_mask=batch["attention_mask"],
            generation_config=config,
            streamer=streamer,
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([_Stop(rows, stopped)] if stopped else []),
            **cache,
        )
        for row, sequence in zip(rows, output[:, ids.shape[1] :].tolist(), strict=True):
            ends = [i for i, token in enumerate(sequence) if token in (end_id, pad_id)]
            written[row] = sequence[: ends[0]] if ends else sequence
    return written


def _prefill(model: Any, batch: Mapping[str, torch.Tensor], adapter_mask: AdapterMask, in_prefix: torch.Tensor) -> Any:
    """Return the KV cache of a left-padded batch (batch, seq) up to the last position, which `generate` computes."""
    all_but_last = {name: tensor[:, :-1] for name, tensor in batch.items()}
    with adapter_mask.applied(in_prefix[:, :-1]):
        return model.get_decoder()(**all_but_last, use_cache=True).cache
