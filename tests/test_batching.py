import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Qwen2ForCausalLM

from backbone.batching import IGNORE, TokenBudgetSampler, causal_batch, pad_left
from backbone.buckets import length_buckets

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=200)


@settings(max_examples=200, deadline=None)
@given(lengths=LENGTHS, max_rows=st.integers(1, 40), seed=st.integers(0, 5))
def test_every_row_comes_once_per_epoch_in_as_many_batches(lengths: list[int], max_rows: int, seed: int) -> None:
    sampler = TokenBudgetSampler(lengths, budget=512, max_rows=max_rows, seed=seed)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert all(batches)
        assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))


def test_batches_hold_about_the_budget_and_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(20, 300, size=2000)
    batches = list(TokenBudgetSampler(lengths.tolist(), budget=4096, max_rows=1000, seed=0))
    padded = np.array([lengths[batch].max() * len(batch) for batch in batches])
    assert padded.max() < 4096 * 1.4  # the shortest rows spread most around their mean
    assert 1 - lengths.sum() / padded.sum() < 0.06


def test_rows_per_batch_are_limited() -> None:
    batches = list(TokenBudgetSampler([10] * 640, budget=4096, max_rows=32, seed=0))
    assert max(len(batch) for batch in batches) <= 33


def test_epochs_differ_and_repeat_by_seed() -> None:
    sampler = TokenBudgetSampler(list(range(20, 120)), budget=512, max_rows=16, seed=1)
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert first != second
    assert list(sampler) == first


def test_weighted_sampling_draws_rare_rows_as_often() -> None:
    weights = [1 / 990] * 990 + [1 / 10] * 10
    sampler = TokenBudgetSampler([50] * 1000, budget=800, max_rows=16, seed=0, weights=weights)
    drawn = np.concatenate([np.array(batch) for batch in sampler])
    assert len(drawn) == 1000
    assert 0.4 < np.mean(drawn >= 990) < 0.6


@given(lengths=LENGTHS)
def test_buckets_hold_every_row_within_the_budget(lengths: list[int]) -> None:
    buckets = length_buckets(lengths, budget=300)
    assert sorted(row for bucket in buckets for row in bucket) == list(range(len(lengths)))
    assert all(max(lengths[row] for row in bucket) * len(bucket) <= 300 for bucket in buckets)


def test_padding_is_on_the_left_and_positions_start_at_zero() -> None:
    batch = pad_left([[5, 6], [7, 8, 9]], pad_id=0)
    assert batch["input_ids"].tolist() == [[0, 5, 6], [7, 8, 9]]
    assert batch["attention_mask"].tolist() == [[0, 1, 1], [1, 1, 1]]
    assert batch["position_ids"].tolist() == [[0, 0, 1], [0, 1, 2]]


@pytest.mark.parametrize("pad_id", [0, 9])  # 9 also occurs in the text, as an end token would
def test_loss_on_completions_equals_full_logits(tiny_base: object, pad_id: int) -> None:
    model = Qwen2ForCausalLM.from_pretrained(str(tiny_base), dtype=torch.float32).eval()
    prompts, completions = [[11, 12, 13, 9], [14] * 9], [[15, 16, 9], [17, 18, 19, 20, 9]]
    batch = causal_batch(prompts, completions, pad_id)
    with torch.no_grad():
        ours = model(**batch, use_cache=False).loss
        losses = []
        for prompt, completion in zip(prompts, completions, strict=True):
            labels = torch.tensor([[IGNORE] * len(prompt) + completion])
            out = model(input_ids=torch.tensor([[*prompt, *completion]]), labels=labels)
            losses.append(float(out.loss) * len(completion))
    assert float(ours) == pytest.approx(sum(losses) / 8, abs=1e-5)
