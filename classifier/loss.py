"""What the classifier minimises: in training with class weights, in evaluation without. One implementation for both."""

from collections.abc import Iterable, Mapping
from typing import Self

from torch import Tensor, nn
from torch.nn import functional

from backbone.config import ClassifierConfig
from classifier.head_names import TAGS
from tickets.labels import NO_LABEL


class ClassifierLoss(nn.Module):
    """Sum over heads of class-weighted cross-entropy, plus weighted BCE for tags.

    A head's loss is the mean over the tickets of the batch that have a label for it; the others give it no gradient.
    Weighted cross-entropy divides by the batch size, not by the summed weights: with the latter (torch's `mean`) a
    batch of one class would ignore its weight. Weights average 1 over training tickets, so the scale stays.
    """

    def __init__(self, weights: Mapping[str, Tensor | None], label_smoothing: float, tag_weight: float) -> None:
        super().__init__()
        self._columns = list(weights)
        self._smoothing = label_smoothing
        self._tag_weight = tag_weight
        for i, weight in enumerate(weights.values()):
            self.register_buffer(f"weight_{i}", weight, persistent=False)

    @classmethod
    def for_training(cls, config: ClassifierConfig, weights: Mapping[str, Tensor | None]) -> Self:
        """Return the loss that training minimises, with class weights by column."""
        return cls(weights, config.label_smoothing, config.tag_weight)

    @classmethod
    def for_evaluation(cls, config: ClassifierConfig, columns: Iterable[str]) -> Self:
        """Return the loss that evaluations report and early stopping follows: no class weights, no smoothing."""
        return cls(dict.fromkeys(columns), label_smoothing=0.0, tag_weight=config.tag_weight)

    def forward(self, logits: Mapping[str, Tensor], targets: Tensor, tag_targets: Tensor | None) -> Tensor:
        """Return the loss of logits by column, with class ids (batch, columns) and tag indicators (batch, tags).

        Negative class ids are NO_LABEL or UNSEEN, of which there is no cross-entropy.
        """
        loss = logits[self._columns[0]].new_zeros(())
        for i, column in enumerate(self._columns):
            has_loss = targets[:, i] >= 0  # (batch,)
            losses = functional.cross_entropy(
                logits[column],
                targets[:, i].where(has_loss, NO_LABEL),
                weight=getattr(self, f"weight_{i}"),
                label_smoothing=self._smoothing,
                ignore_index=NO_LABEL,
                reduction="none",
            )
            # With every label there the factor is exactly 1: the loss of complete data stays the same to the last bit.
            loss = loss + losses.mean() * (len(losses) / has_loss.sum().clamp(min=1))
        if TAGS in logits and tag_targets is not None:
            loss = loss + self._tag_weight * functional.binary_cross_entropy_with_logits(logits[TAGS], tag_targets)
        return loss
