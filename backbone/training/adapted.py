"""A base with a trainable LoRA adapter, and its weights on disk."""

from typing import TYPE_CHECKING, Any

from backbone.config import ALL_LINEAR, BaseConfig, LoraSettings
from backbone.runs.files import disk_guard
from backbone.runs.layout import ADAPTER, ADAPTER_WEIGHTS
from backbone.training import processes
from backbone.training.stage import Stage

if TYPE_CHECKING:
    from peft import LoraConfig
    from torch import Tensor


def prepare_for_training(model: Any, config: BaseConfig, recompute: bool) -> None:
    """Freeze the base, keep its norms in fp32 when it is quantised, and switch recomputation on where wanted."""
    import torch

    for name, parameter in model.named_parameters():
        parameter.requires_grad = False
        if config.precision == "nf4" and "norm" in name:
            parameter.data = parameter.data.to(torch.float32)
    if recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()


def lora_config(settings: LoraSettings, saved_modules: list[str] | None = None) -> "LoraConfig":
    """Return peft's configuration of one adapter; `saved_modules` are trained whole beside it."""
    from peft import LoraConfig
    from torch import nn

    from backbone.layers.lora import FusedLoraLinear

    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.scale,  # an int by its annotation, but peft only divides by it
        lora_dropout=settings.dropout,
        # named, because peft's own "all-linear" would also take the classifier heads
        target_modules=list(ALL_LINEAR if settings.targets == "all-linear" else settings.targets),
        modules_to_save=saved_modules,
        bias="none",
    )
    config._register_custom_module({nn.Linear: FusedLoraLinear})
    return config


def save_adapter(stage: Stage, model: Any) -> "dict[str, Tensor]":
    """Write the LoRA weights as an ordinary peft adapter; return the other trained tensors by name.

    Every process calls it, the first one writes.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    state = {name: _whole(tensor).contiguous().cpu() for name, tensor in state.items()}
    lora = {name: tensor for name, tensor in state.items() if "lora_" in name}
    other_tensors = {name: tensor for name, tensor in state.items() if name not in lora}
    if not processes.is_first():
        return other_tensors
    config = model.peft_config["default"]
    config.modules_to_save, config.inference_mode = None, True
    config.base_model_name_or_path, config.task_type = stage.base.name, None
    with disk_guard(stage.partial):
        (stage.partial / ADAPTER).mkdir(exist_ok=True)
        config.save_pretrained(str(stage.partial / ADAPTER))
        save_file(lora, stage.partial / ADAPTER / ADAPTER_WEIGHTS)
    return other_tensors


def _whole(tensor: Any) -> "Tensor":
    """Return a tensor that FSDP may have spread over processes, in one piece."""
    gathered: Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return gathered
