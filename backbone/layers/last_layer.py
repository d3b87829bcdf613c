"""The last block in training: its feed-forward part runs only at the positions whose states are used."""

from functools import cache
from typing import Any

from torch import Tensor


class SkipsUnreadPositions:
    """Mixed into a decoder block: with `positions`, its feed-forward part runs at those alone.

    Nothing after the last block mixes positions. A classifier uses one state per ticket and a generator those of the
    reply; all others would be computed and dropped. Keys and values are still needed at every position.
    """

    def forward(self, hidden_states: Tensor, *args: Any, positions: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Map (batch, seq, hidden) to the same, or to (1, positions, hidden).

        Args:
            positions: indices into the flattened (batch * seq); None for all.
        """
        block: Any = self
        if positions is None:
            every_state: Tensor = super().forward(hidden_states, *args, **kwargs)  # type: ignore[misc]
            return every_state
        attended, _ = block.self_attn(hidden_states=block.input_layernorm(hidden_states), **kwargs)
        states = (hidden_states + attended).flatten(0, 1)[positions].unsqueeze(0)  # (1, positions, hidden)
        output: Tensor = states + block.mlp(block.post_attention_layernorm(states))
        return output


@cache
def _skipping(block_class: Any) -> Any:
    return type(f"Last{block_class.__name__}", (SkipsUnreadPositions, block_class), {})


def skip_unread_positions(model: Any) -> None:
    """Replace the last block of a decoder (`model.layers`); its MLP then runs only at `positions`."""
    block = model.layers[-1]
    block_class: Any = type(block)
    block.__class__ = _skipping(block_class)
