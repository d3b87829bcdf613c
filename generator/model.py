"""The causal model in training: the base with the vocabulary head at positions that carry loss, and nowhere else."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor
from transformers.utils import ModelOutput

from backbone.architecture import Family
from backbone.layers.adapter_mask import AdapterMask
from backbone.layers.attention import no_mask
from backbone.layers.install import install
from backbone.layers.vocabulary_loss import vocabulary_losses


@dataclass
class ReplyOutput(ModelOutput):
    """Training loss, and the cross-entropy in nats of every label, (labels,), in the order they were given."""

    loss: Tensor | None = None
    losses: Tensor | None = None


class ReplyModel:
    """Mixed into a family's causal model: given what to predict and where, it returns losses instead of logits."""

    adapter_mask: AdapterMask | None = None
    model: Any
    lm_head: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        install(self.model)

    def forward(
        self,
        input_ids: Tensor | None = None,
        shift_labels: Tensor | None = None,
        loss_positions: Tensor | None = None,
        loss_weights: Tensor | None = None,
        classifier_mask: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> Any:
        """Return the losses of a batch of `causal_batch`; without `shift_labels`, what the parent returns.

        The loss is the weighted sum over labels divided by `num_items_in_batch`, the labels of the whole optimiser
        step, or by their own number without it. Where `classifier_mask` (batch, seq) is True, the
        classifier's adapter is applied.
        """
        if shift_labels is None:
            # named above because `generate` looks for it before it asks for the last position alone
            return super().forward(  # type: ignore[misc]
                input_ids=input_ids, labels=labels, logits_to_keep=logits_to_keep, **kwargs
            )
        if "cu_seq_lens_q" in kwargs:
            kwargs |= {"attention_mask": no_mask()}
        if self.adapter_mask is not None:  # stays for the backward pass, which may compute blocks again
            self.adapter_mask.mask = None if classifier_mask is None else classifier_mask.flatten()
        states = self.model(input_ids=input_ids, use_cache=False, positions=loss_positions, **kwargs).last_hidden_state
        losses = vocabulary_losses(states[0], self.lm_head.weight, shift_labels)
        weighted = losses if loss_weights is None else losses * loss_weights
        count = shift_labels.numel() if num_items_in_batch is None else num_items_in_batch
        return ReplyOutput(loss=weighted.sum() / count, losses=losses.detach())


@cache
def reply_model_class(family: Family) -> Any:
    """Return the trainable generator on bases of a family."""
    causal_class = family.transformers_class("ForCausalLM")
    return type(f"{family.prefix}ForReplies", (ReplyModel, causal_class), {"__module__": __name__})
