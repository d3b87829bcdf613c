"""Names of the classifier's heads and of their tensors. Free of torch, because serving needs them."""

from tickets.labels import TAGS

__all__ = ["PREFIX", "TAGS", "head_name"]

PREFIX = "head_"  # a head called `type` would collide with nn.Module.type


def head_name(tensor_name: str) -> str:
    """Return the head that a tensor of heads.safetensors belongs to: `head_type.weight` -> `type`."""
    return tensor_name.removeprefix(PREFIX).rpartition(".")[0]
