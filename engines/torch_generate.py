"""Writing with transformers' `generate`: constrained, sampled, stopped and checked row by row."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from backbone.batches import pad_left, prefix_mask
from backbone.config import DecodingConfig
from backbone.layers.adapter_mask import AdapterMask
from engines.protocols import Allowed, OnToken
from engines.sampling import TokenChooser, not_numbers
from tickets.errors import WorkError

GENERATE_ROWS = 16  # of one batch
OnFailure = Callable[[int, WorkError], None]


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
        """Do nothing: no text is held back."""


class _Constraint(LogitsProcessor):
    """Leaves only the allowed ids of every row a chance; the library's own would list the vocabulary for free rows."""

    def __init__(self, allowed: Allowed, start: int) -> None:
        self._allowed, self._start = allowed, start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores (batch, vocabulary) after the ids so far (batch, seq)."""
        for row, written in enumerate(input_ids[:, self._start :].tolist()):
            ids = self._allowed(written)
            if ids is not None:
                allowed_scores = scores[row, ids]
                scores[row] = -torch.inf
                scores[row, ids] = allowed_scores
        return scores


class _Finite(LogitsProcessor):
    """Ends rows whose scores are not numbers, and tells of them; what their neighbours write stays as it is."""

    def __init__(self, rows: Sequence[int], end_id: int, on_failure: OnFailure) -> None:
        self._rows, self._end_id, self._on_failure = rows, end_id, on_failure

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores (batch, vocabulary) after the ids so far (batch, seq)."""
        finite = scores.amax(-1).isfinite()  # a NaN counts as the largest
        if not finite.all():
            for i in (~finite).nonzero().flatten().tolist():
                self._on_failure(self._rows[i], not_numbers())
            scores[~finite] = -torch.inf
            scores[~finite, self._end_id] = 0
        return scores


class _Sampler(LogitsProcessor):
    """Leaves every row the one id that its chooser draws: the same draws as on other engines."""

    def __init__(self, prompts: Sequence[Sequence[int]], options: DecodingConfig) -> None:
        self._choosers = [TokenChooser(options, prompt) for prompt in prompts]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return scores (batch, vocabulary) after the ids so far (batch, seq)."""
        chosen = [c.choose(row) for c, row in zip(self._choosers, scores.float().cpu().numpy(), strict=True)]
        drawn = torch.full_like(scores, -torch.inf)
        drawn[range(len(chosen)), chosen] = 0
        return drawn


class _Stop(StoppingCriteria):
    """Ends rows of a batch that are not wanted any more."""

    def __init__(self, rows: Sequence[int], stopped: Callable[[int], bool]) -> None:
        self._rows, self._stopped = rows, stopped

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        """Return which rows end, (batch,)."""
        return torch.tensor([self._stopped(row) for row in self._rows], device=input_ids.device)


def _fail(_: int, error: WorkError) -> None:
    raise error


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
    on_failure: OnFailure | None = None,
) -> list[list[int]]:
    """Generate with a causal model, batches of similar prompt length; the result is in prompt order.

    Args:
        masked_prefix: the mask that the model's layers share, and how many leading ids of every prompt it covers.
        stopped: whether the prompt with an index is not to be continued any more.
        on_failure: told of a prompt that cannot be continued, by its index; the others go on.

    Raises:
        WorkError: a prompt cannot be continued, and nobody is told.
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
    for start in range(0, len(order), GENERATE_ROWS):
        rows = order[start : start + GENERATE_ROWS]
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
        processors += [_Finite(rows, end_id, on_failure or _fail)]
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
