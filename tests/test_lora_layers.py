"""Our adapted linear layer, norms and the shortened last block compute what peft's and Qwen2's own do."""

import copy
from typing import Any

import bitsandbytes
import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor, nn
from transformers import Qwen2Config, Qwen2Model
from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

from backbone.layers.last_layer import skip_unread_positions
from backbone.layers.lora import FusedLoraLinear
from backbone.layers.norms import use_frozen_norms


def adapted(layer: type[nn.Module], dropout: float, weights: torch.dtype) -> Any:
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=7, lora_dropout=dropout, target_modules=["0"])
    config._register_custom_module({nn.Linear: layer})
    model = get_peft_model(nn.Sequential(nn.Linear(10, 6)).to(weights), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter)  # zero by default, which would hide a wrong gradient of A
    return model


def outcome(model: Any, compute: str) -> dict[str, Tensor]:
    """Output, gradient of the input, and gradients of the adapter."""
    torch.manual_seed(1)
    x = torch.randn(2, 5, 10, dtype=model.base_model.model[0].base_layer.weight.dtype, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=compute == "bf16"):
        output = model(x)
    output.float().square().sum().backward()
    assert x.grad is not None
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"output": output.detach(), "x": x.grad, **grads}


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize(
    ("weights", "compute", "tolerance"),
    [(torch.float32, "fp32", 1e-5), (torch.float32, "bf16", 0.05), (torch.bfloat16, "bf16", 0.05)],
)
def test_the_fused_layer_is_pefts(weights: torch.dtype, compute: str, tolerance: float, dropout: float) -> None:
    wanted, found = (outcome(adapted(layer, dropout, weights), compute) for layer in (Linear, FusedLoraLinear))
    assert wanted.keys() == found.keys() and len(found) == 4
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        scale = float(value.float().abs().max())
        torch.testing.assert_close(found[name], value, atol=tolerance * scale, rtol=tolerance)


@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_a_quantised_base_is_served_too(compute: str) -> None:
    torch.manual_seed(0)
    base = bitsandbytes.nn.Linear4bit(64, 128, quant_type="nf4", compute_dtype=torch.float32).to("cpu")
    config = LoraConfig(r=3, lora_alpha=7, target_modules=["0"])
    config._register_custom_module({nn.Linear: FusedLoraLinear})
    model = get_peft_model(nn.Sequential(base), config)
    layer = model.base_model.model[0]
    assert type(layer) is FusedLoraLinear and layer.base_layer.weight.dtype == torch.uint8
    nn.init.normal_(layer.lora_B["default"].weight)
    x = torch.randn(2, 5, 64, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=compute == "bf16"):
        found = model(x)
        wanted = layer.base_layer(x) + layer.lora_B["default"](layer.lora_A["default"](x)) * layer.scaling["default"]
    tolerance = 1e-5 if compute == "fp32" else 0.1
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)
    gradients = [torch.autograd.grad(output.float().square().sum(), x)[0] for output in (found, wanted)]
    scale = float(gradients[1].abs().max())
    torch.testing.assert_close(*gradients, atol=tolerance * scale, rtol=tolerance)


def test_a_switched_off_adapter_leaves_the_base() -> None:
    model = adapted(FusedLoraLinear, 0.0, torch.float32)
    x = torch.randn(4, 10)
    base = model.base_model.model[0].base_layer(x)
    assert not torch.allclose(model(x), base)
    with model.disable_adapter():
        torch.testing.assert_close(model(x), base)


@pytest.mark.parametrize("recompute", [False, True])
def test_the_last_block_gives_the_wanted_states_alone(recompute: bool) -> None:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = Qwen2Config(**shape, num_key_value_heads=2, vocab_size=60, use_cache=False)
    whole = Qwen2Model(config).train()
    short = Qwen2Model(config).train()
    skip_unread_positions(short)
    short.load_state_dict(whole.state_dict())
    if recompute:
        short.gradient_checkpointing_enable()
    ids = torch.randint(0, 60, (3, 7))
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    wanted = torch.tensor([2, 6, 13, 18, 20])
    expected = whole(input_ids=ids, attention_mask=mask).last_hidden_state.flatten(0, 1)[wanted]
    found = short(input_ids=ids, attention_mask=mask, positions=wanted).last_hidden_state
    torch.testing.assert_close(found[0], expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    for (name, a), b in zip(whole.named_parameters(), short.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    everything = short(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(everything, whole(input_ids=ids, attention_mask=mask).last_hidden_state)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_frozen_norms_are_those_of_the_base(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    theirs = Qwen2RMSNorm(24).to(kind)
    torch.nn.init.normal_(theirs.weight)
    theirs.weight.requires_grad = False
    ours = copy.deepcopy(theirs)
    use_frozen_norms(torch.nn.Sequential(ours))
    x = torch.randn(3, 5, 24).to(kind).requires_grad_()
    slope = torch.randn(3, 5, 24).to(kind)
    exact = kind == torch.float32
    outputs = [norm(x) for norm in (ours, theirs)]
    torch.testing.assert_close(*outputs, atol=1e-6 if exact else 0.02, rtol=1e-5 if exact else 0.02)
    assert outputs[0].dtype == kind and "_Normalise" in str(outputs[0].grad_fn)
    gradients = [torch.autograd.grad(output, x, slope)[0] for output in outputs]
    torch.testing.assert_close(*gradients, atol=1e-5 if exact else 0.05, rtol=1e-4 if exact else 0.05)
    ours.weight.requires_grad = True
    assert "_Normalise" not in str(ours(x).grad_fn)
