"""The trainable classifier: a decoder, one linear head per label column, and a head for tags."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from backbone.architecture import Family
from backbone.layers.attention import no_mask
from backbone.layers.install import install
from classifier.head_names import PREFIX, TAGS
from classifier.loss import ClassifierLoss
from tickets.labels import LabelSpace


@dataclass
class ClassifierOutput(ModelOutput):
    """Training loss and logits by column, each (batch, classes)."""

    loss: Tensor | None = None
    logits: dict[str, Tensor] | None = None


class Heads(nn.Module):
    """One fp32 linear layer per label column and one for tags, on the last hidden state."""

    def __init__(self, hidden_size: int, space: LabelSpace) -> None:
        super().__init__()
        sizes = {column: len(classes) for column, classes in space.columns.items()}
        if space.tags:
            sizes[TAGS] = len(space.tags)
        self.layers = nn.ModuleDict(
            {PREFIX + name: nn.Linear(hidden_size, n, dtype=torch.float32) for name, n in sizes.items()}
        )

    def forward(self, hidden: Tensor) -> dict[str, Tensor]:
        """Return logits by column, (batch, classes), of hidden states (batch, hidden), always in fp32."""
        with torch.autocast(hidden.device.type, enabled=False):
            return {name.removeprefix(PREFIX): layer(hidden.float()) for name, layer in self.layers.items()}


class LabelModel:
    """Mixed into a family's PreTrainedModel: a decoder, and heads that read the state at each prompt's last token."""

    decoder_class: Any
    loss: ClassifierLoss
    model: Any
    heads: Heads

    def __init__(self, config: Any, space: LabelSpace) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        self.model = self.decoder_class(config)
        install(self.model)
        self.heads = Heads(config.hidden_size, space)
        self.post_init()  # type: ignore[attr-defined]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        targets: Tensor | None = None,
        tag_targets: Tensor | None = None,
        cu_seq_lens_q: Tensor | None = None,
        max_length_q: int | None = None,
    ) -> ClassifierOutput:
        """Return logits and, with targets, loss.

        `input_ids` and `attention_mask` are (batch, seq), padded on either side; or `input_ids` and `position_ids` are
        (1, tokens), packed, and `cu_seq_lens_q` (batch + 1) tells where every ticket begins and ends.
        """
        packing: dict[str, Any] = {}
        if cu_seq_lens_q is not None:
            packing = {"cu_seq_lens_q": cu_seq_lens_q, "max_length_q": max_length_q}
            last = cu_seq_lens_q[1:] - 1
        else:
            assert attention_mask is not None
            last = last_positions(attention_mask)
        states = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask if cu_seq_lens_q is None else no_mask(),
            position_ids=position_ids,
            use_cache=False,
            positions=last,
            **packing,
        ).last_hidden_state
        logits = self.heads(states[0])
        loss = None if targets is None else self.loss(logits, targets, tag_targets)
        return ClassifierOutput(loss=loss, logits=logits)


@cache
def label_model_class(family: Family) -> Any:
    """Return the trainable classifier on bases of a family; its `from_pretrained` takes the label space too."""
    parts = {"decoder_class": family.transformers_class("Model"), "__module__": __name__}
    return type(f"{family.prefix}ForTicketLabels", (LabelModel, family.transformers_class("PreTrainedModel")), parts)


def last_positions(attention_mask: Tensor) -> Tensor:
    """Return where the last unmasked token of every row (batch, seq) stands in the flattened batch: (batch,).

    Found by the mask, never by comparing ids with the padding id, which may also be an end token inside the text.
    """
    rows, width = attention_mask.shape
    positions = torch.arange(width, device=attention_mask.device)
    last = (attention_mask * positions).argmax(dim=1)
    return last + width * torch.arange(rows, device=attention_mask.device)
