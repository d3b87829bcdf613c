"""The block-by-block engine says what the torch engine says, and knows a greedy reply when it sees one."""

from pathlib import Path

import numpy as np
import pytest

from backbone.config import DecodingConfig, RunConfig
from backbone.runs.layout import ADAPTER, CLASSIFIER, GENERATOR
from engines.layered import LayeredEngine
from engines.torch import TorchEngine
from pipeline.model_folder import open_model
from tickets.schema import Ticket

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["fp32", "nf4"])
def engines(trained_run: RunConfig, request: pytest.FixtureRequest) -> tuple[TorchEngine, LayeredEngine]:
    adapters = {stage: trained_run.folder / stage / ADAPTER for stage in (CLASSIFIER, GENERATOR)}
    config = trained_run.base.model_copy(update={"precision": request.param, "compute": "fp32"})
    base, encoder = Path(trained_run.base.path), open_model(trained_run.folder).any_stage.encoder
    torch_engine = TorchEngine(base, adapters, config, encoder.pad_id, encoder.end_id)
    return torch_engine, LayeredEngine(base, adapters, config, encoder.pad_id)


def prompts_of(run: RunConfig, tickets: list[Ticket]) -> list[tuple[int, ...]]:
    encoder = open_model(run.folder).any_stage.encoder
    return [encoder.generator_prompt(ticket, {"type": "Incident"}, 200).ids for ticket in tickets[:9]]


def test_states_are_the_torch_engines(
    engines: tuple[TorchEngine, LayeredEngine], trained_run: RunConfig, tickets: list[Ticket]
) -> None:
    prompts = prompts_of(trained_run, tickets)
    for adapter in (CLASSIFIER, GENERATOR, CLASSIFIER):
        expected, found = (engine.encode(prompts, adapter) for engine in engines)
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_greedy_replies_are_their_own_choices(
    engines: tuple[TorchEngine, LayeredEngine], trained_run: RunConfig, tickets: list[Ticket]
) -> None:
    whole, layered = engines
    prompts = prompts_of(trained_run, tickets)
    written = whole.generate(prompts, GENERATOR, DecodingConfig(max_new_tokens=8))
    chosen = layered.choices(prompts, written, GENERATOR)
    assert [row[: len(ids)] for row, ids in zip(chosen, written, strict=True)] == written
    changed = [[*ids[:3], (ids[3] + 1) % 50, *ids[4:]] for ids in written]
    other = layered.choices(prompts, changed, GENERATOR)
    assert [row[:4] for row in other] == [ids[:4] for ids in written]
