"""The base model on disk: finding it, checking that it is supported, and identifying it."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from backbone.architecture import base_tensors, find_family, read_shape
from backbone.config import MINI
from backbone.packaged_base import packaged_base
from backbone.shipped import SMOLLM2, mini_folder
from backbone.weights import check_floats
from tickets.errors import InputError
from tickets.own_json import read_own
from tickets.plain_reason import plain_reason
from tickets.sources import source_path

_CONSTANTS = "rotary_emb.inv_freq"  # constants that older files hold
_WANTED = ["*.json", "*.safetensors", "*.txt"]
_SAMPLED_BYTES = 1 << 20  # of every weight file, hashed for the fingerprint


@dataclass(frozen=True)
class BaseIdentity:
    """What a run remembers of its base: the name it was given, a fingerprint of its weights and tokenizer, and the
    folder it was found in, where a relative name leads nowhere."""

    name: str
    revision: str | None
    fingerprint: str
    folder: str = field(default="", compare=False)

    def to_json(self) -> str:
        """Return the JSON text that `from_json` reads."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> "BaseIdentity":
        """Read a base.json."""
        try:
            identity = cls(**read_own(path))
            if not all(isinstance(value, str) for value in (identity.name, identity.fingerprint, identity.folder)):
                raise ValueError("name, fingerprint and folder are no texts")
            if not isinstance(identity.revision, str | None):
                raise ValueError("revision is no text")
            return identity
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{path}: not the identity of a base ({plain_reason(error)}); train the run again"
            ) from None


def find_base(path: str, revision: str | None = None) -> Path:
    """Resolve `mini`, `smollm2`, a local folder or a hub id to a local folder with config, weights and tokenizer.

    Raises:
        InputError: not there, or not a supported model.
    """
    shipped = {MINI: lambda: mini_folder() / "base", SMOLLM2: packaged_base}
    folder = shipped[path]() if path in shipped else source_path(path)
    if not folder.is_dir():
        folder = _download(path, revision)
    _check(folder)
    return folder


def identify(folder: Path, name: str, revision: str | None = None) -> BaseIdentity:
    """Fingerprint a base: SHA-256 over the shape in its config, its tokenizer, and size, header and first and last
    megabyte of each weight file, so that 15 GB cost milliseconds."""
    digest = hashlib.sha256()
    config = read_shape(folder)
    shape = {key: config.get(key) for key in ("hidden_size", "num_hidden_layers", "vocab_size", "model_type")}
    digest.update(json.dumps(shape, sort_keys=True).encode())
    digest.update((folder / "tokenizer.json").read_bytes())
    for weights in sorted(folder.glob("*.safetensors")):
        size = weights.stat().st_size
        digest.update(f"{weights.name}:{size}".encode())
        with weights.open("rb") as file:
            digest.update(file.read(_SAMPLED_BYTES))
            file.seek(max(0, size - _SAMPLED_BYTES))
            digest.update(file.read())
    return BaseIdentity(name, revision, digest.hexdigest(), str(folder.resolve()))


def _download(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if os.sep in name and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise InputError(f"base {name!r}: no such folder; expected a model folder, a hub id, `mini` or `smollm2`")
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = type(error).__name__
        raise InputError(
            f"base {name!r}: neither a folder nor to be had from the hub ({reason}); set base.path to a local model "
            "folder, or check the name and the network"
        ) from None


def _check(folder: Path) -> None:
    """Refuse a base before anything is loaded: another family, or weights that are missing, damaged or not its own."""
    family = find_family(folder)
    config = read_shape(folder)
    try:
        expected = base_tensors(family, config)
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise InputError(
            f"{folder}/config.json: no shape of a {family.name} model ({plain_reason(error)}); copy it again from the "
            "original model"
        ) from None
    sizes = _tensor_sizes(folder)
    ignored = {name for name in sizes if name.endswith(_CONSTANTS)} | {"lm_head.weight"}
    missing, unknown = expected.keys() - sizes.keys(), sizes.keys() - expected.keys() - ignored
    if missing or unknown:
        names = missing or unknown
        more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
        raise InputError(
            f"{folder}: found weights {'without' if missing else 'with'} {min(names)}{more}; expected the tensors of a "
            f"{family.name} model; copy the base again, or set base.path to another"
        )
    wrong = next((name for name, size in expected.items() if sizes[name] != size), None)
    if wrong:
        raise InputError(
            f"{folder}: found {wrong} of shape {list(sizes[wrong])}, expected {list(expected[wrong])} by its "
            "config.json; copy the base again"
        )


def _tensor_sizes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Read the shape of every tensor from the files' headers; a file that is cut off does not pass."""
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = {str(name) for name in read_own(index)["weight_map"].values()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{index}: not an index of weights ({plain_reason(error)}); copy it again from the model"
            ) from None
        outside = next((name for name in sorted(names) if Path(name).name != name), None)
        if outside is not None:
            raise InputError(f"{index}: names {outside[:200]!r}, which is no file of this folder; copy the base again")
        files = [folder / name for name in sorted(names)]
    if not files:
        raise InputError(f"{folder}: no *.safetensors weights; expected safetensors, pickled weights are not loaded")
    sizes: dict[str, tuple[int, ...]] = {}
    for file in files:
        try:
            with safe_open(file, framework="numpy") as weights:
                for name in weights.keys():  # noqa: SIM118  # not a mapping
                    sizes[name] = tuple(weights.get_slice(name).get_shape())
            check_floats(file)
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(
                f"{file}: missing or damaged ({plain_reason(error)}); download or copy the base again"
            ) from None
    return sizes
