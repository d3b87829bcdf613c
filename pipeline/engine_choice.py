"""Choosing what runs a model: ONNX for labels and llama.cpp for replies where a bundle has them, else torch."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from backbone.runs.layout import ADAPTER, CLASSIFIER, GENERATOR
from engines.protocols import Encoder, Engine, Writer
from pipeline.export.bundle import adapter_file, base_file
from pipeline.model_folder import ModelFolder
from tickets.errors import InputError

ENGINES = ("auto", "llama", "onnx", "torch")
HOW_TO_ADD = "`make llama` adds it (it needs a C++ compiler)"
_CELLS_PER_TICKET = 512  # of the keys and values that tickets in flight share; the typical ticket with its reply


@dataclass(frozen=True)
class EngineChoice:
    """What the user asks for.

    Attributes:
        kind: one of ENGINES.
        together: how many tickets are answered at the same time.
        endpoint: base URL of an OpenAI-compatible server that writes the replies, and the model's name there.
        seconds: after which a request to that server counts as lost.
    """

    kind: str = "auto"
    together: int = 1
    endpoint: tuple[str, str] | None = None
    seconds: float = 300.0

    def __post_init__(self) -> None:
        """Refuse an unknown kind."""
        if self.kind not in ENGINES:
            raise InputError(f"found --engine {self.kind!r}, expected one of {', '.join(ENGINES)}")


def load_engines(
    model: ModelFolder, choice: EngineChoice, stages: Iterable[str], cells: int
) -> tuple[Encoder, Writer | None]:
    """The engines for labels and, where `stages` has the generator, for replies; one engine where it can be one.

    Args:
        stages: names of the stages that will run.
        cells: tokens that the longest ticket needs in the context, reply included.

    Raises:
        InputError: the wanted engine is not there, or a file is damaged.
    """
    wanted = set(stages)
    uses_classifier_prefix = GENERATOR in wanted and model.stages[GENERATOR].config.generator.uses_classifier_prefix
    replier = _replier(model, choice.kind)
    labeller = "onnx" if _labels_with_onnx(model, choice.kind) else replier
    if uses_classifier_prefix and replier == "llama" and choice.kind == "auto":
        labeller = replier  # which reads every ticket in any case
    if choice.endpoint:
        replier = "endpoint"
        if uses_classifier_prefix:
            raise InputError(
                f"--endpoint: {model.stages[GENERATOR].path} goes on from the classifier's reading, and a server has "
                "one adapter; train the generator with generator.reading=own, or leave --endpoint out"
            )
    users = {CLASSIFIER: labeller, GENERATOR: replier}
    served = {name: {stage for stage in wanted if users[stage] == name} for name in ("llama", "torch")}
    if uses_classifier_prefix:
        served[replier].add(CLASSIFIER)
    engines: dict[str, Engine] = {}
    if served["llama"]:
        engines["llama"] = _llama(model, sorted(served["llama"]), choice.together, cells)
    if served["torch"]:
        if model.bundle and model.bundle.has_gguf and choice.kind != "torch":
            print(f"note: llama-cpp-python is not installed, so torch is used; {HOW_TO_ADD}", file=sys.stderr)
        engines["torch"] = torch_engine(model, sorted(served["torch"]))
    encoder = _onnx(model) if labeller == "onnx" else engines[labeller]
    if GENERATOR not in wanted:
        return encoder, None
    return encoder, _endpoint(model, choice) if replier == "endpoint" else engines[replier]


def _labels_with_onnx(model: ModelFolder, kind: str) -> bool:
    graph = model.bundle.graph if model.bundle else None
    if kind == "onnx" and graph is None:
        raise InputError(
            f"{model.path}: has no ONNX classifier; make a bundle with `duet export --model "
            f"{model.path} --out bundle --onnx` and give that to --model, or use torch"
        )
    return kind == "onnx" or (kind == "auto" and graph is not None and find_spec("onnxruntime") is not None)


def _replier(model: ModelFolder, kind: str) -> str:
    """`llama` or `torch`, which serve both stages."""
    has_gguf = model.bundle is not None and model.bundle.has_gguf
    if kind == "llama" and not has_gguf:
        raise InputError(
            f"{model.path}: has no GGUF; make a bundle with `duet export --model {model.path} --out bundle` and give "
            "that to --model"
        )
    return "llama" if kind == "llama" or (kind != "torch" and has_gguf and find_spec("llama_cpp")) else "torch"


def _llama(model: ModelFolder, stages: Iterable[str], together: int, cells: int) -> Engine:
    bundle = model.bundle
    if bundle is None:
        raise InputError(f"{model.path}: has no GGUF")
    base = bundle.checked(base_file(bundle.quant))
    adapters = {name: bundle.checked(adapter_file(name)) for name in stages}
    return llama_engine(model, base, adapters, together, max(cells, together * min(cells, _CELLS_PER_TICKET)))


def llama_engine(
    model: ModelFolder, base: Path, adapters: Mapping[str, Path | None], together: int, cells: int
) -> Engine:
    """llama.cpp on a GGUF with LoRA GGUFs by stage (None: merged into the base), `together` tickets at a time."""
    from engines.llama import LlamaEngine
    from engines.llama_api import LlamaOptions

    encoders = {name: model.stages[name].encoder() for name in adapters}
    prefixes = {name: encoder.prefix for name, encoder in encoders.items()}
    encoder = next(iter(encoders.values()))
    return LlamaEngine(base, adapters, prefixes, (encoder.end_id, encoder.pad_id), LlamaOptions(together, cells))


def _onnx(model: ModelFolder) -> Encoder:
    bundle = model.bundle
    if bundle is None or bundle.graph is None:
        raise InputError(f"{model.path}: has no ONNX classifier")
    from engines.onnx import OnnxEngine

    return OnnxEngine(bundle.checked(bundle.graph))


def torch_engine(model: ModelFolder, stages: Iterable[str]) -> Engine:
    """The reference engine with the adapters of some stages."""
    from engines.torch import TorchEngine  # seconds of imports, so only when it is really used

    encoder = model.any_stage.encoder()
    adapters: dict[str, Path] = {name: model.stages[name].path / ADAPTER for name in stages}
    config = model.any_stage.config.base
    return TorchEngine(model.base_folder(), adapters, config, encoder.pad_id, encoder.end_id)


def _endpoint(model: ModelFolder, choice: EngineChoice) -> Writer:
    from engines.endpoint import EndpointEngine

    url, name = choice.endpoint or ("", "")
    return EndpointEngine(url, name, model.stages[GENERATOR].encoder(), choice.seconds)
