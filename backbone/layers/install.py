"""Replacing the library's layers by ours in a model that is to be trained."""

from typing import Any

from backbone.layers.attention import use_packed_attention
from backbone.layers.last_layer import skip_unread_positions
from backbone.layers.norms import use_frozen_norms


def install(decoder: Any) -> None:
    """Replace attention, norms and the last block of a decoder (`Qwen2Model` and the like); weights stay as they are.

    The decoder then takes packed batches, and `positions` where only some states are wanted. Adapted linear layers come
    with the adapter (`backbone.layers.lora`).
    """
    use_packed_attention(decoder)
    use_frozen_norms(decoder)
    skip_unread_positions(decoder)
