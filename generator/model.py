"""The causal model in training: the base with the vocabulary head at positions that carry loss, and nowhere else."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import Qwen2ForCausalLM
from transformers.utils import ModelOutput

from backbone.layers.adapter_mask import Handover
from backbone.layers.attention import NO_MASK
from backbone.layers.last_layer import shorten
from backbone.layers.norms import quicken
from backbone.layers.vocabulary_loss import vocabulary_losses


@dataclass
class ReplyOutput(ModelOutput):
    """Training loss, and the cross-entropy in nats of every label, (labels,), in the order they were given."""

    loss: Tensor | None = None
    losses: Tensor | None = None


class Qwen2ForReplies(Qwen2ForCausalLM):
    """Qwen2 that, given what to predict and where, returns losses instead of logits; otherwise its parent."""

    handover: Handover | None = None

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        shorten(self.model)
        quicken(self.model)

    def forward(
        self,
        input_ids: Tensor | None = None,
        shift_labels: Tensor | None = None,
        loss_positions: Tensor | None = None,
        loss_weights: Tensor | None = None,
        read: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> Any:
        """Losses of a batch of `causal_batch`; without `shift_labels`, what the parent returns.

        The loss is the weighted sum over labels divided by `num_items_in_batch`, the labels of the whole optimiser
        step, or by their own number without it. Where `read` (batch, seq) is True, the classifier's adapter computes.
        """
        if shift_labels is None:
            # named above because `generate` looks for it before it asks for the last position alone
            return super().forward(input_ids=input_ids, labels=labels, logits_to_keep=logits_to_keep, **kwargs)
        if "cu_seq_lens_q" in kwargs:
            kwargs |= {"attention_mask": NO_MASK}
        if self.handover is not None:  # stays for the backward pass, which may compute blocks again
            self.handover.read = None if read is None else read.flatten()
        states = self.model(input_ids=input_ids, use_cache=False, wanted=loss_positions, **kwargs).last_hidden_state
        losses = vocabulary_losses(states[0], self.lm_head.weight, shift_labels)
        weighted = losses if loss_weights is None else losses * loss_weights
        count = shift_labels.numel() if num_items_in_batch is None else num_items_in_batch
        return ReplyOutput(loss=weighted.sum() / count, losses=losses.detach())
