"""Opening a model to answer with it: what the shipped SmolLM2 lacks in the repository is made once per machine."""

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path

from backbone.packaged_base import cache_folder, making
from backbone.runs.layout import MANIFEST
from backbone.shipped import smollm2_folder
from pipeline.engine_choice import WITHOUT_LLAMA, EngineChoice
from pipeline.model_folder import ModelFolder, open_model
from tickets.errors import InputError, WorkError

_QUANT = "q8_0"
_CHECKED = 24  # validation tickets


def open_to_answer(path: Path | None, choice: EngineChoice | None = None) -> ModelFolder:
    """Open a model as `open_model` does; in place of the shipped SmolLM2 its bundle, where llama.cpp is to run it.

    Raises:
        InputError: see `open_model`; or the cache cannot be written.
    """
    model = open_model(path)
    if model.path != smollm2_folder() or (choice and choice.kind == "torch"):
        return model
    if not find_spec("llama_cpp"):
        print(WITHOUT_LLAMA, file=sys.stderr)
        return model
    try:
        folder = _bundle_of(model)
    except WorkError as error:
        print(f"note: torch is used, because the GGUF could not be made: {error}", file=sys.stderr)
        return model
    try:
        return open_model(folder)
    except InputError as error:
        raise InputError(f"{error}; or delete {folder}, and it is made again") from None


def _bundle_of(model: ModelFolder) -> Path:
    """Return the bundle in the user's cache; the first process makes it, others wait."""
    manifests = b"".join((stage.path / MANIFEST).read_bytes() for stage in model.stages.values())
    folder = cache_folder() / f"{model.path.name}-{_QUANT}-{hashlib.sha256(manifests).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    from pipeline.export.export import export  # seconds of imports, once
    from pipeline.export.options import ExportOptions

    with making(folder):
        if not folder.is_dir():
            print(f"making the GGUF of the shipped model in {folder}, once (about a minute)", file=sys.stderr)
            export(ExportOptions(model.path, folder, quant=_QUANT, check=_CHECKED))
    return folder
