"""The device, and the number format that it computes in."""

import os
from typing import TYPE_CHECKING

from backbone.config import BaseConfig

if TYPE_CHECKING:
    import torch


def computes_bf16() -> bool:
    """Return whether the device that trains has arithmetic for bf16.

    An x86 CPU without emulates it, eight times slower.
    """
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))


def resolve_format(name: str) -> str:
    """Return a format as configured, `auto` chosen for this machine."""
    return name if name != "auto" else "bf16" if computes_bf16() else "fp32"


def resolve_formats(config: BaseConfig) -> BaseConfig:
    """Return the configuration with its formats chosen for this machine."""
    formats = {"precision": resolve_format(config.precision), "compute": resolve_format(config.compute)}
    return config.model_copy(update=formats)


def autocast(config: BaseConfig, device: "torch.device") -> "torch.autocast":
    """Return the context in which a model is trained and evaluated, with products in bf16 where that is configured."""
    import torch

    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.compute == "bf16")


def on_cuda() -> bool:
    """Return whether there is a CUDA device to train on."""
    import torch

    return torch.cuda.is_available()


def uses_liger() -> bool:
    """Return whether Liger kernels replace layers of the base: on CUDA, where the package is installed."""
    from transformers.utils import is_liger_kernel_available

    return on_cuda() and bool(is_liger_kernel_available())


def pick_device() -> "torch.device":
    """Return this process's CUDA device, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", torch.cuda.current_device())))
