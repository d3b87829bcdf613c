"""The last block of a base in training: computed to its end at the positions that are read, and at no other."""

from typing import Any

from torch import Tensor
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer


class LastLayer(Qwen2DecoderLayer):
    """A Qwen2 block that, told which positions are `wanted`, runs its feed-forward part there alone.

    Nothing after the last block mixes positions, so states elsewhere are computed only to be dropped: all but one per
    ticket for a classifier, all of the prompt for a generator. Its keys and values need every position all the same.
    """

    def forward(self, hidden_states: Tensor, *args: Any, wanted: Tensor | None = None, **kwargs: Any) -> Tensor:
        """(batch, seq, hidden) -> the same, or (1, wanted, hidden) at `wanted` of the flattened (batch * seq)."""
        if wanted is None:
            whole: Tensor = super().forward(hidden_states, *args, **kwargs)
            return whole
        attended, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        states = (hidden_states + attended).flatten(0, 1)[wanted].unsqueeze(0)
        found: Tensor = states + self.mlp(self.post_attention_layernorm(states))
        return found


def shorten(backbone: Any) -> None:
    """Make the last block of a `Qwen2Model` one that heeds `wanted`; to be called before weights are loaded."""
    last = backbone.config.num_hidden_layers - 1
    backbone.layers[last] = LastLayer(backbone.config, last)
