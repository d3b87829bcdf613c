"""Packed batches and losses without logits change the cost of a step, not its loss or its gradients."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import Qwen2ForCausalLM

from backbone.architecture import find_family
from backbone.batches import IGNORE, causal_batch, collate
from backbone.config import LoraSettings
from backbone.layers import vocabulary_loss
from backbone.layers.attention import packed_attention
from backbone.layers.vocabulary_loss import vocabulary_losses
from backbone.training.adapted import lora_config
from backbone.training.stage import open_stage
from classifier.encoded import encode_tickets
from classifier.train import build_model
from generator.model import reply_model_class
from tests.conftest import MakeConfig
from tickets.labels import LabelSpace

PROMPTS = [[11, 12, 13, 9], [14] * 9, [21, 22]]
COMPLETIONS = [[15, 16, 9], [17, 18, 19, 20, 9], [30, 31, 32]]
WEIGHTS = [[1.0, 2.0, 0.5], [1.0] * 5, [3.0, 0.0, 1.0]]


def replies_model(base: Path) -> Any:
    from peft import get_peft_model

    torch.manual_seed(0)
    model = reply_model_class(find_family(base)).from_pretrained(str(base), dtype=torch.float32)
    for parameter in model.parameters():
        parameter.requires_grad = False
    adapted = get_peft_model(model, lora_config(LoraSettings(rank=4, dropout=0.0)))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)  # zero by default, which would hide a wrong gradient of A
    return adapted


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys() and first
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("pad_id", [0, 9])  # 9 also occurs in the text, as an end token would
def test_replies_loss_and_gradients_equal_full_logits(
    tiny_base: Path, packed: bool, weighted: bool, pad_id: int
) -> None:
    model = replies_model(tiny_base)
    weights = WEIGHTS if weighted else [[1.0] * len(row) for row in COMPLETIONS]
    total = torch.zeros(())
    for prompt, completion, weight in zip(PROMPTS, COMPLETIONS, weights, strict=True):
        logits = model(input_ids=torch.tensor([[*prompt, *completion]])).logits[0, len(prompt) - 1 : -1]
        total = total + (cross_entropy(logits, torch.tensor(completion), reduction="none") * torch.tensor(weight)).sum()
    expected = total / sum(map(len, COMPLETIONS))
    wanted = gradients(model, expected)
    batch = causal_batch(PROMPTS, COMPLETIONS, pad_id, WEIGHTS if weighted else None, packed)
    output = model(**batch)
    assert float(output.loss) == pytest.approx(float(expected), abs=1e-5)
    assert_same(gradients(model, output.loss), wanted)


@pytest.mark.parametrize("recompute", [False, True])
def test_classifier_loss_and_gradients_are_the_same_packed(make_config: MakeConfig, recompute: bool) -> None:
    config = make_config(lora__dropout=0.0, base__gradient_checkpointing=recompute)
    stage = open_stage("classifier", config)
    space = LabelSpace.learn(stage.train, config.classifier.columns, 10)
    tickets = encode_tickets(stage, stage.train[:6], space)
    torch.manual_seed(0)
    model = build_model(stage, space).train()
    found = []
    for packed in (False, True):
        batch = collate(tickets.prompts, stage.encoder.pad_id, packed)
        batch |= {"targets": torch.from_numpy(tickets.targets), "tag_targets": torch.from_numpy(tickets.tags)}
        output = model(**batch)
        found.append((output, gradients(model, output.loss)))
    (padded, wanted), (packed_output, got) = found
    assert float(padded.loss) == pytest.approx(float(packed_output.loss), abs=1e-5)
    for column, logits in padded.logits.items():
        torch.testing.assert_close(logits, packed_output.logits[column], atol=1e-5, rtol=1e-4)
    assert_same(got, wanted)


def test_no_ticket_sees_its_neighbour_in_a_pack(tiny_base: Path) -> None:
    model = replies_model(tiny_base)
    with torch.no_grad():
        first = model(**causal_batch(PROMPTS, COMPLETIONS, 0, packed=True)).losses
        other = model(**causal_batch([[40, 41, 42, 43, 44], *PROMPTS[1:]], [[7, 8], *COMPLETIONS[1:]], 0, None, True))
    torch.testing.assert_close(first[3:], other.losses[2:], atol=1e-6, rtol=0)


@pytest.mark.parametrize("padding", ["none", "left", "right"])
@pytest.mark.parametrize("autocasts", [False, True])
def test_attention_that_trains_in_bf16_on_the_cpu(padding: str, autocasts: bool) -> None:
    torch.manual_seed(0)
    kind = torch.float32 if autocasts else torch.bfloat16
    inputs = [torch.randn(2, heads, 7, 8).to(kind).requires_grad_() for heads in (4, 2, 2)]
    slope = torch.randn(2, 7, 4, 8)
    real = torch.ones(2, 7, dtype=torch.bool)
    if padding != "none":
        real[1, :3] = False
        real = real if padding == "left" else real.flip(1)
    allowed = real[:, None, None, :] & torch.ones(7, 7, dtype=torch.bool).tril()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocasts):
        output, _ = packed_attention(torch.nn.Module(), *inputs, None if padding == "none" else allowed)
    assert output.dtype == torch.bfloat16 and "Scaled" not in str(output.grad_fn)
    slope *= real[:, :, None, None]
    exact = [x.detach().float().requires_grad_() for x in inputs]
    wanted = scaled_dot_product_attention(*exact, attn_mask=allowed, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(output[real].float(), wanted[real], atol=0.03, rtol=0.03)
    got = torch.autograd.grad((output.float() * slope).sum(), inputs)
    for ours, theirs in zip(got, torch.autograd.grad((wanted * slope)[real].sum(), exact), strict=True):
        torch.testing.assert_close(ours.float(), theirs, atol=0.05, rtol=0.05)


def test_slices_of_the_vocabulary_loss_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    states, weight = torch.randn(100, 16, requires_grad=True), torch.randn(50, 16)
    labels, slopes = torch.randint(0, 50, (100,)), torch.rand(100)
    expected = cross_entropy(states @ weight.T, labels, reduction="none")
    (wanted,) = torch.autograd.grad((expected * slopes).sum(), states)
    monkeypatch.setattr(vocabulary_loss, "_SLICE", 50 * 16)  # seven slices
    losses = vocabulary_losses(states, weight, labels)
    torch.testing.assert_close(losses, expected)
    (gradient,) = torch.autograd.grad((losses * slopes).sum(), states)
    torch.testing.assert_close(gradient, wanted)


def test_without_labels_it_is_its_parent(tiny_base: Path) -> None:
    ours = reply_model_class(find_family(tiny_base)).from_pretrained(str(tiny_base)).eval()
    parent = Qwen2ForCausalLM.from_pretrained(str(tiny_base)).eval()
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 9, 10]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    labels = ids.masked_fill(mask == 0, IGNORE)
    with torch.no_grad():
        for extra in ({}, {"labels": labels}):
            a, b = (m(input_ids=ids, attention_mask=mask, **extra) for m in (ours, parent))
            torch.testing.assert_close(a.logits[mask == 1], b.logits[mask == 1], atol=1e-5, rtol=1e-5)
    widths: list[int] = []
    ours.lm_head.register_forward_hook(lambda module, inputs, output: widths.append(output.shape[1]))
    written = [m.generate(ids, attention_mask=mask, max_new_tokens=8, do_sample=False).tolist() for m in (ours, parent)]
    assert written[0] == written[1]
    assert set(widths) == {1}  # no logits for the prompt
