import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backbone.batches import pad_left
from backbone.buckets import length_buckets
from backbone.training.sampler import TokenBudgetSampler
from tickets.errors import InputError

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


@settings(max_examples=100, deadline=None)
@given(lengths=LENGTHS, parts=st.integers(2, 5), seed=st.integers(0, 5))
def test_parts_hold_as_many_rows_and_share_none(lengths: list[int], parts: int, seed: int) -> None:
    if max(1, -(-sum(max(length, 32) for length in lengths) // 512)) > len(lengths) // parts:
        with pytest.raises(InputError, match=f"expected one or more for each of {parts} processes"):
            TokenBudgetSampler(lengths, 512, 16, seed, world_size=parts)
        return
    samplers = [TokenBudgetSampler(lengths, 512, 16, seed, world_size=parts, rank=part) for part in range(parts)]
    plans = [sampler.plan() for sampler in samplers]
    assert {len(plan) for plan in plans} == {len(samplers[0])}
    for step in zip(*plans, strict=True):
        assert len({len(batch) for batch in step}) == 1
    rows = [row for plan in plans for batch in plan for row in batch]
    assert len(rows) == len(set(rows)) == len(lengths) - len(lengths) % parts


@pytest.mark.parametrize("parts", [2, 4])
def test_parts_of_a_step_hold_as_many_tokens(parts: int) -> None:
    lengths = np.random.default_rng(0).lognormal(5.2, 0.6, size=3000).astype(int).clip(20, 1024)
    plans = [TokenBudgetSampler(lengths.tolist(), 8192, 32, 0, world_size=parts, rank=p).plan() for p in range(parts)]
    for step in zip(*plans, strict=True):
        tokens = [lengths[batch].sum() for batch in step]
        assert max(tokens) <= 1.05 * min(tokens)


def test_what_does_not_go_round_differs_between_epochs() -> None:
    def left_out(epoch: int) -> set[int]:
        samplers = [TokenBudgetSampler([50] * 101, 512, 16, 0, world_size=4, rank=part) for part in range(4)]
        for sampler in samplers:
            sampler.set_epoch(epoch)
        return set(range(101)) - {row for sampler in samplers for batch in sampler for row in batch}

    assert [len(left_out(epoch)) for epoch in range(3)] == [1, 1, 1]
    assert len(set.union(*map(left_out, range(8)))) > 1


def test_padding_is_the_share_of_padded_tokens() -> None:
    sampler = TokenBudgetSampler([10, 20, 30, 40], budget=200, max_rows=4, seed=0)
    assert len(sampler) == 1
    assert sampler.padding == pytest.approx(1 - 100 / 160)
