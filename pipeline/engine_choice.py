"""Choosing the engine of each stage: by the user's wish, the model's files and what is installed.

To add an engine, add a row to ENGINES. See docs/howto-engine.md.
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backbone.runs.layout import ADAPTER, CLASSIFIER, GENERATOR
from engines.protocols import Engine, LabelEngine, Writer
from pipeline.export.bundle import Bundle, adapter_file, base_file
from pipeline.model_folder import ModelFolder
from tickets.errors import InputError

AUTO = "auto"
HOW_TO_ADD_LLAMA = "`make llama` adds it (it needs a C++ compiler)"
WITHOUT_LLAMA = f"note: llama-cpp-python is not installed, so torch is used; {HOW_TO_ADD_LLAMA}"
_CELLS_PER_TICKET = 512  # of the KV cache that tickets in flight share; a typical ticket with its reply


@dataclass(frozen=True)
class EngineChoice:
    """What the user asks for.

    Attributes:
        kind: `auto`, or the name of an engine.
        together: how many tickets are answered at the same time.
        endpoint: base URL of an OpenAI-compatible server that writes the replies, and the model's name there.
        seconds: after which a request to that server has failed.
    """

    kind: str = AUTO
    together: int = 1
    endpoint: tuple[str, str] | None = None
    seconds: float = 300.0

    @classmethod
    def of_options(
        cls, kind: str, together: int, endpoint: str | None, endpoint_model: str, seconds: float
    ) -> "EngineChoice":
        """Return the choice of a command's options; without `endpoint`, an engine here writes the replies."""
        return cls(kind, together, (endpoint, endpoint_model) if endpoint is not None else None, seconds)

    def __post_init__(self) -> None:
        """Refuse an unknown kind."""
        names = (AUTO, *(engine.name for engine in ENGINES))
        if self.kind not in names:
            raise InputError(f"found --engine {self.kind!r}, expected one of {', '.join(names)}")


def load_engines(
    model: ModelFolder, choice: EngineChoice, stages: Iterable[str], cells: int
) -> tuple[LabelEngine, Writer | None]:
    """Load the engine for labels and, where `stages` has the generator, the one for replies; often they are one.

    Args:
        stages: names of the stages that will run.
        cells: tokens of context that the longest ticket needs, reply included.

    Raises:
        InputError: the engine is not there, or a file is damaged.
    """
    stages = set(stages)
    uses_prefix = GENERATOR in stages and model.stages[GENERATOR].config.generator.uses_classifier_prefix
    writing = _pick(model, choice.kind, "can_write")
    labelling = _pick(model, choice.kind, "can_label")
    if uses_prefix and choice.kind == AUTO and writing.caches_prefix:
        labelling = writing  # it processes every ticket in any case
    served = {labelling: {CLASSIFIER}}
    if GENERATOR in stages and not choice.endpoint:
        served.setdefault(writing, set()).update({GENERATOR, CLASSIFIER} if uses_prefix else {GENERATOR})
    if choice.endpoint and uses_prefix:
        raise InputError(
            f"--endpoint: {model.stages[GENERATOR].path} reuses the classifier's KV cache, and a server has one "
            "adapter; train the generator with generator.reading=own, or leave --endpoint out"
        )
    loaded = {kind: kind.load(model, sorted(names), choice.together, cells) for kind, names in served.items()}
    if GENERATOR not in stages:
        return loaded[labelling], None
    return loaded[labelling], _endpoint(model, choice) if choice.endpoint else loaded[writing]


def _load_llama(model: ModelFolder, stages: Sequence[str], together: int, cells: int) -> Engine:
    bundle = _bundle(model)
    base = bundle.checked(base_file(bundle.quant))
    adapters = {name: bundle.checked(adapter_file(name)) for name in stages}
    shared = max(cells, together * min(cells, _CELLS_PER_TICKET))
    return llama_engine(model, base, adapters, together, shared, cells)


def llama_engine(
    model: ModelFolder, base: Path, adapters: Mapping[str, Path | None], together: int, cells: int, longest: int
) -> Engine:
    """Load llama.cpp on a GGUF with LoRA GGUFs by stage (None: merged into the base), for `together` tickets.

    Args:
        cells: tokens of context that they need, replies included.
        longest: tokens of context that one may need.
    """
    from engines.kv_allocator import ContextSizes
    from engines.llama import LlamaEngine

    encoders = {name: model.stages[name].encoder for name in adapters}
    prefixes = {name: encoder.prefix for name, encoder in encoders.items()}
    encoder = next(iter(encoders.values()))
    sizes = ContextSizes(together, cells, max_cached_prefixes=max(1, together // 4), label_cells=longest)
    blocks = {name: count for name, count in model.blocks.items() if name in adapters}
    reads_for_replies = GENERATOR in adapters and model.stages[GENERATOR].config.generator.uses_classifier_prefix
    end_ids = (encoder.end_id, encoder.pad_id)
    return LlamaEngine(base, adapters, prefixes, end_ids, sizes, blocks=blocks, reads_for_replies=reads_for_replies)


def _load_onnx(model: ModelFolder, stages: Sequence[str], together: int, cells: int) -> LabelEngine:
    from engines.onnx import OnnxEngine

    bundle = _bundle(model)
    assert bundle.graph is not None  # `_pick` has looked
    return OnnxEngine(bundle.checked(bundle.graph), digest=bundle.digest(bundle.graph))


def _load_torch(model: ModelFolder, stages: Sequence[str], together: int, cells: int) -> Engine:
    from engines.torch import TorchEngine  # seconds of imports, so only when it is needed

    encoder = model.any_stage.encoder
    adapters: dict[str, Path] = {name: model.stages[name].path / ADAPTER for name in stages}
    config = model.any_stage.config.base
    return TorchEngine(model.base_folder(), adapters, config, encoder.pad_id, encoder.end_id, model.blocks)


@dataclass(frozen=True)
class EngineKind:
    """One engine.

    Attributes:
        name: of `--engine`.
        package: what has to be importable.
        fits: whether a model has the files for it.
        load: takes model, stages, tickets together and cells; returns the engine.
        can_label, can_write: which stages it serves.
        caches_prefix: it implements PrefixCachingEngine.
        missing: what a model lacks that does not fit, and what adds it; {path} is the model's.
        how_to_add: said where another engine takes over because the package is not installed.
    """

    name: str
    package: str
    fits: Callable[[ModelFolder], bool]
    load: Callable[[ModelFolder, Sequence[str], int, int], Any]
    can_label: bool = True
    can_write: bool = True
    caches_prefix: bool = False
    missing: str = ""
    how_to_add: str = ""


# the first that fits and is installed is taken, for labels and for replies
ENGINES = (
    EngineKind(
        name="onnx",
        package="onnxruntime",
        fits=lambda model: model.bundle is not None and model.bundle.graph is not None,
        load=_load_onnx,
        can_write=False,
        missing="has no ONNX classifier; make a bundle with `duet export --model {path} --out bundle --onnx` and give "
        "that to --model, or use torch",
    ),
    EngineKind(
        name="llama",
        package="llama_cpp",
        fits=lambda model: model.bundle is not None and model.bundle.has_gguf,
        load=_load_llama,
        caches_prefix=True,
        missing="has no GGUF; make a bundle with `duet export --model {path} --out bundle` and give that to --model",
        how_to_add=WITHOUT_LLAMA,
    ),
    EngineKind(name="torch", package="torch", fits=lambda model: True, load=_load_torch),
)


def _pick(model: ModelFolder, kind: str, ability: str) -> EngineKind:
    """Return the engine asked for, where it has the ability, else the first that fits and is installed.

    Raises:
        InputError: the model has no files for the engine asked for.
    """
    able = [engine for engine in ENGINES if getattr(engine, ability)]
    asked = next((engine for engine in ENGINES if engine.name == kind), None)
    if asked and not asked.fits(model):
        raise InputError(f"{model.path}: {asked.missing.format(path=model.path)}")
    if asked in able:
        return asked
    fitting = [engine for engine in able if engine.fits(model)]
    picked = next(engine for engine in fitting if find_spec(engine.package))
    skipped = next((engine for engine in fitting[: fitting.index(picked)] if engine.how_to_add), None)
    if skipped and ability == "can_write":
        print(skipped.how_to_add, file=sys.stderr)
    return picked


def _bundle(model: ModelFolder) -> Bundle:
    assert model.bundle is not None  # `_pick` has looked
    return model.bundle


def _endpoint(model: ModelFolder, choice: EngineChoice) -> Writer:
    from engines.endpoint import EndpointEngine

    url, name = choice.endpoint or ("", "")
    return EndpointEngine(url, name, model.stages[GENERATOR].encoder, choice.seconds)
